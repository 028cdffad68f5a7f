use super::super::ast::*;
use super::*;

fn parsed(text: &str) -> Parsed {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn select(text: &str) -> Select {
    match parsed(text).statement {
        Statement::Select(select) => *select,
        other => panic!("{other:?}"),
    }
}

fn modified(text: &str) -> Modify {
    match parsed(text).statement {
        Statement::Modify(modify) => *modify,
        other => panic!("{other:?}"),
    }
}

fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn the_reserved_words_are_in_order() {
    assert!(RESERVED.is_sorted(), "they are looked up by bisection");
}

#[test]
fn what_drivers_and_articles_send_is_read() {
    for text in [
        "SELECT * FROM system.peers_v2",
        "SELECT * FROM system.local WHERE key='local'",
        "SELECT * FROM system.peers_v2 WHERE peer = :address and peer_port = :port",
        "select host_id, rpc_address from system.local WHERE key = 'local' USING TIMEOUT 2000ms",
        "CREATE KEYSPACE discord_messaging WITH replication = {'class': 'NetworkTopologyStrategy', 'us-east-1a': 3, 'us-east-1b': 3}",
        "CREATE TABLE messages (channel_id bigint, bucket_id int, message_id timeuuid, author_id bigint, content text, attachments list<text>, \
         PRIMARY KEY ((channel_id, bucket_id), message_id)) WITH CLUSTERING ORDER BY (message_id DESC) AND compaction = \
         {'class': 'SizeTieredCompactionStrategy', 'max_threshold': 32, 'min_threshold': 4}",
        "SELECT channel_id, bucket_id FROM messages WHERE channel_id = ? AND bucket_id = ? AND message_id < maxTimeuuid(?) LIMIT ?",
        "BEGIN BATCH APPLY BATCH",
        "BEGIN UNLOGGED BATCH INSERT INTO a (b) VALUES (1); UPDATE a SET c = 1 WHERE b = 2 DELETE FROM a WHERE b = 3; APPLY BATCH;",
        "USE \"Ks\"",
        "TRUNCATE TABLE a.b",
        "DESC FULL SCHEMA",
        "describe only keyspace k with internals",
        "DROP TABLE IF EXISTS k.t",
        "ALTER TABLE t ADD (a int, b text static)",
        "ALTER TYPE t RENAME a TO b AND c TO d",
        "CREATE TYPE IF NOT EXISTS k.address (street text, phones frozen<list<text>>)",
    ] {
        parsed(text);
    }
}

#[test]
fn selectors_of_every_kind() {
    let of = |text: &str| select(&format!("SELECT {text} FROM t")).selectors.remove(0).0;
    let column = |name: &str| Selector::Column(name.to_owned());
    assert_eq!(of("a"), column("a"));
    assert_eq!(of("count(*)"), Selector::Call("countrows".into(), vec![]));
    assert_eq!(of("COUNT(1)"), Selector::Call("countrows".into(), vec![]));
    assert_eq!(
        of("token(a, b)"),
        Selector::Call("token".into(), vec![column("a"), column("b")])
    );
    assert_eq!(of("a.b"), Selector::Field(Box::new(column("a")), "b".into()));
    let key = Term::Constant(Constant::Integer("1".into()));
    assert_eq!(of("a[1]"), Selector::Element(Box::new(column("a")), key.clone()));
    assert_eq!(of("a[1..]"), Selector::Range(Box::new(column("a")), Some(key), None));
    assert_eq!(of("json"), column("json"));
    assert_eq!(of("distinct"), column("distinct"));
    assert!(select("SELECT JSON a FROM t").json && select("SELECT DISTINCT a FROM t").distinct);
    assert!(matches!(of("cast(a AS text)"), Selector::Cast(..)));
    assert!(matches!(of("(int) 3"), Selector::Term(Term::Cast(..))));
    let aliased = select("SELECT a AS b, c FROM t").selectors;
    assert_eq!(aliased[0].1.as_deref(), Some("b"));
}

#[test]
fn relations_of_every_kind() {
    let of = |text: &str| select(&format!("SELECT * FROM t WHERE {text} ALLOW FILTERING")).relations;
    assert!(matches!(of("a IN (1, ?)")[0], Relation::In(..)));
    assert!(matches!(of("a IN ?")[0], Relation::In(_, InValues::Marker(0))));
    assert!(matches!(of("(a, b) > (1, 2)")[0], Relation::Tuple(..)));
    assert!(matches!(of("(a, b) IN ((1, 2), (3, 4))")[0], Relation::TupleIn(..)));
    assert!(matches!(of("token(a) <= -5")[0], Relation::Token(_, Operator::Le, _)));
    assert!(matches!(of("a CONTAINS KEY 'x'")[0], Relation::ContainsKey(..)));
    assert!(matches!(of("a['x'] = 'y'")[0], Relation::Element(..)));
    assert_eq!(of("(a = 1) AND ((b = 2))").len(), 2);
}

#[test]
fn markers_are_counted_and_named() {
    let parsed = parsed("UPDATE t USING TTL ? SET a = ?, b[:Key] = ? WHERE k = :k IF c IN ?");
    let names: Vec<_> = parsed.markers.iter().map(Option::as_deref).collect();
    assert_eq!(names, [None, None, Some("key"), None, Some("k"), None]);
}

#[test]
fn operations_of_every_kind() {
    let of = |text: &str| {
        modified(&format!("UPDATE t SET {text} WHERE k = 1"))
            .operations
            .remove(0)
    };
    assert!(matches!(of("a = a + [1]"), Operation::Add(..)));
    assert!(matches!(of("a = [1] + a"), Operation::Prepend(..)));
    assert!(matches!(of("a = a - {1}"), Operation::Subtract(..)));
    assert!(matches!(of("a += {1: 2}"), Operation::Add(..)));
    assert!(matches!(of("a[0] = 1"), Operation::SetElement(..)));
    assert!(matches!(of("a.b = 1"), Operation::SetField(..)));
    assert!(matches!(
        of("a = {street: 'x', no: 1}"),
        Operation::Set(_, Term::Fields(_))
    ));
    let deleted = modified("DELETE a, b['x'], c.d FROM t USING TIMESTAMP 5 WHERE k = 1 IF EXISTS");
    assert_eq!((deleted.operations.len(), deleted.conditions), (3, Conditions::Exists));
}

#[test]
fn what_is_no_statement_is_refused_with_its_place() {
    for (text, says) in [
        ("", "line 1:0 no viable alternative at input '<EOF>'"),
        ("SELEC * FROM t", "line 1:0 no viable alternative at input 'SELEC'"),
        ("SELECT * FORM t", "line 1:9 mismatched input 'FORM' expecting K_FROM"),
        (
            "SELECT *\nFROM t WHERE",
            "line 2:12 no viable alternative at input '<EOF>'",
        ),
        (
            "SELECT * FROM t WHERE a = 1 b",
            "line 1:28 mismatched input 'b' expecting EOF",
        ),
        (
            "INSERT INTO t (a) VALUES 1",
            "line 1:25 mismatched input '1' expecting '('",
        ),
        (
            "CREATE TABLE select (a int)",
            "line 1:13 no viable alternative at input 'select'",
        ),
        (
            "UPDATE t SET a = 1",
            "line 1:18 mismatched input '<EOF>' expecting K_WHERE",
        ),
        (
            "SELECT * FROM t; SELECT * FROM t",
            "line 1:17 mismatched input 'SELECT' expecting EOF",
        ),
        (
            "UPDATE t SET a = b + 1 WHERE k = 1",
            "Only expressions of the form X = X +<value>",
        ),
    ] {
        let told = refused(text);
        assert!(told.contains(says), "{text:?}: {told}");
    }
    let deep = format!(
        "SELECT * FROM t WHERE a = {}1{}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    assert!(refused(&deep).contains("nested more than"));
}

proptest::proptest! {
    #[test]
    fn prop_any_words_are_a_statement_or_refused(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "SELECT", "*", "FROM", "t", "WHERE", "a", "=", "?", "(", ")", "IN", ",", "AND", "INSERT", "INTO", "VALUES", "{", "}", ":", "1",
            "'x'", "[", "]", ".", "token", "BEGIN", "BATCH", "APPLY", "UPDATE", "SET", "DELETE", "IF", "EXISTS", "CREATE", "TABLE", "WITH",
        ]), 0..30)
    ) {
        drop(parse(&words.join(" ")));
    }
}
