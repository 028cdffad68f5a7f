'use strict';
// cassandra-driver of npm against a server; see ../README.md.

const assert = require('node:assert');
const readline = require('node:readline');
const { Client, types, policies } = require('cassandra-driver');

const [host, port, keyspace, datacenter] = process.argv.slice(2);
const WAIT_MS = 60_000;

let held = 0;
let failed = 0;

/** Driver types by what they say, everything else as it is. */
function plain(value) {
  if (value === undefined) return null;
  if (value === null || typeof value !== 'object') return value;
  if (Buffer.isBuffer(value)) return `0x${value.toString('hex')}`;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof types.Tuple) return value.values().map(plain);
  if (value.constructor === Object) {
    return Object.fromEntries(Object.entries(value).map(([name, of]) => [name, plain(of)]));
  }
  return value.toString();
}

function equal(what, got, expected) {
  try {
    assert.deepStrictEqual(plain(got), plain(expected));
    held += 1;
  } catch {
    failed += 1;
    console.log(`FAILED ${what}: expected ${JSON.stringify(plain(expected))}, got ${JSON.stringify(plain(got))}`);
  }
}

async function rejects(what, text, call) {
  try {
    await call();
  } catch (error) {
    equal(`${what}: ${text} in ${error.message}`, String(error.message).includes(text), true);
    return;
  }
  equal(what, 'went through', text);
}

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function restart() {
  console.log('RESTART');
  const { value } = await lines.next();
  if (value !== 'RESTARTED') throw new Error(`the server was not started again: ${value}`);
}

async function until(what, call) {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`${what}: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

const COLUMNS = [
  ['v_ascii', 'ascii', 'plain'],
  ['v_bigint', 'bigint', types.Long.fromString('-9223372036854775808')],
  ['v_blob', 'blob', Buffer.from([0, 255, 128])],
  ['v_boolean', 'boolean', true],
  ['v_date', 'date', types.LocalDate.fromString('2015-05-03')],
  ['v_decimal', 'decimal', types.BigDecimal.fromString('-12345678901234567890.0123456789')],
  ['v_double', 'double', 2.5e-300],
  ['v_duration', 'duration', types.Duration.fromString('1mo2d3ns')],
  ['v_float', 'float', 0.15625],
  ['v_inet', 'inet', types.InetAddress.fromString('2001:db8::1')],
  ['v_int', 'int', -2147483648],
  ['v_smallint', 'smallint', -32768],
  ['v_text', 'text', 'grüße 😀\n'],
  ['v_time', 'time', types.LocalTime.fromString('23:59:59.999999999')],
  ['v_timestamp', 'timestamp', new Date('2015-05-03T13:30:54.234Z')],
  ['v_timeuuid', 'timeuuid', types.TimeUuid.fromString('f0d4a4c0-1c2a-11e5-8080-808080808080')],
  ['v_tinyint', 'tinyint', -128],
  ['v_uuid', 'uuid', types.Uuid.fromString('cfd66ccc-d857-4e90-b1e5-df98a3d40cd6')],
  ['v_varchar', 'varchar', ''],
  ['v_varint', 'varint', types.Integer.fromString('-1606938044258990275541962092341162602522202993782792835301376')],
  ['v_list', 'list<int>', [3, 1, 3]],
  ['v_set', 'set<text>', ['a', 'b']],
  ['v_map', 'map<text, bigint>', { a: types.Long.fromInt(1), b: types.Long.fromInt(-1) }],
  ['v_frozen_list', 'frozen<list<text>>', ['x', '', 'y']],
  ['v_frozen_map', 'map<text, frozen<set<int>>>', { one: [1, 2], two: [3] }],
  ['v_tuple', 'tuple<int, text, boolean>', new types.Tuple(1, 'one', null)],
  ['v_udt', 'frozen<address>', { street: 'Main street', number: 5, tags: ['home', 'work'] }],
  ['v_open_udt', 'address', { street: 'Side street', number: null, tags: null }],
  ['v_udts', 'list<frozen<address>>', [{ street: 'a', number: 1, tags: ['t'] }]],
];

async function course(client) {
  const run = (query, params, options) => client.execute(query, params, { prepare: true, ...options });

  await client.connect();
  equal('protocol version', client.controlConnection.protocolVersion, 4);
  const ddl = `CREATE KEYSPACE ${keyspace} WITH replication = {'class': 'NetworkTopologyStrategy', '${datacenter}': 1}`;
  await client.execute(ddl);
  await rejects('a keyspace twice', keyspace, () => client.execute(ddl));
  await client.execute(`USE ${keyspace}`);
  await client.execute('CREATE TYPE address (street text, number int, tags frozen<set<text>>)');
  const listed = COLUMNS.map(([name, kind]) => `${name} ${kind}`).join(', ');
  await client.execute(`CREATE TABLE all_types (id int PRIMARY KEY, ${listed})`);
  await client.execute(
    'CREATE TABLE messages (channel_id bigint, bucket int, message_id timeuuid, author_id bigint, content text, ' +
      'edited timestamp, attachments list<text>, topic text static, PRIMARY KEY ((channel_id, bucket), message_id)) ' +
      "WITH CLUSTERING ORDER BY (message_id DESC) AND comment = 'it''s chat'",
  );

  // What the driver knows.
  const known = await client.metadata.getTable(keyspace, 'messages');
  equal('partition key', known.partitionKeys.map((of) => of.name), ['channel_id', 'bucket']);
  equal('clustering key', known.clusteringKeys.map((of) => of.name), ['message_id']);
  equal('order', known.clusteringOrder, ['DESC']);
  equal('comment', known.comment, "it's chat");
  equal('compact', known.isCompact, false);
  equal('static', known.columnsByName.topic.isStatic, true);
  const all = await client.metadata.getTable(keyspace, 'all_types');
  equal('columns', Object.keys(all.columnsByName).sort(), ['id', ...COLUMNS.map(([name]) => name)].sort());
  const udt = await client.metadata.getUdt(keyspace, 'address');
  equal('fields', udt.fields.map((of) => of.name), ['street', 'number', 'tags']);
  equal('keyspace', client.metadata.keyspaces[keyspace].strategy.endsWith('NetworkTopologyStrategy'), true);
  equal('replicas', client.metadata.getReplicas(keyspace, Buffer.from([0, 0, 0, 1])).length, 1);
  equal('schema agreement', await client.metadata.checkSchemaAgreement(), true);
  equal('data center', client.hosts.values()[0].datacenter, datacenter);
  equal('version', client.hosts.values()[0].cassandraVersion.startsWith('5.0'), true);

  // Every type, written and read back; null, not set.
  const names = ['id', ...COLUMNS.map(([name]) => name)];
  const insert = `INSERT INTO all_types (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`;
  const select = 'SELECT * FROM all_types WHERE id = ?';
  const one = async (id) => (await run(select, [id])).first();
  const compare = (what, row, values) =>
    COLUMNS.forEach(([name], at) => equal(`${what} ${name}`, row.get(name), values[at]));
  const full = COLUMNS.map(([, , value]) => value);
  await run(insert, [1, ...full]);
  compare('written', await one(1), full);
  await run(insert, [2, ...full.map(() => null)]);
  compare('null', await one(2), full.map(() => null));
  await run(insert, [1, ...full.map(() => types.unset)]);
  compare('not set', await one(1), full);
  await run(insert, [1, ...full.map((_, at) => (at % 2 ? null : types.unset))]);
  compare('half null', await one(1), full.map((value, at) => (at % 2 ? null : value)));
  await rejects('a key that is null', 'null', () => run(insert, [null, ...full]));
  await rejects('an unknown column', 'nope', () => run('SELECT nope FROM all_types', []));
  await run('UPDATE all_types SET v_list = v_list + ?, v_set = v_set + ?, v_map[?] = ? WHERE id = ?', [
    [9],
    ['c'],
    'c',
    '7',
    2,
  ]);
  let row = await one(2);
  equal('collections edited', [row.v_list, row.v_set, row.v_map], [[9], ['c'], { c: types.Long.fromInt(7) }]);
  await run('DELETE v_map[?] FROM all_types WHERE id = ?', ['c', 2]);
  equal('an element deleted', (await one(2)).v_map, null);

  // Pages.
  const write =
    'INSERT INTO messages (channel_id, bucket, message_id, author_id, content, attachments) VALUES (?, ?, ?, ?, ?, ?)';
  const ids = Array.from({ length: 100 }, (_, at) =>
    types.TimeUuid.fromString(`${(0x13814000 + at).toString(16)}-1dd2-11b2-8080-808080808080`),
  );
  await Promise.all(
    ids.map((id, at) => run(write, ['1', 1, id, types.Long.fromInt(at % 7), `message ${at}`, [`file ${at}`]])),
  );
  const read = 'SELECT message_id, content FROM messages WHERE channel_id = ? AND bucket = ?';
  const seen = [];
  let pages = 0;
  let pageState;
  do {
    const result = await run(read, ['1', 1], { fetchSize: 10, pageState });
    equal('rows of a page', result.rowLength, 10);
    seen.push(...result.rows.map((of) => of.message_id));
    pageState = result.pageState;
    pages += 1;
  } while (pageState && pages < 20);
  equal('pages', pages, 10);
  equal('rows in order', seen, [...ids].reverse());
  let streamed = 0;
  for await (const of of client.stream('SELECT * FROM messages', [], { prepare: true, fetchSize: 10 })) {
    streamed += of ? 1 : 0;
  }
  equal('a scan in pages', streamed, 100);
  const older =
    'SELECT message_id FROM messages WHERE channel_id = ? AND bucket = ? AND message_id < ? LIMIT ?';
  equal(
    'older than',
    (await run(older, ['1', 1, ids[50], 3])).rows.map((of) => of.message_id),
    [ids[49], ids[48], ids[47]],
  );
  const counted = await run('SELECT count(*) FROM messages WHERE channel_id = ? AND bucket = ?', ['1', 1]);
  equal('count', counted.first().count, types.Long.fromInt(100));

  // Edits, deletions.
  const get = 'SELECT * FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?';
  const message = async (channel, id) => (await run(get, [channel, 1, id])).first();
  await run('UPDATE messages SET content = ?, edited = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?', [
    'edited',
    new Date(1_577_836_800_000),
    '1',
    1,
    ids[0],
  ]);
  row = await message('1', ids[0]);
  equal('edited', [row.content, row.edited], ['edited', new Date(1_577_836_800_000)]);
  await run('DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?', ['1', 1, ids[1]]);
  equal('deleted', await message('1', ids[1]), null);
  await run('DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id >= ? AND message_id < ?', [
    '1',
    1,
    ids[10],
    ids[20],
  ]);
  equal('a range deleted', (await run(read, ['1', 1])).rowLength, 89);
  await run('UPDATE messages USING TTL ? SET content = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?', [
    1000,
    'soon',
    '1',
    1,
    ids[3],
  ]);
  const left = await run(
    'SELECT ttl(content) AS left FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?',
    ['1', 1, ids[3]],
  );
  equal('ttl', left.first().left > 900 && left.first().left <= 1000, true);

  // Conditions.
  const once = 'INSERT INTO messages (channel_id, bucket, message_id, content) VALUES (?, ?, ?, ?) IF NOT EXISTS';
  equal('if not exists', (await run(once, ['2', 1, ids[0], 'first'])).wasApplied(), true);
  let answer = await run(once, ['2', 1, ids[0], 'second']);
  equal('if not exists, not applied', [answer.wasApplied(), answer.first().content], [false, 'first']);
  const swap = 'UPDATE messages SET content = ? WHERE channel_id = ? AND bucket = ? AND message_id = ? IF content = ?';
  equal('if', (await run(swap, ['next', '2', 1, ids[0], 'first'])).wasApplied(), true);
  answer = await run(swap, ['next', '2', 1, ids[0], 'first']);
  equal('if, not applied', [answer.wasApplied(), answer.first().content], [false, 'next']);

  // Batches.
  for (const logged of [true, false]) {
    const channel = logged ? '3' : '4';
    const queries = ids.slice(0, 5).map((id) => ({ query: write, params: [channel, 1, id, '1', 'in a batch', null] }));
    queries.push({
      query: 'DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?',
      params: ['1', 1, ids[logged ? 30 : 31]],
    });
    await client.batch(queries, { prepare: true, logged });
    equal(`batch ${channel}`, (await run(read, [channel, 1])).rowLength, 5);
    equal(`batch ${channel} deletes`, await message('1', ids[logged ? 30 : 31]), null);
  }

  // ALTER, TRUNCATE, DROP.
  const everything = 'SELECT * FROM messages WHERE channel_id = ? AND bucket = ? LIMIT 1';
  await run(everything, ['3', 1]);
  await client.execute('ALTER TABLE messages ADD reactions map<text, int>');
  row = (await run(everything, ['3', 1])).first();
  equal('a column more in what was prepared', row.keys().includes('reactions'), true);
  await client.execute('CREATE TABLE passing (id int PRIMARY KEY, v int)');
  await run('INSERT INTO passing (id, v) VALUES (?, ?)', [1, 1]);
  await client.execute('TRUNCATE passing');
  equal('truncated', (await run('SELECT * FROM passing', [])).rowLength, 0);
  await client.execute('DROP TABLE passing');
  equal('dropped', await client.metadata.getTable(keyspace, 'passing'), null);

  // A trace.
  const traced = await client.execute('SELECT * FROM messages LIMIT 1', [], { traceQuery: true });
  const trace = await client.metadata.getTrace(traced.info.traceId);
  equal('trace', trace.duration >= 0, true);

  // The server goes and comes back; what was prepared still holds.
  const text = (rows) => rows.map((of) => `${of.message_id} ${of.content}`);
  const before = text((await run(read, ['1', 1])).rows);
  for (const turn of [0, 1]) {
    await restart();
    const after = await until('after a restart', async () => text((await run(read, ['1', 1])).rows));
    equal(`rows after restart ${turn}`, after, before);
    const channel = String(10 + turn);
    await until('a write', () => run(write, [channel, 1, ids[0], '1', 'after', null]));
    equal(`written after restart ${turn}`, (await message(channel, ids[0])).content, 'after');
    equal(`types after restart ${turn}`, (await one(1)).v_duration, null);
    equal(`once more, after restart ${turn}`, (await run(once, ['2', 1, ids[0], 'x'])).wasApplied(), false);
  }
  await client.execute(`DROP KEYSPACE ${keyspace}`);
}

async function main() {
  const client = new Client({
    contactPoints: [`${host}:${port}`],
    localDataCenter: datacenter,
    policies: { reconnection: new policies.reconnection.ConstantReconnectionPolicy(200) },
    socketOptions: { readTimeout: 20_000, connectTimeout: 10_000 },
  });
  try {
    await course(client);
  } catch (error) {
    console.error(error);
    equal('the course', `${error.message}`, 'its end');
  }
  await client.shutdown();
  console.log(failed ? `node: ${failed} of ${failed + held} checks failed` : `OK ${held}`);
  process.exit(failed ? 1 : 0);
}

main();
