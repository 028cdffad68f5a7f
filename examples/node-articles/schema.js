'use strict';
// The definitions, as they stand in the articles.

exports.KEYSPACE =
  "CREATE KEYSPACE discord_messaging WITH replication = {'class': 'NetworkTopologyStrategy', " +
  "'us-east-1a': 3, 'us-east-1b': 3, 'us-east-1c': 3}";

exports.MESSAGES =
  'CREATE TABLE messages (channel_id bigint, bucket_id int, message_id timeuuid, author_id bigint, content text, ' +
  'attachments list<text>, PRIMARY KEY ((channel_id, bucket_id), message_id)) ' +
  'WITH CLUSTERING ORDER BY (message_id DESC) ' +
  "AND compaction = {'class': 'SizeTieredCompactionStrategy', 'max_threshold': 32, 'min_threshold': 4}";
