'use strict';
// Connecting as the articles do, and ids.

const { Client, types } = require('cassandra-driver');
const { KEYSPACE, MESSAGES } = require('./schema');

/** From when snowflakes count, milliseconds. */
const EPOCH = 1_420_070_400_000n;

/** The first snowflake of a millisecond. */
function id(ms) {
  return (BigInt(ms) - EPOCH) << 22n;
}

/** A timeuuid of a millisecond. */
function messageIdAt(ms) {
  return types.TimeUuid.fromDate(new Date(ms), 0, 'abcdef', 'ab');
}

const options = (at) => ({
  contactPoints: [at],
  localDataCenter: 'us-east-1a',
  socketOptions: { readTimeout: 20_000 },
});

/** Makes the keyspace and the table unless they are there; gives what the server warned of. */
async function define(at) {
  const client = new Client(options(at));
  await client.connect();
  const made = await client.execute(KEYSPACE.replace('KEYSPACE', 'KEYSPACE IF NOT EXISTS'));
  await client.execute('USE discord_messaging');
  await client.execute(MESSAGES.replace('TABLE', 'TABLE IF NOT EXISTS'));
  await client.shutdown();
  return made.info.warnings ?? [];
}

/** A client as the articles make it. */
async function connect(at) {
  await define(at);
  const client = new Client({ ...options(at), keyspace: 'discord_messaging' });
  await client.connect();
  return client;
}

module.exports = { EPOCH, id, messageIdAt, connect, define, options };
