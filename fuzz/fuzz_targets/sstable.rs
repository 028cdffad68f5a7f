//! Whole table files: footer, frames (compiled without their checksums), index, filter, statistics, data blocks.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = sstable::offline::stats(bytes);
    let _ = sstable::offline::verify(bytes);
    let _ = sstable::offline::dump(bytes, &mut std::io::sink());
});
