'use strict';
// Holds both clients to what README.md says of them: `cargo xtask drivers --only node` runs it against a new server. It goes by the
// rules of drivers/README.md, but for the keyspace, whose name the articles give.

const assert = require('node:assert');
const readline = require('node:readline');
const { Client, errors, types } = require('cassandra-driver');
const { Articles, INSERT, NEWEST, bucketOf } = require('./articles');
const corrected = require('./corrected');
const { connect, define, id, messageIdAt, options } = require('./setup');

const at = `${process.argv[2] ?? '127.0.0.1'}:${process.argv[3] ?? 9042}`;
let held = 0;
let failed = 0;

function equal(what, got, expected) {
  try {
    assert.deepStrictEqual(got, expected);
    held += 1;
  } catch {
    failed += 1;
    console.log(`FAILED ${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`);
  }
}

async function refuses(what, kind, text, call) {
  try {
    const got = await call();
    equal(what, got, `${kind.name}: ${text}`);
  } catch (error) {
    equal(`${what}: the kind of ${error}`, error.constructor.name, kind.name);
    equal(`${what}: ${text} in ${error.message}`, error.message.includes(text), true);
  }
}

async function definitions() {
  const warnings = await define(at);
  const expected = [['us-east-1a', 1], ['us-east-1b', 0], ['us-east-1c', 0]].map(
    ([name, nodes]) =>
      `Your replication factor 3 for keyspace discord_messaging is higher than the number of nodes ${nodes} for datacenter ${name}`,
  );
  equal('warnings', warnings, expected);
  const client = new Client({ ...options(at), keyspace: 'discord_messaging' });
  await client.connect();
  const described = await client.execute('DESCRIBE KEYSPACE discord_messaging');
  const [keyspace, table] = described.rows.map((row) => row.get('create_statement'));
  equal(
    'DESCRIBE of the keyspace',
    keyspace,
    "CREATE KEYSPACE discord_messaging WITH replication = {'class': 'NetworkTopologyStrategy', " +
      "'us-east-1a': '3', 'us-east-1b': '3', 'us-east-1c': '3'}  AND durable_writes = true;",
  );
  for (const text of [
    'PRIMARY KEY ((channel_id, bucket_id), message_id)',
    'CLUSTERING ORDER BY (message_id DESC)',
    "SizeTieredCompactionStrategy', 'max_threshold': '32', 'min_threshold': '4'}",
  ]) {
    equal(`DESCRIBE of the table: ${text}`, table.includes(text), true);
  }
  await refuses('a data center that is not known', errors.ResponseError, 'nowhere', () =>
    client.execute("CREATE KEYSPACE other WITH replication = {'class': 'NetworkTopologyStrategy', 'nowhere': 1}"),
  );
  await client.shutdown();
}

async function faults() {
  const client = await connect(at);
  const articles = new Articles(client);
  const now = Date.parse('2016-03-01T00:00:00Z');

  // The driver refuses the bucket, before anything is sent.
  equal('a bucket', bucketOf(id(now)), Number(id(now) / 100000n));
  await refuses('a bucket that is no int', RangeError, 'must be >= -2147483648 and <= 2147483647', () =>
    articles.send('1', id(now), messageIdAt(now), '7', 'hello'),
  );
  await refuses('the newest messages', RangeError, 'must be >= -2147483648 and <= 2147483647', () =>
    articles.history('1', 50),
  );

  // The cursor: no timestamp, and no bigint either.
  await refuses('2^64-1 as a timestamp', TypeError, 'Invalid date: 18446744073709551615', () =>
    articles.page('1', 9, NEWEST.toString(), 50),
  );
  await refuses('2^64-1 as a bigint', TypeError, 'Not a valid bigint', () =>
    client.execute('SELECT content FROM messages WHERE channel_id = ? AND bucket_id = 9', [NEWEST], { prepare: true }),
  );
  equal('2^64-1 as text becomes -1', types.Long.fromString(NEWEST.toString()).toString(), '-1');

  // A snowflake where a timestamp is asked for: as text it is none, as a number it is 5 million years away, or wraps around.
  for (let nth = 0; nth < 10; nth += 1) {
    await client.execute(INSERT, ['1', nth < 5 ? 9 : 8, messageIdAt(now - nth), '7', `message ${nth}`], { prepare: true });
  }
  await refuses('a snowflake as text', TypeError, `Invalid date: ${id(now)}`, () =>
    articles.page('1', 9, id(now).toString(), 50),
  );
  const before = await articles.page('1', 9, new Date(now - 2), 50);
  // Of its own millisecond, too: maxTimeuuid() is the last of it.
  equal('before a timestamp', before.map((of) => of.content), ['message 2', 'message 3', 'message 4']);
  // The snowflake of `now - 2` stands for the same moment, and does not give the same page.
  const wrong = await articles.page('1', 9, types.Long.fromString(id(now - 2).toString()), 50);
  equal('a snowflake as a timestamp gives another page', wrong.length === before.length, false);

  // What remains: 8 are wanted, 10 are there, 5 come.
  const walked = await articles.walk('1', 9, new Date(now + 1000), 8);
  equal('a page at least half full ends the walk', walked.map((of) => of.content), [0, 1, 2, 3, 4].map((nth) => `message ${nth}`));
  equal('one less than half does not', (await articles.walk('1', 9, new Date(now + 1000), 11)).length, 10);

  // Every bucket, one by one.
  articles.queries = 0;
  equal('no messages', await articles.walk('2', 100, new Date(now), 50), []);
  equal('queries for no messages', articles.queries, 101);
  await client.shutdown();
}

async function right() {
  const client = await connect(at);
  const of = await corrected.Corrected.over(client);
  // Ids: there and back, in one order.
  const start = Date.parse('2016-03-01T00:00:00Z');
  const ids = [0n, 1n, 127n, 128n, 16_383n, 16_384n, 4_194_303n].map((low) => id(start) | low).concat(id(start + 1));
  for (const one of ids) {
    equal(`${one} there and back`, corrected.snowflakeOf(corrected.timeuuidOf(one)), one);
  }
  for (const one of [...ids].reverse()) {
    await of.send('5', '7', `m${one}`, undefined, one);
  }
  const all = await of.history('5', 50);
  equal('in the order of their ids', all.messages.map((one) => one.id), ids.map(String).reverse());
  const paged = [];
  let before;
  do {
    const page = await of.history('5', 3, before);
    paged.push(...page.messages.map((one) => one.id));
    before = page.next_cursor;
  } while (before !== null && paged.length < 20);
  equal('in pages of three, within a millisecond too', paged, ids.map(String).reverse());

  // Three years of a channel with a message in few of its buckets.
  const sparse = [];
  for (let nth = 0; nth < 8; nth += 1) {
    const one = id(start + nth * 140 * 86_400_000);
    sparse.unshift(await of.send('6', '7', `sparse ${nth}`, undefined, one));
  }
  of.queries = 0;
  const page = await of.history('6', 5);
  equal('over empty buckets', page.messages.map((one) => one.id), sparse.slice(0, 5));
  equal('there are more', [page.has_more, page.next_cursor], [true, sparse[4]]);
  equal('queries: the buckets, and those that have messages', of.queries, 1 + 6);
  const rest = await of.history('6', 5, page.next_cursor);
  equal('the rest', [rest.messages.map((one) => one.id), rest.has_more, rest.next_cursor], [sparse.slice(5), false, null]);
  of.queries = 0;
  equal('no messages', await of.history('7', 50), { messages: [], has_more: false, next_cursor: null });
  equal('queries for no messages', of.queries, 1);
  equal('the cursor 2^64-1 is the newest', (await of.history('6', 1, NEWEST.toString())).messages[0].id, sparse[0]);

  // REST.
  const server = corrected.serve(of);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/v1/channels/8/messages`;
  const post = (body) => fetch(url, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) });
  const sent = [];
  for (let nth = 0; nth < 5; nth += 1) {
    const response = await post({ author_id: '9007199254740993', content: `rest ${nth}`, nonce: `n${nth}` });
    equal('created', response.status, 201);
    sent.unshift((await response.json()).id);
  }
  const again = await post({ author_id: '9007199254740993', content: 'rest 4', nonce: 'n4' });
  equal('a nonce again is the same message', [again.status, (await again.json()).id], [201, sent[0]]);
  const first = await (await fetch(`${url}?limit=3`)).json();
  equal('a page', first.messages.map((one) => [one.id, one.author_id]), sent.slice(0, 3).map((one) => [one, '9007199254740993']));
  equal('its cursor', [first.has_more, first.next_cursor], [true, sent[2]]);
  const second = await (await fetch(`${url}?limit=3&before=${first.next_cursor}`)).json();
  equal('the next page', second.messages.map((one) => one.content), ['rest 1', 'rest 0']);
  equal('its end', [second.has_more, second.next_cursor], [false, null]);
  equal('no limit', (await fetch(`${url}?limit=0`)).status, 400);
  equal('no JSON', (await post('{')).status, 400);
  await new Promise((resolve) => server.close(resolve));
  return { client, of, sparse };
}

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function main() {
  try {
    await definitions();
    await faults();
    const { client, of, sparse } = await right();
    if (process.argv[3] !== undefined) {
      console.log('RESTART');
      const { value } = await lines.next();
      equal('the server was started again', value, 'RESTARTED');
      let page;
      for (let tries = 0; tries < 600 && page === undefined; tries += 1) {
        try {
          page = await of.history('6', 50);
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
      equal('after a restart', page?.messages.map((one) => one.id), sparse);
    }
    await client.shutdown();
  } catch (error) {
    console.error(error);
    equal('the course', error.message, 'its end');
  }
  console.log(failed ? `node-articles: ${failed} of ${failed + held} checks failed` : `OK ${held}`);
  process.exit(failed ? 1 : 0);
}

main();
