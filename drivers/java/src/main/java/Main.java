import com.datastax.oss.driver.api.core.CqlIdentifier;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.AsyncResultSet;
import com.datastax.oss.driver.api.core.cql.BatchStatement;
import com.datastax.oss.driver.api.core.cql.BatchStatementBuilder;
import com.datastax.oss.driver.api.core.cql.BoundStatement;
import com.datastax.oss.driver.api.core.cql.BoundStatementBuilder;
import com.datastax.oss.driver.api.core.cql.DefaultBatchType;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.ResultSet;
import com.datastax.oss.driver.api.core.cql.Row;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.data.CqlDuration;
import com.datastax.oss.driver.api.core.data.TupleValue;
import com.datastax.oss.driver.api.core.data.UdtValue;
import com.datastax.oss.driver.api.core.metadata.Node;
import com.datastax.oss.driver.api.core.metadata.schema.ClusteringOrder;
import com.datastax.oss.driver.api.core.metadata.schema.KeyspaceMetadata;
import com.datastax.oss.driver.api.core.metadata.schema.TableMetadata;
import com.datastax.oss.driver.api.core.servererrors.AlreadyExistsException;
import com.datastax.oss.driver.api.core.servererrors.InvalidQueryException;
import com.datastax.oss.driver.api.core.type.DataTypes;
import com.datastax.oss.driver.api.core.type.TupleType;
import com.datastax.oss.driver.api.core.type.UserDefinedType;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Callable;

/** The Java driver, version 4, against a server; see ../README.md. */
public final class Main {
  private static final long WAIT_MS = 60_000;
  private static final BufferedReader INPUT = new BufferedReader(new InputStreamReader(System.in));
  private static int held;
  private static int failed;

  private static void equal(String what, Object got, Object expected) {
    if (Objects.equals(got, expected)) {
      held++;
    } else {
      failed++;
      System.out.printf("FAILED %s: expected %s, got %s%n", what, expected, got);
    }
  }

  private static void refused(String what, Class<?> kind, String text, Runnable call) {
    try {
      call.run();
      equal(what, "went through", text);
    } catch (RuntimeException error) {
      equal(what + ": the kind of " + error, kind.isInstance(error), true);
      equal(what + ": " + text + " in " + error.getMessage(), String.valueOf(error.getMessage()).contains(text), true);
    }
  }

  private static void restart() throws Exception {
    System.out.println("RESTART");
    String line = INPUT.readLine();
    if (!"RESTARTED".equals(line)) {
      throw new IllegalStateException("the server was not started again: " + line);
    }
  }

  /** Calls until it succeeds: the driver connects again by itself, and that takes it a moment. */
  private static <T> T until(Callable<T> call) throws Exception {
    long deadline = System.nanoTime() + WAIT_MS * 1_000_000;
    while (true) {
      try {
        return call.call();
      } catch (Exception error) {
        if (System.nanoTime() > deadline) {
          throw error;
        }
        Thread.sleep(50);
      }
    }
  }

  private static UUID id(int at) {
    return UUID.fromString(String.format("%08x-1dd2-11b2-8080-808080808080", 0x13814000 + at));
  }

  private static List<UUID> ids(ResultSet rows) {
    List<UUID> ids = new ArrayList<>();
    for (Row row : rows) {
      ids.add(row.getUuid("message_id"));
    }
    return ids;
  }

  private static Map<String, String> columns() {
    Map<String, String> columns = new LinkedHashMap<>();
    for (String of :
        ("ascii bigint blob boolean date decimal double duration float inet int smallint text time timestamp timeuuid "
                + "tinyint uuid varchar varint")
            .split(" ")) {
      columns.put("v_" + of, of);
    }
    columns.put("v_list", "list<int>");
    columns.put("v_set", "set<text>");
    columns.put("v_map", "map<text, bigint>");
    columns.put("v_frozen_list", "frozen<list<text>>");
    columns.put("v_frozen_map", "map<int, frozen<set<int>>>");
    columns.put("v_tuple", "tuple<int, text, boolean>");
    columns.put("v_udt", "frozen<address>");
    columns.put("v_open_udt", "address");
    columns.put("v_udts", "list<frozen<address>>");
    return columns;
  }

  private static List<Object> values(UserDefinedType address) throws Exception {
    UdtValue home =
        address.newValue().setString("street", "Main street").setInt("number", 5).setSet("tags", set("home", "work"), String.class);
    UdtValue half = address.newValue().setString("street", "Side street").setToNull("number").setToNull("tags");
    TupleType tuple = DataTypes.tupleOf(DataTypes.INT, DataTypes.TEXT, DataTypes.BOOLEAN);
    TupleValue one = tuple.newValue().setInt(0, 1).setString(1, "one").setToNull(2);
    Map<String, Long> map = new LinkedHashMap<>();
    map.put("a", 1L);
    map.put("b", -1L);
    return Arrays.asList(
        "plain",
        Long.MIN_VALUE,
        ByteBuffer.wrap(new byte[] {0, -1, -128}),
        true,
        LocalDate.of(2015, 5, 3),
        new BigDecimal("-12345678901234567890.0123456789"),
        2.5e-300,
        CqlDuration.newInstance(-1, -2, -3),
        0.15625f,
        InetAddress.getByName("2001:db8::1"),
        Integer.MIN_VALUE,
        Short.MIN_VALUE,
        "grüße \uD83D\uDE00\n",
        LocalTime.ofNanoOfDay(86_399_999_999_999L),
        Instant.ofEpochMilli(1_430_659_854_234L),
        id(7),
        Byte.MIN_VALUE,
        UUID.fromString("cfd66ccc-d857-4e90-b1e5-df98a3d40cd6"),
        "",
        BigInteger.ONE.shiftLeft(200).negate(),
        Arrays.asList(3, 1, 3),
        set("a", "b"),
        map,
        Arrays.asList("x", "", "y"),
        Collections.singletonMap(1, set(1, 2)),
        one,
        home,
        half,
        Arrays.asList(home, half));
  }

  @SafeVarargs
  private static <T> Set<T> set(T... of) {
    return new LinkedHashSet<>(Arrays.asList(of));
  }

  private static BoundStatement bind(PreparedStatement statement, Object key, List<Object> values, boolean[] unset) {
    BoundStatementBuilder builder = statement.boundStatementBuilder();
    builder = key == null ? builder.setToNull(0) : builder.setInt(0, (Integer) key);
    for (int at = 0; at < values.size(); at++) {
      if (unset != null && unset[at]) {
        continue;
      }
      Object value = values.get(at);
      int index = at + 1;
      if (value == null) {
        builder = builder.setToNull(index);
      } else {
        builder = builder.set(index, value, builder.codecRegistry().codecFor(builder.getType(index), value));
      }
    }
    return builder.build();
  }

  private static void compare(String what, Row row, List<Object> expected) {
    int at = 0;
    for (String name : columns().keySet()) {
      equal(what + " " + name, row.isNull(name) ? null : row.getObject(name), expected.get(at++));
    }
  }

  private static void course(CqlSession session, String keyspace, String datacenter) throws Exception {
    equal("protocol version", session.getContext().getProtocolVersion().getCode(), 4);
    String ddl =
        "CREATE KEYSPACE " + keyspace + " WITH replication = {'class': 'NetworkTopologyStrategy', '" + datacenter + "': 1}";
    session.execute(ddl);
    refused("a keyspace twice", AlreadyExistsException.class, keyspace, () -> session.execute(ddl));
    session.execute("USE " + keyspace);
    session.execute("CREATE TYPE address (street text, number int, tags frozen<set<text>>)");
    List<String> listed = new ArrayList<>();
    columns().forEach((name, type) -> listed.add(name + " " + type));
    session.execute("CREATE TABLE all_types (id int PRIMARY KEY, " + String.join(", ", listed) + ")");
    session.execute(
        "CREATE TABLE messages (channel_id bigint, bucket int, message_id timeuuid, author_id bigint, content text, "
            + "edited timestamp, attachments list<text>, topic text static, PRIMARY KEY ((channel_id, bucket), message_id)) "
            + "WITH CLUSTERING ORDER BY (message_id DESC) AND comment = 'it''s chat'");

    // What the driver knows.
    session.refreshSchema();
    KeyspaceMetadata known = session.getMetadata().getKeyspace(keyspace).orElseThrow();
    TableMetadata table = known.getTable("messages").orElseThrow();
    List<String> key = new ArrayList<>();
    table.getPartitionKey().forEach(of -> key.add(of.getName().asInternal()));
    equal("partition key", key, Arrays.asList("channel_id", "bucket"));
    equal("order", new ArrayList<>(table.getClusteringColumns().values()), Collections.singletonList(ClusteringOrder.DESC));
    equal("comment", table.getOptions().get(CqlIdentifier.fromCql("comment")), "it's chat");
    equal("static", table.getColumn("topic").orElseThrow().isStatic(), true);
    equal("columns", known.getTable("all_types").orElseThrow().getColumns().size(), columns().size() + 1);
    equal("compact", table.isCompactStorage(), false);
    UserDefinedType address = known.getUserDefinedType("address").orElseThrow();
    equal("fields", address.getFieldNames().toString(), "[street, number, tags]");
    equal("schema agreement", session.checkSchemaAgreement(), true);
    Node node = session.getMetadata().getNodes().values().iterator().next();
    equal("data center", node.getDatacenter(), datacenter);
    equal("version", node.getCassandraVersion().getMajor(), 5);
    ByteBuffer routing = ByteBuffer.wrap(new byte[] {0, 0, 0, 1});
    equal("replicas", session.getMetadata().getTokenMap().orElseThrow().getReplicas(keyspace, routing).size(), 1);
    equal("describe", known.describeWithChildren(true).contains("CREATE TABLE"), true);

    // Every type, written and read back; null, not set.
    List<Object> full = values(address);
    String names = String.join(", ", columns().keySet());
    PreparedStatement insert =
        session.prepare("INSERT INTO all_types (id, " + names + ") VALUES (?" + ", ?".repeat(full.size()) + ")");
    equal("routing key", insert.getPartitionKeyIndices(), Collections.singletonList(0));
    PreparedStatement select = session.prepare("SELECT * FROM all_types WHERE id = ?");
    List<Object> nothing = Collections.nCopies(full.size(), null);
    boolean[] all = new boolean[full.size()];
    Arrays.fill(all, true);
    boolean[] even = new boolean[full.size()];
    List<Object> half = new ArrayList<>();
    for (int at = 0; at < full.size(); at++) {
      even[at] = at % 2 == 0;
      half.add(even[at] ? full.get(at) : null);
    }
    session.execute(bind(insert, 1, full, null));
    compare("written", session.execute(select.bind(1)).one(), full);
    session.execute(bind(insert, 2, nothing, null));
    compare("null", session.execute(select.bind(2)).one(), nothing);
    session.execute(bind(insert, 1, full, all));
    compare("not set", session.execute(select.bind(1)).one(), full);
    session.execute(bind(insert, 1, nothing, even));
    compare("half null", session.execute(select.bind(1)).one(), half);
    refused("a key that is null", InvalidQueryException.class, "null", () -> session.execute(bind(insert, null, full, null)));
    refused(
        "an unknown column", InvalidQueryException.class, "nope", () -> session.execute("SELECT nope FROM all_types"));
    session.execute(
        SimpleStatement.newInstance(
            "UPDATE all_types SET v_list = v_list + ?, v_set = v_set + ? WHERE id = ?",
            Collections.singletonList(9),
            set("c"),
            2));
    Row row = session.execute(select.bind(2)).one();
    equal("list", row.getList("v_list", Integer.class), Collections.singletonList(9));
    equal("set", row.getSet("v_set", String.class), set("c"));

    // Pages.
    PreparedStatement write =
        session.prepare(
            "INSERT INTO messages (channel_id, bucket, message_id, author_id, content, attachments) VALUES (?, ?, ?, ?, ?, ?)");
    PreparedStatement read = session.prepare("SELECT message_id, content FROM messages WHERE channel_id = ? AND bucket = ?");
    List<UUID> newestFirst = new ArrayList<>();
    for (int at = 0; at < 100; at++) {
      session.execute(write.bind(1L, 1, id(at), (long) (at % 7), "message " + at, Collections.singletonList("file")));
      newestFirst.add(0, id(at));
    }
    int pages = 0;
    List<UUID> seen = new ArrayList<>();
    AsyncResultSet page = session.executeAsync(read.bind(1L, 1).setPageSize(10)).toCompletableFuture().get();
    while (true) {
      pages++;
      equal("rows of a page", page.remaining(), 10);
      page.currentPage().forEach(of -> seen.add(of.getUuid("message_id")));
      if (!page.hasMorePages() || pages > 20) {
        break;
      }
      page = page.fetchNextPage().toCompletableFuture().get();
    }
    equal("pages", pages, 10);
    equal("rows in order", seen, newestFirst);
    equal("a scan in pages", session.execute(SimpleStatement.newInstance("SELECT * FROM messages").setPageSize(10)).all().size(), 100);
    PreparedStatement older =
        session.prepare("SELECT message_id FROM messages WHERE channel_id = ? AND bucket = ? AND message_id < ? LIMIT ?");
    equal("older than", ids(session.execute(older.bind(1L, 1, id(50), 3))), newestFirst.subList(50, 53));
    equal("count", session.execute("SELECT count(*) FROM messages WHERE channel_id = 1 AND bucket = 1").one().getLong(0), 100L);

    // Edits, deletions.
    PreparedStatement get = session.prepare("SELECT * FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?");
    PreparedStatement edit =
        session.prepare("UPDATE messages SET content = ?, edited = ? WHERE channel_id = ? AND bucket = ? AND message_id = ?");
    session.execute(edit.bind("edited", Instant.ofEpochMilli(1_577_836_800_000L), 1L, 1, id(0)));
    row = session.execute(get.bind(1L, 1, id(0))).one();
    equal("edited", row.getString("content") + row.getInstant("edited"), "edited2020-01-01T00:00:00Z");
    PreparedStatement delete = session.prepare("DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id = ?");
    session.execute(delete.bind(1L, 1, id(1)));
    equal("deleted", session.execute(get.bind(1L, 1, id(1))).one(), null);
    PreparedStatement range =
        session.prepare("DELETE FROM messages WHERE channel_id = ? AND bucket = ? AND message_id >= ? AND message_id < ?");
    session.execute(range.bind(1L, 1, id(10), id(20)));
    equal("a range deleted", session.execute(read.bind(1L, 1)).all().size(), 89);

    // Conditions.
    PreparedStatement once =
        session.prepare("INSERT INTO messages (channel_id, bucket, message_id, content) VALUES (?, ?, ?, ?) IF NOT EXISTS");
    equal("if not exists", session.execute(once.bind(2L, 1, id(0), "first")).wasApplied(), true);
    ResultSet answer = session.execute(once.bind(2L, 1, id(0), "second"));
    equal("if not exists, not applied", answer.wasApplied(), false);
    equal("what is there", answer.one().getString("content"), "first");
    PreparedStatement swap =
        session.prepare("UPDATE messages SET content = ? WHERE channel_id = ? AND bucket = ? AND message_id = ? IF content = ?");
    equal("if", session.execute(swap.bind("next", 2L, 1, id(0), "first")).wasApplied(), true);
    answer = session.execute(swap.bind("next", 2L, 1, id(0), "first"));
    equal("if, not applied", answer.wasApplied() + answer.one().getString("content"), "falsenext");

    // Batches.
    for (DefaultBatchType kind : Arrays.asList(DefaultBatchType.LOGGED, DefaultBatchType.UNLOGGED)) {
      long channel = kind == DefaultBatchType.LOGGED ? 3 : 4;
      BatchStatementBuilder batch = BatchStatement.builder(kind);
      for (int at = 0; at < 5; at++) {
        batch.addStatement(write.bind(channel, 1, id(at), 1L, "in a batch", null));
      }
      UUID gone = id(30 + (int) channel);
      batch.addStatement(delete.bind(1L, 1, gone));
      session.execute(batch.build());
      equal("batch " + kind, session.execute(read.bind(channel, 1)).all().size(), 5);
      equal("batch deletes " + kind, session.execute(get.bind(1L, 1, gone)).one(), null);
    }

    // ALTER, TRUNCATE, DROP.
    PreparedStatement everything = session.prepare("SELECT * FROM messages WHERE channel_id = ? AND bucket = ? LIMIT 3");
    equal("columns", session.execute(everything.bind(3L, 1)).one().size(), 8);
    session.execute("ALTER TABLE messages ADD reactions map<text, int>");
    List<Row> altered = session.execute(everything.bind(3L, 1)).all();
    equal("rows", altered.size(), 3);
    equal("a column more in what was prepared", altered.get(2).size(), 9);
    session.execute("CREATE TABLE passing (id int PRIMARY KEY, v int)");
    session.execute("INSERT INTO passing (id, v) VALUES (1, 1)");
    session.execute("TRUNCATE passing");
    equal("truncated", session.execute("SELECT * FROM passing").all().size(), 0);
    session.execute("DROP TABLE passing");
    equal("dropped", session.refreshSchema().getKeyspace(keyspace).orElseThrow().getTable("passing").isPresent(), false);

    // A trace.
    ResultSet traced = session.execute(SimpleStatement.newInstance("SELECT * FROM messages LIMIT 1").setTracing(true));
    equal("trace", traced.getExecutionInfo().getQueryTrace().getDurationMicros() >= 0, true);

    // The server goes and comes back; what was prepared still holds.
    List<UUID> before = ids(session.execute(read.bind(1L, 1)));
    for (int turn = 0; turn < 2; turn++) {
      restart();
      equal("rows after restart " + turn, until(() -> ids(session.execute(read.bind(1L, 1)))), before);
      long channel = 10 + turn;
      until(() -> session.execute(write.bind(channel, 1, id(0), 1L, "after", null)));
      equal("written after restart " + turn, session.execute(get.bind(channel, 1, id(0))).one().getString("content"), "after");
      compare("types after restart " + turn, session.execute(select.bind(1)).one(), half);
      equal("once more, after restart " + turn, session.execute(once.bind(2L, 1, id(0), "x")).wasApplied(), false);
    }
    session.execute("DROP KEYSPACE " + keyspace);
  }

  public static void main(String[] arguments) {
    DriverConfigLoader config =
        DriverConfigLoader.programmaticBuilder()
            .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(20))
            .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, Duration.ofSeconds(20))
            .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, Duration.ofSeconds(20))
            .withDuration(DefaultDriverOption.METADATA_SCHEMA_REQUEST_TIMEOUT, Duration.ofSeconds(20))
            .withString(DefaultDriverOption.RECONNECTION_POLICY_CLASS, "ConstantReconnectionPolicy")
            .withDuration(DefaultDriverOption.RECONNECTION_BASE_DELAY, Duration.ofMillis(200))
            .withString(DefaultDriverOption.PROTOCOL_COMPRESSION, "lz4")
            .build();
    try (CqlSession session =
        CqlSession.builder()
            .addContactPoint(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1])))
            .withLocalDatacenter(arguments[3])
            .withConfigLoader(config)
            .build()) {
      course(session, arguments[2], arguments[3]);
    } catch (Exception error) {
      error.printStackTrace();
      equal("the course", String.valueOf(error), "its end");
    }
    if (failed > 0) {
      System.out.printf("java: %d of %d checks failed%n", failed, failed + held);
      System.exit(1);
    }
    System.out.printf("OK %d%n", held);
    System.exit(0);
  }
}
