'use strict';
// The client of the articles, with its faults; corrected.js is the one to copy.
//
//   node articles.js [HOST:PORT]     shows each fault

const { types } = require('cassandra-driver');

const INSERT =
  'INSERT INTO messages (channel_id, bucket_id, message_id, author_id, content) VALUES (?, ?, ?, ?, ?)';
const SELECT =
  'SELECT channel_id, bucket_id, message_id, author_id, content FROM messages ' +
  'WHERE channel_id = ? AND bucket_id = ? AND message_id < maxTimeuuid(?) LIMIT ?';

/** The newest there can be: where a walk begins that has no cursor. */
const NEWEST = 2n ** 64n - 1n;

/** Fault: a snowflake of today is about 10^18, and this about 10^13. The column is an int. */
function bucketOf(id) {
  return Math.floor(Number(id) / 100000);
}

class Articles {
  constructor(client) {
    this.client = client;
    this.queries = 0;
  }

  async send(channelId, id, messageId, authorId, content) {
    await this.client.execute(INSERT, [channelId, bucketOf(id), messageId, authorId, content], { prepare: true });
  }

  /** Fault: `before` is a snowflake, and maxTimeuuid() asks for a timestamp. */
  async page(channelId, bucket, before, limit) {
    this.queries += 1;
    const result = await this.client.execute(SELECT, [channelId, bucket, before, limit], { prepare: true });
    return result.rows.map((row) => ({
      channelId: row.get('channel_id').toString(),
      messageId: row.get('message_id').toString(),
      authorId: row.get('author_id').toString(),
      content: row.get('content'),
    }));
  }

  /**
   * Fault: what remains is computed after the push, so that a page is held against what the next one would have to bring: one that is
   * at least half full ends the walk. Fault: every bucket down to 0 is asked, empty or not.
   */
  async walk(channelId, bucket, before, limit) {
    const messages = [];
    for (let of = bucket; of >= 0; of -= 1) {
      const page = await this.page(channelId, of, before, limit - messages.length);
      messages.push(...page);
      const remaining = limit - messages.length;
      if (page.length >= remaining) {
        break;
      }
    }
    return messages;
  }

  async history(channelId, limit, before = NEWEST) {
    return this.walk(channelId, bucketOf(before), before.toString(), limit);
  }
}

module.exports = { Articles, INSERT, SELECT, NEWEST, bucketOf };

async function main() {
  const { connect, id, messageIdAt } = require('./setup');
  const client = await connect(process.argv[2] ?? '127.0.0.1:9042');
  const articles = new Articles(client);
  const outcome = async (what, call) => {
    try {
      const got = await call();
      console.log(`${what}: ${JSON.stringify(got)}`);
    } catch (error) {
      console.log(`${what}: ${error.constructor.name}: ${error.message}`);
    }
  };
  const now = Date.now();
  await outcome('sending to the bucket id / 100000', () =>
    articles.send('1', id(now), messageIdAt(now), '7', 'hello'),
  );
  await outcome('the newest messages, by the cursor 2^64-1', () => articles.history('1', 50));
  await outcome('2^64-1 as a timestamp', () => articles.page('1', 0, NEWEST.toString(), 50));
  await outcome('2^64-1 as a bigint', () =>
    client.execute('SELECT content FROM messages WHERE channel_id = ? AND bucket_id = 0', [NEWEST], { prepare: true }),
  );
  for (let at = 0; at < 10; at += 1) {
    await client.execute(INSERT, ['1', at < 5 ? 9 : 8, messageIdAt(now + at), '7', `message ${at}`], { prepare: true });
  }
  await outcome('a snowflake as text, where a timestamp is asked for', () => articles.page('1', 9, id(now).toString(), 50));
  await outcome('a snowflake as a number, where a timestamp is asked for', () =>
    articles.page('1', 9, types.Long.fromString((id(now) - 1n).toString()), 50),
  );
  await outcome('8 messages, of which 5 are in one bucket and 5 in the next: so many come', async () =>
    (await articles.walk('1', 9, new Date(now + 1000), 8)).length,
  );
  articles.queries = 0;
  await articles.walk('2', 100, new Date(now), 50);
  console.log(`a channel without messages, from bucket 100 down: ${articles.queries} queries`);
  await client.shutdown();
}

if (require.main === module) {
  main();
}
