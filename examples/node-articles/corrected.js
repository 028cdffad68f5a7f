'use strict';
// The client of the articles without its faults.
//
//   node corrected.js [HOST:PORT] [PORT]     serves it as REST on 127.0.0.1:PORT, 8080 if none is given
//
// - A bucket is ten days of a channel: a number that fits an int for ever.
// - A message's id is a snowflake to the outside and a timeuuid in the table, the one made from the other, both in one order. So a
//   cursor is a key, and no message of its millisecond is shown twice or passed over.
// - What remains is computed before it is compared.
// - A small table knows the buckets that a channel has, newest first: no empty one is asked.

const http = require('node:http');
const { types } = require('cassandra-driver');
const { EPOCH } = require('./setup');

const BUCKET_MS = 864_000_000n;
/** The largest id: of a signed 64-bit number, as the column of a bigint is. */
const ID_MAX = 2n ** 63n - 1n;
/** How long a nonce is remembered, seconds. */
const NONCE_SECONDS = 600;
const LIMIT_MAX = 100;

const TABLES = [
  'CREATE TABLE IF NOT EXISTS buckets (channel_id bigint, bucket_id int, PRIMARY KEY (channel_id, bucket_id)) ' +
    'WITH CLUSTERING ORDER BY (bucket_id DESC)',
  'CREATE TABLE IF NOT EXISTS nonces (channel_id bigint, nonce text, message_id bigint, PRIMARY KEY ((channel_id, nonce)))',
];
const INSERT =
  'INSERT INTO messages (channel_id, bucket_id, message_id, author_id, content) VALUES (?, ?, ?, ?, ?)';
const SELECT =
  'SELECT message_id, author_id, content FROM messages ' +
  'WHERE channel_id = ? AND bucket_id = ? AND message_id < ? LIMIT ?';
const BUCKET = 'INSERT INTO buckets (channel_id, bucket_id) VALUES (?, ?)';
const BUCKETS = 'SELECT bucket_id FROM buckets WHERE channel_id = ? AND bucket_id <= ?';
const NONCE = `INSERT INTO nonces (channel_id, nonce, message_id) VALUES (?, ?, ?) IF NOT EXISTS USING TTL ${NONCE_SECONDS}`;

function bucketOf(id) {
  return Number((id >> 22n) / BUCKET_MS);
}

/** Ticks of 100 ns between the beginning of timeuuids, in 1582, and 1970. */
const GREGORIAN = 0x01b21dd213814000n;

/**
 * The timeuuid of a snowflake: its millisecond as the time, its other 22 bits in the last four bytes, seven bits in each, because
 * timeuuids of one time are ordered by their last eight bytes as signed ones.
 */
function timeuuidOf(id) {
  const ticks = ((id >> 22n) + EPOCH) * 10_000n + GREGORIAN;
  const rest = id & 0x3fffffn;
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32BE(Number(ticks & 0xffffffffn), 0);
  bytes.writeUInt16BE(Number((ticks >> 32n) & 0xffffn), 4);
  bytes.writeUInt16BE(Number((ticks >> 48n) & 0xfffn) | 0x1000, 6);
  bytes[8] = 0x80;
  for (let at = 0; at < 4; at += 1) {
    bytes[12 + at] = Number((rest >> BigInt(7 * (3 - at))) & 0x7fn);
  }
  return new types.TimeUuid(bytes);
}

/** And back. */
function snowflakeOf(timeuuid) {
  const bytes = timeuuid.getBuffer();
  const ticks =
    (BigInt(bytes.readUInt16BE(6) & 0xfff) << 48n) | (BigInt(bytes.readUInt16BE(4)) << 32n) | BigInt(bytes.readUInt32BE(0));
  let id = ((ticks - GREGORIAN) / 10_000n - EPOCH) << 22n;
  for (let at = 0; at < 4; at += 1) {
    id |= BigInt(bytes[12 + at]) << BigInt(7 * (3 - at));
  }
  return id;
}

class Corrected {
  constructor(client) {
    this.client = client;
    this.queries = 0;
    this.last = 0n;
    this.buckets = new Set();
  }

  static async over(client) {
    for (const table of TABLES) {
      await client.execute(table);
    }
    return new Corrected(client);
  }

  run(query, params) {
    this.queries += 1;
    return this.client.execute(query, params, { prepare: true });
  }

  /** A new id, greater than all before of this process. */
  nextId(ms = Date.now()) {
    const first = (BigInt(ms) - EPOCH) << 22n;
    this.last = first > this.last ? first : this.last + 1n;
    return this.last;
  }

  /** Sends a message; with a nonce that was there already, it is the message that was sent with it. */
  async send(channelId, authorId, content, nonce, id = this.nextId()) {
    if (nonce !== undefined) {
      const result = await this.run(NONCE, [channelId, nonce, id.toString()]);
      if (!result.wasApplied()) {
        id = BigInt(result.first().get('message_id').toString());
      }
    }
    const bucket = bucketOf(id);
    // First the bucket: a message in one that nobody knows would never be found.
    if (!this.buckets.has(`${channelId} ${bucket}`)) {
      await this.run(BUCKET, [channelId, bucket]);
      this.buckets.add(`${channelId} ${bucket}`);
    }
    await this.run(INSERT, [channelId, bucket, timeuuidOf(id), authorId, content]);
    return id.toString();
  }

  /** The newest `limit` messages, or those before an id. */
  async history(channelId, limit, before = ID_MAX) {
    const from = BigInt(before) > ID_MAX ? ID_MAX : BigInt(before);
    const cursor = timeuuidOf(from);
    const buckets = await this.run(BUCKETS, [channelId, bucketOf(from)]);
    const messages = [];
    // One more than wanted tells whether there are more.
    for (const row of buckets.rows) {
      const remaining = limit + 1 - messages.length;
      if (remaining === 0) {
        break;
      }
      const page = await this.run(SELECT, [channelId, row.get('bucket_id'), cursor, remaining]);
      for (const of of page.rows) {
        messages.push({
          id: snowflakeOf(of.get('message_id')).toString(),
          channel_id: channelId,
          author_id: of.get('author_id').toString(),
          content: of.get('content'),
        });
      }
    }
    const has_more = messages.length > limit;
    messages.length = Math.min(messages.length, limit);
    return { messages, has_more, next_cursor: has_more ? messages[limit - 1].id : null };
  }
}

/** REST around it. */
function serve(corrected) {
  const answer = (response, status, body) => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  };
  return http.createServer(async (request, response) => {
    try {
      const url = new URL(request.url, 'http://localhost');
      const [, channelId] = /^\/v1\/channels\/(\d{1,19})\/messages$/.exec(url.pathname) ?? [];
      if (channelId === undefined || BigInt(channelId) > ID_MAX) {
        answer(response, 404, { error: 'no such channel' });
      } else if (request.method === 'POST') {
        let text = '';
        for await (const chunk of request) {
          text += chunk;
          if (text.length > 65_536) {
            answer(response, 413, { error: 'too long' });
            return;
          }
        }
        const { author_id, content, nonce } = JSON.parse(text);
        if (!/^\d{1,19}$/.test(author_id) || BigInt(author_id) > ID_MAX || typeof content !== 'string') {
          answer(response, 400, { error: 'author_id is a decimal string, content a string' });
          return;
        }
        const id = await corrected.send(channelId, author_id, content, nonce === undefined ? undefined : String(nonce));
        answer(response, 201, { id, channel_id: channelId, author_id, content });
      } else if (request.method === 'GET') {
        const limit = Number(url.searchParams.get('limit') ?? 50);
        const before = url.searchParams.get('before') ?? ID_MAX.toString();
        if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX || !/^\d{1,20}$/.test(before)) {
          answer(response, 400, { error: `limit is 1 to ${LIMIT_MAX}, before an id` });
          return;
        }
        answer(response, 200, await corrected.history(channelId, limit, before));
      } else {
        answer(response, 405, { error: 'GET or POST' });
      }
    } catch (error) {
      const is_theirs = error instanceof SyntaxError;
      answer(response, is_theirs ? 400 : 500, { error: error.message });
    }
  });
}

module.exports = { Corrected, serve, bucketOf, timeuuidOf, snowflakeOf, ID_MAX };

async function main() {
  const { connect } = require('./setup');
  const client = await connect(process.argv[2] ?? '127.0.0.1:9042');
  const port = Number(process.argv[3] ?? 8080);
  serve(await Corrected.over(client)).listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}/v1/channels/1/messages`));
}

if (require.main === module) {
  main();
}
