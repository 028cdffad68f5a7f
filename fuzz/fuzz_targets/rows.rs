//! Rows and mutations, as the log, the table files and a client's writes bring them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Columns, MutationRef, ReadTime, RowRef, live_row, merge_rows};

fuzz_target!(|bytes: &[u8]| {
    let (one, other) = bytes.split_at(bytes.len() / 2);
    if let Ok(mutation) = MutationRef::parse(bytes) {
        mutation.rows().for_each(|(_, row)| row.cells().for_each(drop));
        mutation.ranges().for_each(drop);
        let _ = (
            mutation.static_row(),
            mutation.partition_deletion(),
            mutation.token(),
            mutation.max_timestamp(),
        );
    }
    let rows: Vec<RowRef<'_>> = [bytes, one, other]
        .into_iter()
        .filter_map(|row| RowRef::parse(row).ok())
        .collect();
    let mut out = Vec::new();
    for row in &rows {
        row.cells().for_each(drop);
        let _ = (
            row.min_timestamp(),
            row.max_timestamp(),
            row.min_local_deletion(),
            row.max_local_deletion(),
        );
        live_row(
            *row,
            ReadTime {
                now_s: 7,
                purge_before_s: 7,
            },
            Columns::All,
            &mut out,
        );
    }
    if let [.., one, other] = rows[..] {
        let (mut ab, mut ba) = (Vec::new(), Vec::new());
        merge_rows(one, other, &mut ab);
        merge_rows(other, one, &mut ba);
        assert_eq!(ab, ba, "rows merge either way");
        assert!(RowRef::parse(&ab).is_ok(), "to a row");
    }
});
