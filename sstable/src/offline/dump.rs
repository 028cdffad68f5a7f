//! A file as text, one fragment a line.
//!
//! ```text
//! partition token=-42 key=0011 deletion=1700000000000000@1700000000
//! static live=1 c3="topic"
//! row 80ff live=1700000000000000 c1=0x0000002a c2="hello"
//! row 81 deleted=5@6
//! range 82 deleted=7@8
//! range 83 live
//! end
//! ```
//!
//! Keys and positions are hexadecimal; a value is text if it is printable UTF-8, else hexadecimal. A cell whose timestamp
//! is not that of the row's `live` has it behind an `@`.

use std::fmt::Write as _;
use std::io;

use model::{CellKind, Deletion, Fragment, RowRef};

use super::{Hex, Verified, scan};
use crate::error::Damage;

/// Writes a file as text, one fragment a line, checking every byte on the way.
///
/// # Errors
/// Of `out`; and, as the inner result, the first damage: what was written before it is sound.
pub fn dump(bytes: &[u8], out: &mut dyn io::Write) -> io::Result<Result<Verified, Damage>> {
    let mut failed = None;
    let mut line = String::new();
    let verified = scan(bytes, &mut |_, fragment| {
        if failed.is_none() {
            line.clear();
            fragment_text(&mut line, fragment);
            line.push('\n');
            failed = out.write_all(line.as_bytes()).err();
        }
    });
    failed.map_or(Ok(verified), Err)
}

fn fragment_text(line: &mut String, fragment: Fragment<'_>) {
    match fragment {
        Fragment::PartitionStart { token, key, deletion } => {
            let _ = write!(line, "partition token={} key=", token.0);
            hex(line, key);
            if !deletion.is_live() {
                line.push_str(" deletion=");
                deletion_text(line, deletion);
            }
        }
        Fragment::StaticRow(row) => {
            line.push_str("static");
            row_text(line, row);
        }
        Fragment::Row { clustering, row } => {
            line.push_str("row ");
            hex(line, clustering);
            row_text(line, row);
        }
        Fragment::RangeChange { position, deletion } => {
            line.push_str("range ");
            hex(line, position);
            if deletion.is_live() {
                line.push_str(" live");
            } else {
                line.push_str(" deleted=");
                deletion_text(line, deletion);
            }
        }
        Fragment::PartitionEnd => line.push_str("end"),
    }
}

fn row_text(line: &mut String, row: RowRef<'_>) {
    let liveness = row.liveness();
    if let Some(liveness) = liveness {
        let _ = write!(line, " live={}", liveness.timestamp);
        if liveness.ttl != 0 {
            let _ = write!(line, " ttl={} expires={}", liveness.ttl, liveness.expires_at);
        }
    }
    if !row.deletion().is_live() {
        line.push_str(" deleted=");
        deletion_text(line, row.deletion());
    }
    for cell in row.cells() {
        let _ = write!(line, " c{}", cell.column.0);
        if let Some(path) = cell.path {
            line.push('[');
            hex(line, path);
            line.push(']');
        }
        match cell.kind {
            CellKind::Live(value) | CellKind::Expiring { value, .. } => {
                line.push('=');
                value_text(line, value);
            }
            CellKind::Tombstone { local_deletion_time } => {
                let _ = write!(line, " deleted at {local_deletion_time}");
            }
            CellKind::ComplexDeletion(deletion) => {
                let _ = write!(line, " all deleted at {}", deletion.local_deletion_time);
            }
        }
        if liveness.is_none_or(|l| l.timestamp != cell.timestamp) {
            let _ = write!(line, "@{}", cell.timestamp);
        }
        if let CellKind::Expiring { ttl, expires_at, .. } = cell.kind {
            let _ = write!(line, "(ttl={ttl} expires={expires_at})");
        }
    }
}

fn deletion_text(line: &mut String, deletion: Deletion) {
    let _ = write!(line, "{}@{}", deletion.timestamp, deletion.local_deletion_time);
}

fn value_text(line: &mut String, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') => {
            let _ = write!(line, "{text:?}");
        }
        _ => {
            line.push_str("0x");
            hex(line, value);
        }
    }
}

fn hex(line: &mut String, bytes: &[u8]) {
    let _ = write!(line, "{}", Hex(bytes));
}
