//! Texts of statements: read, checked against a few tables, and what is prepared bound to values cut from the input.

#![no_main]

use cql::frame::Value;
use cql::language::ddl::{Topology, plan};
use cql::language::{Catalog, Environment, Execution, Statement, Unread, prepare};
use libfuzzer_sys::fuzz_target;
use model::{CqlType, Keyspace, MutationBuilder, RowBuilder, Schema, UserType};
use std::sync::Arc;

struct Few;

impl Catalog for Few {
    fn keyspace(&self, name: &str) -> Option<Arc<Keyspace>> {
        (name == "k").then(|| Arc::new(Keyspace::new("k")))
    }

    fn table(&self, keyspace: &str, name: &str) -> Option<Arc<Schema>> {
        let table = Schema::builder("k", "t")
            .partition_key("a", CqlType::Int)
            .partition_key("b", CqlType::Text)
            .clustering_desc("c", CqlType::TimeUuid)
            .clustering("d", CqlType::Decimal)
            .static_column("s", CqlType::Int.list())
            .regular("v", CqlType::Int)
            .regular("l", CqlType::Text.list())
            .regular("m", CqlType::Int.map(CqlType::Double))
            .regular("u", CqlType::Udt(self.user_type("k", "u")?))
            .build();
        (keyspace == "k" && name == "t").then(|| table.map(Arc::new).ok())?
    }

    fn user_type(&self, keyspace: &str, name: &str) -> Option<Arc<UserType>> {
        let of = UserType::new("k", "u", [("x", CqlType::Int), ("y", CqlType::Text)]);
        (keyspace == "k" && name == "u").then(|| Arc::new(of))
    }
}

impl Environment for Few {
    fn now_micros(&self) -> i64 {
        1_700_000_000_000_000
    }

    fn time_uuid(&self) -> [u8; 16] {
        cql::language::time::min_time_uuid(1_700_000_000_000)
    }

    fn random_uuid(&self) -> [u8; 16] {
        [0x44; 16]
    }
}

fuzz_target!(|input: &[u8]| {
    // A text, a zero byte, and bytes for values.
    let (text, rest) = match input.iter().position(|byte| *byte == 0) {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &[][..]),
    };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let Ok(prepared) = prepare(text, Some("k"), &Few) else { return };
    let mut pieces = rest.split(|byte| *byte == 0xFE);
    let values: Vec<Value<'_>> = prepared
        .markers
        .iter()
        .map(|_| pieces.next().map_or(Value::Null, Value::Bytes))
        .collect();
    let execution = Execution {
        values: &values,
        environment: &Few,
    };
    match &prepared.statement {
        Statement::Select(select) => drop(select.bind(execution)),
        Statement::Modify(modify) => {
            let Ok(write) = modify.bind(execution) else { return };
            for key in write.keys() {
                let mut builder = MutationBuilder::new(modify.table.id, key);
                if write.put(&mut builder, &mut RowBuilder::new(), 5, &Unread).is_ok() && !builder.is_empty() {
                    let mutation = builder.build();
                    assert!(model::MutationRef::parse(mutation.bytes()).is_ok(), "what is bound is a mutation");
                }
            }
        }
        Statement::Schema(change) => {
            let topology = Topology {
                datacenters: vec!["dc".to_owned()],
            };
            drop(plan(change, Some("k"), &Few, &topology));
        }
        _ => {}
    }
});
