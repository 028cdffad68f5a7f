//! The options of `WITH`: which there are, what they may be, how they are shown again.
//!
//! All of Cassandra 5.0's are taken by name and validated as `TableParams` does it. What the engine acts on goes to its place in
//! [`TableOptions`]; the others are kept as text and shown as they were given.

use super::super::error::{Error, Result};
use super::super::syntax::SyntaxError;
use super::super::syntax::ast::Property;
use model::{Compression, TTL_MAX, TableOptions};
use std::collections::BTreeMap;

/// Options that are kept as text, with what they are if nobody sets them.
const KEPT: &[(&str, Kind, &str)] = &[
    ("additional_write_policy", Kind::Policy, "'99p'"),
    ("allow_auto_snapshot", Kind::Boolean, "true"),
    ("bloom_filter_fp_chance", Kind::Fraction, "0.01"),
    (
        "caching",
        Kind::Caching,
        "{'keys': 'ALL', 'rows_per_partition': 'NONE'}",
    ),
    ("cdc", Kind::Boolean, "false"),
    ("crc_check_chance", Kind::Fraction, "1.0"),
    ("extensions", Kind::Map, "{}"),
    ("incremental_backups", Kind::Boolean, "true"),
    ("max_index_interval", Kind::Positive, "2048"),
    ("memtable", Kind::Text, "'default'"),
    ("memtable_flush_period_in_ms", Kind::Number, "0"),
    ("min_index_interval", Kind::Positive, "128"),
    ("read_repair", Kind::ReadRepair, "'BLOCKING'"),
    ("speculative_retry", Kind::Policy, "'99p'"),
];

/// What an option may be.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Boolean,
    Number,
    Positive,
    Fraction,
    Text,
    Map,
    Caching,
    Policy,
    ReadRepair,
}

/// An option as it is shown: its name, and its value as CQL writes it.
pub type Shown = (&'static str, String);

fn syntax(what: String) -> Error {
    Error::Syntax(SyntaxError::new(Default::default(), what))
}

/// Text between quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn map_text<'m>(map: impl IntoIterator<Item = (&'m String, &'m String)>) -> String {
    let entries: Vec<String> = map
        .into_iter()
        .map(|(key, value)| format!("{}: {}", quoted(key), quoted(value)))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// Sets what the properties say; gives what the client should know.
pub(super) fn set(options: &mut TableOptions, properties: &[(String, Property)]) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for (at, (name, property)) in properties.iter().enumerate() {
        if properties[..at].iter().any(|(before, _)| before == name) {
            return Err(syntax(format!("Multiple definition for property '{name}'")));
        }
        set_one(options, name, property, &mut warnings)?;
    }
    Ok(warnings)
}

fn set_one(options: &mut TableOptions, name: &str, property: &Property, warnings: &mut Vec<String>) -> Result<()> {
    let wrong = |what: &str| syntax(format!("Invalid value for property '{name}'. It should be {what}"));
    let text = || match property {
        Property::Text(text) => Ok(text.as_str()),
        Property::Map(_) => Err(wrong("a string")),
    };
    let map = || match property {
        Property::Map(map) => Ok(map.iter().cloned().collect::<BTreeMap<String, String>>()),
        Property::Text(_) => Err(wrong("a map")),
    };
    let number = |max: u32| {
        let text = text()?;
        let number = text
            .parse::<i64>()
            .map_err(|_| syntax(format!("Invalid integer value {text} for '{name}'")))?;
        match u32::try_from(number) {
            Ok(number) if number <= max => Ok(number),
            _ if number < 0 => Err(Error::Config(format!(
                "{name} must be greater than or equal to 0 (got {number})"
            ))),
            _ => Err(Error::Config(format!(
                "{name} must be less than or equal to {max} (got {number})"
            ))),
        }
    };
    match name {
        "comment" => options.comment = text()?.to_owned(),
        "gc_grace_seconds" => options.gc_grace_seconds = number(i32::MAX as u32)?,
        "default_time_to_live" => options.default_ttl = number(TTL_MAX)?,
        "tombstone_warn_threshold" => options.tombstone_warn_threshold = Some(number(u32::MAX)?),
        "tombstone_failure_threshold" => options.tombstone_failure_threshold = Some(number(u32::MAX)?),
        "compaction" => set_compaction(options, map()?, warnings)?,
        "compression" => set_compression(options, map()?, warnings)?,
        // Of earlier releases of Cassandra, and of ScyllaDB.
        "read_repair_chance" | "dclocal_read_repair_chance" => {
            return Err(syntax(format!("Unknown property '{name}'")));
        }
        "tombstone_gc" | "synchronous_updates" | "in_memory" | "paxos_grace_seconds" | "per_partition_rate_limit" => {
            warnings.push(format!("the property '{name}' has no meaning here and is not kept"));
        }
        _ => {
            let Some((_, kind, _)) = KEPT.iter().find(|(of, ..)| *of == name) else {
                return Err(syntax(format!("Unknown property '{name}'")));
            };
            let value = kept(name, *kind, property)?;
            keep(options, name, Some(value));
        }
    }
    Ok(())
}

/// Notes an option as text, or that it is not set.
fn keep(options: &mut TableOptions, name: &str, value: Option<String>) {
    options.other.retain(|(of, _)| of != name);
    if let Some(value) = value {
        options.other.push((name.to_owned(), value));
        options.other.sort();
    }
}

/// The text of an option that is kept as such.
fn kept(name: &str, kind: Kind, property: &Property) -> Result<String> {
    let bad = |what: String| Error::Config(what);
    match (kind, property) {
        (Kind::Map, Property::Map(map)) => Ok(map_text(map.iter().map(|(key, value)| (key, value)))),
        (Kind::Caching, Property::Map(map)) => {
            let map: BTreeMap<String, String> = map.iter().cloned().collect();
            for (key, value) in &map {
                let value_is = |known: &[&str]| known.iter().any(|known| value.eq_ignore_ascii_case(known));
                match key.as_str() {
                    "keys" if value_is(&["ALL", "NONE"]) => {}
                    "rows_per_partition" if value_is(&["ALL", "NONE"]) || value.parse::<u32>().is_ok() => {}
                    "enabled" if value_is(&["true", "false"]) => {}
                    "keys" | "rows_per_partition" => {
                        return Err(bad(format!(
                            "Invalid value for caching sub-option '{key}': got {value}"
                        )));
                    }
                    _ => {
                        return Err(bad(format!(
                            "Invalid caching sub-options {{{key}}}: only 'keys' and 'rows_per_partition' are allowed"
                        )));
                    }
                }
            }
            let or = |key: &str, default: &str| map.get(key).cloned().unwrap_or_else(|| default.to_owned());
            Ok(format!(
                "{{'keys': '{}', 'rows_per_partition': '{}'}}",
                or("keys", "ALL"),
                or("rows_per_partition", "NONE")
            ))
        }
        (_, Property::Map(_)) | (Kind::Map | Kind::Caching, _) => {
            let what = if matches!(kind, Kind::Map | Kind::Caching) {
                "map"
            } else {
                "string"
            };
            Err(syntax(format!(
                "Invalid value for property '{name}'. It should be a {what}"
            )))
        }
        (Kind::Boolean, Property::Text(text)) => match text.to_lowercase().as_str() {
            "true" | "1" | "yes" => Ok("true".to_owned()),
            "false" | "0" | "no" => Ok("false".to_owned()),
            _ => Err(syntax(format!("Invalid boolean value {text} for '{name}'"))),
        },
        (Kind::Number | Kind::Positive, Property::Text(text)) => {
            let number = text
                .parse::<i32>()
                .map_err(|_| syntax(format!("Invalid integer value {text} for '{name}'")))?;
            let least = i32::from(kind == Kind::Positive);
            match number >= least {
                true => Ok(number.to_string()),
                false => Err(bad(format!(
                    "{name} must be greater than or equal to {least} (got {number})"
                ))),
            }
        }
        (Kind::Fraction, Property::Text(text)) => {
            let number = text
                .parse::<f64>()
                .map_err(|_| syntax(format!("Invalid double value {text} for '{name}'")))?;
            let least = if name == "bloom_filter_fp_chance" {
                f64::MIN_POSITIVE
            } else {
                0.0
            };
            match (least..=1.0).contains(&number) {
                true => Ok(text.clone()),
                false => Err(bad(format!(
                    "{name} must be larger than or equal to 0 and smaller than or equal to 1.0 (got {number})"
                ))),
            }
        }
        (Kind::ReadRepair, Property::Text(text)) => match text.to_uppercase().as_str() {
            known @ ("BLOCKING" | "NONE") => Ok(quoted(known)),
            _ => Err(bad(format!(
                "Invalid value {text} for 'read_repair'. Supported values are: [NONE, BLOCKING]"
            ))),
        },
        (Kind::Policy, Property::Text(text)) => match is_policy(text) {
            true => Ok(quoted(text)),
            false => Err(bad(format!("Invalid value {text} for option '{name}'"))),
        },
        (Kind::Text, Property::Text(text)) => Ok(quoted(text)),
    }
}

/// `99p`, `99PERCENTILE`, `10ms`, `ALWAYS`, `NEVER`, `MIN(…)`, `MAX(…)`.
fn is_policy(text: &str) -> bool {
    let text = text.trim().to_uppercase();
    if ["ALWAYS", "NEVER", "NONE"].contains(&text.as_str()) {
        return true;
    }
    let inside = text
        .strip_prefix("MIN(")
        .or_else(|| text.strip_prefix("MAX("))
        .and_then(|of| of.strip_suffix(')'));
    if let Some(inside) = inside {
        return inside.split(',').all(|part| !part.contains('(') && is_policy(part));
    }
    let number = |suffix: &str| text.strip_suffix(suffix).and_then(|number| number.parse::<f64>().ok());
    if let Some(percent) = number("PERCENTILE").or_else(|| number("P")) {
        return (0.0..=100.0).contains(&percent);
    }
    number("MS").is_some_and(|millis| millis >= 0.0)
}

const COMPACTIONS: &str = "org.apache.cassandra.db.compaction.";
/// Strategies that tables of Cassandra and ScyllaDB name and that the engine has not.
const OTHER_COMPACTIONS: &[&str] = &[
    "LeveledCompactionStrategy",
    "UnifiedCompactionStrategy",
    "IncrementalCompactionStrategy",
    "DateTieredCompactionStrategy",
];

fn set_compaction(options: &mut TableOptions, map: BTreeMap<String, String>, warnings: &mut Vec<String>) -> Result<()> {
    let Some(class) = map.get("class") else {
        return Err(Error::Config(
            "Missing sub-option 'class' for the 'compaction' option.".to_owned(),
        ));
    };
    let short = class.strip_prefix(COMPACTIONS).unwrap_or(class);
    if OTHER_COMPACTIONS.contains(&short) {
        warnings.push(format!(
            "{short} is kept and shown; the table is compacted by SizeTieredCompactionStrategy"
        ));
        let shown = map.iter().map(|(key, value)| match key.as_str() {
            "class" => (key.clone(), format!("{COMPACTIONS}{short}")),
            _ => (key.clone(), value.clone()),
        });
        let shown: BTreeMap<String, String> = shown.collect();
        keep(options, "compaction", Some(map_text(&shown)));
        options.compaction = BTreeMap::new();
        return Ok(());
    }
    keep(options, "compaction", None);
    // Checked by whoever compacts.
    options.compaction = map;
    Ok(())
}

const COMPRESSORS: &str = "org.apache.cassandra.io.compress.";

fn set_compression(
    options: &mut TableOptions,
    map: BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let known = [
        "class",
        "enabled",
        "chunk_length_in_kb",
        "min_compress_ratio",
        "compression_level",
        "sstable_compression",
        "chunk_length_kb",
        "lz4_compressor_type",
        "lz4_high_compressor_level",
        "crc_check_chance",
    ];
    if let Some(option) = map.keys().find(|option| !known.contains(&option.as_str())) {
        return Err(Error::Config(format!("Unknown compression options {option}")));
    }
    if let Some(chunk) = map.get("chunk_length_in_kb").or_else(|| map.get("chunk_length_kb")) {
        match chunk.parse::<u32>() {
            Ok(kib) if kib.is_power_of_two() => {}
            Ok(_) => return Err(Error::Config("chunk_length_in_kb must be a power of 2".to_owned())),
            Err(_) => return Err(Error::Config(format!("Invalid value {chunk} for chunk_length_in_kb"))),
        }
    }
    let class = map
        .get("class")
        .or_else(|| map.get("sstable_compression"))
        .map(String::as_str);
    let enabled = map
        .get("enabled")
        .is_none_or(|enabled| !enabled.eq_ignore_ascii_case("false"));
    let Some(class) = class.filter(|class| !class.is_empty() && enabled) else {
        if class.is_none() && enabled {
            return Err(Error::Config(
                "Missing sub-option 'class' for the 'compression' option.".to_owned(),
            ));
        }
        options.compression = Compression::None;
        keep(options, "compression", None);
        return Ok(());
    };
    let short = class.strip_prefix(COMPRESSORS).unwrap_or(class);
    match short {
        "LZ4Compressor" => {}
        "NoopCompressor" => options.compression = Compression::None,
        "SnappyCompressor"
        | "DeflateCompressor"
        | "ZstdCompressor"
        | "LZ4WithDictsCompressor"
        | "ZstdWithDictsCompressor" => {
            warnings.push(format!(
                "{short} is kept and shown; the table's files are compressed by LZ4"
            ));
        }
        _ => {
            return Err(Error::Config(format!(
                "Could not create Compression for type {COMPRESSORS}{short}"
            )));
        }
    }
    if short != "NoopCompressor" {
        options.compression = Compression::Lz4;
    }
    let mut shown = map.clone();
    shown.remove("sstable_compression");
    shown.remove("enabled");
    shown.insert("class".to_owned(), format!("{COMPRESSORS}{short}"));
    shown
        .entry("chunk_length_in_kb".to_owned())
        .or_insert_with(|| "16".to_owned());
    keep(options, "compression", Some(map_text(&shown)));
    Ok(())
}

/// All options of a table as CQL writes them, by name.
#[must_use]
pub fn shown(options: &TableOptions) -> Vec<Shown> {
    let other = |name: &str| {
        options
            .other
            .iter()
            .find(|(of, _)| of == name)
            .map(|(_, value)| value.clone())
    };
    let mut all: Vec<Shown> = KEPT
        .iter()
        .map(|(name, _, default)| (*name, other(name).unwrap_or_else(|| (*default).to_owned())))
        .collect();
    all.push(("comment", quoted(&options.comment)));
    all.push(("gc_grace_seconds", options.gc_grace_seconds.to_string()));
    all.push(("default_time_to_live", options.default_ttl.to_string()));
    let compaction = other("compaction").unwrap_or_else(|| {
        let mut map = options.compaction.clone();
        let class = map
            .entry("class".to_owned())
            .or_insert_with(|| "SizeTieredCompactionStrategy".to_owned());
        if !class.contains('.') {
            *class = format!("{COMPACTIONS}{class}");
        }
        if class.ends_with(".SizeTieredCompactionStrategy") {
            map.entry("max_threshold".to_owned()).or_insert_with(|| "32".to_owned());
            map.entry("min_threshold".to_owned()).or_insert_with(|| "4".to_owned());
        }
        map_text(&map)
    });
    all.push(("compaction", compaction));
    let compression = other("compression").unwrap_or_else(|| match options.compression {
        Compression::None => "{'enabled': 'false'}".to_owned(),
        _ => format!("{{'chunk_length_in_kb': '16', 'class': '{COMPRESSORS}LZ4Compressor'}}"),
    });
    all.push(("compression", compression));
    for (name, threshold) in [
        ("tombstone_warn_threshold", options.tombstone_warn_threshold),
        ("tombstone_failure_threshold", options.tombstone_failure_threshold),
    ] {
        if let Some(threshold) = threshold {
            all.push((name, threshold.to_string()));
        }
    }
    all.sort();
    all
}

/// The map that a text of [`shown`] is; empty if it is none.
#[must_use]
pub fn map_of(text: &str) -> BTreeMap<String, String> {
    use super::super::syntax::ast::{AlterTable, SchemaChange, Statement};
    let parsed = super::super::syntax::parse(&format!("ALTER TABLE t WITH a = {text}"));
    if let Ok(parsed) = parsed
        && let Statement::Schema(change) = parsed.statement
        && let SchemaChange::AlterTable {
            change: AlterTable::With(properties),
            ..
        } = *change
        && let Some((_, Property::Map(map))) = properties.into_iter().next()
    {
        return map.into_iter().collect();
    }
    BTreeMap::new()
}

/// The text between the quotes of a text of [`shown`].
#[must_use]
pub fn unquoted(text: &str) -> String {
    let inside = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    inside.unwrap_or(text).replace("''", "'")
}
