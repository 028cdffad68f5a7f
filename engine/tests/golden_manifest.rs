//! Golden files of the manifest, version 1: today's writer gives exactly these bytes, today's reader reads them.
//!
//! `SCROLLBACK_GOLDEN=write cargo test -p scrollback-engine --test golden_manifest` writes them anew; a change of them is a
//! new version of the format.

use commitlog::LogPosition;
use model::{CqlType, Keyspace, Schema, TableId, UserType};
use scrollback_engine::manifest::format::{self, RecordKind};
use scrollback_engine::manifest::parse;
use scrollback_engine::manifest::state::{Edit, FileRecord, LogRecord, encode_edits};
use std::path::PathBuf;

fn records() -> Vec<(RecordKind, Vec<Edit>)> {
    let mut schema = Schema::builder("messages", "names")
        .partition_key("kind", CqlType::TinyInt)
        .partition_key("id", CqlType::BigInt)
        .regular("name", CqlType::Text)
        .build()
        .expect("a valid schema");
    schema.id = TableId(1);
    let file = |generation| FileRecord {
        table: TableId(1),
        shard: 1,
        shards: 2,
        generation,
        bytes: 8192,
        token_first: i64::MIN,
        token_last: i64::MAX,
        run: (generation > 2000).then_some(1025),
        late: generation > 2000,
        created_s: 1_700_000_000,
    };
    let position = LogPosition {
        segment: 3,
        offset: 65_536,
    };
    let log = |clean| Edit::Log {
        shard: 1,
        log: LogRecord { floor: 3, clean },
    };
    vec![
        (
            RecordKind::Edits,
            vec![
                Edit::Identity {
                    host_id: *b"0123456789abcdef",
                    shards: 2,
                },
                Edit::Property {
                    key: "messages.epoch".into(),
                    value: b"1420070400000".to_vec(),
                },
                Edit::CreateTable(Box::new(schema)),
                log(false),
            ],
        ),
        (RecordKind::Vouch, Vec::new()),
        (
            RecordKind::Edits,
            vec![
                Edit::AddFile(file(1025)),
                Edit::FlushedUpTo {
                    shard: 1,
                    table: TableId(1),
                    position,
                },
                log(false),
            ],
        ),
        (RecordKind::Vouch, Vec::new()),
        (
            RecordKind::Edits,
            vec![
                Edit::AddFile(file(2049)),
                Edit::NarrowFile {
                    generation: 2049,
                    token_first: -7,
                    token_last: i64::MAX,
                },
                Edit::RemoveFile { generation: 1025 },
                Edit::ForgetFile { generation: 1025 },
                Edit::ObsoleteFile {
                    generation: 1026,
                    table: TableId(1),
                },
                log(true),
                Edit::TimestampsUpTo { micros: 1 << 50 },
            ],
        ),
        (RecordKind::Vouch, Vec::new()),
    ]
}

/// The edits that came after the first: definitions, and what makes files obsolete by the table.
fn records_of_definitions() -> Vec<(RecordKind, Vec<Edit>)> {
    let address = UserType::new("chat", "address", [("street", CqlType::Text)]);
    let people = |id, name| {
        let schema = Schema::builder("chat", name).id(TableId(id));
        let schema = schema.partition_key("id", CqlType::BigInt);
        let schema = schema.regular("lives", CqlType::udt(address.clone()).frozen());
        Box::new(schema.build().expect("a valid schema"))
    };
    let file = |table, generation| {
        Edit::AddFile(FileRecord {
            table: TableId(table),
            shard: 0,
            shards: 2,
            generation,
            bytes: 8192,
            token_first: i64::MIN,
            token_last: i64::MAX,
            run: None,
            late: false,
            created_s: 1_700_000_000,
        })
    };
    let mut keyspace = Keyspace::new("chat");
    keyspace.durable_writes = false;
    vec![
        (
            RecordKind::Edits,
            vec![
                Edit::Identity {
                    host_id: *b"0123456789abcdef",
                    shards: 2,
                },
                Edit::SetKeyspace(Box::new(keyspace)),
                Edit::SetKeyspace(Box::new(Keyspace::new("gone"))),
                Edit::SetType(Box::new(address.clone())),
                Edit::SetType(Box::new(UserType::new("chat", "gone", [("x", CqlType::Int)]))),
                Edit::CreateTable(people(1, "people")),
                Edit::CreateTable(people(2, "others")),
                file(1, 1024),
                file(2, 2048),
            ],
        ),
        (RecordKind::Vouch, Vec::new()),
        (
            RecordKind::Edits,
            vec![
                Edit::Truncate { table: TableId(1) },
                Edit::DropTable { table: TableId(2) },
                Edit::DropType {
                    keyspace: "chat".into(),
                    name: "gone".into(),
                },
                Edit::DropKeyspace { name: "gone".into() },
                Edit::TableIdsUpTo { table: TableId(7) },
            ],
        ),
        (RecordKind::Vouch, Vec::new()),
    ]
}

fn write(records: Vec<(RecordKind, Vec<Edit>)>) -> Vec<u8> {
    let mut file = Vec::new();
    for (sequence, (kind, edits)) in records.into_iter().enumerate() {
        let payload = encode_edits(&edits);
        let mut record = vec![0; format::padded_len(payload.len())];
        format::encode(
            kind,
            0x5C01_1BAC,
            sequence as u64,
            file.len() as u64,
            &payload,
            &mut record,
        );
        file.extend_from_slice(&record);
    }
    file.resize(file.len() + 2 * format::RECORD_ALIGN, 0);
    file
}

fn dump(bytes: &[u8]) -> String {
    let (state, found) = parse(bytes).expect("a golden file is whole");
    format!("{found:#?}\n{state:#?}\n")
}

#[expect(clippy::disallowed_methods, reason = "a test's own files; no shard runs")]
fn golden(name: &str, now: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden/manifest/v1")
        .join(name);
    if std::env::var_os("SCROLLBACK_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, now).expect("written");
    }
    std::fs::read(&path).expect("the golden file")
}

#[test]
fn today_writes_exactly_version_1() {
    for (name, records) in [
        ("MANIFEST", records()),
        ("MANIFEST-definitions", records_of_definitions()),
    ] {
        let now = write(records);
        assert!(
            golden(name, &now) == now,
            "the bytes of a manifest have changed: that is a new version"
        );
    }
}

#[test]
fn today_reads_version_1() {
    for (name, records) in [
        ("MANIFEST", records()),
        ("MANIFEST-definitions", records_of_definitions()),
    ] {
        let file = golden(name, &write(records));
        let text = dump(&file);
        let kept = golden(&format!("{name}.txt"), text.as_bytes());
        assert_eq!(String::from_utf8(kept).expect("UTF-8"), text);
    }
}
