//! Log segments: whatever stands behind a header, with its checksums taken for right, and the mutations in it.
#![no_main]

use commitlog::format::{BLOCK, SegmentHeader, SegmentName};
use commitlog::walk::{Step, Walker};
use libfuzzer_sys::fuzz_target;
use model::MutationRef;

const SEGMENT_BYTES: u32 = 16 << 10;

fuzz_target!(|bytes: &[u8]| {
    let _ = SegmentHeader::decode(bytes);
    let name = SegmentName { id: 7, salt: 7 };
    commitlog::inspect::inspect(name, bytes, |_| {});
    let header = SegmentHeader {
        name,
        oldest: 1,
        segment_bytes: SEGMENT_BYTES,
        shard: 0,
        host_id: [7; 16],
    };
    let mut segment = bytes.to_vec();
    segment.resize(SEGMENT_BYTES as usize - BLOCK, 0);
    let mut walker = Walker::new(&header, false);
    loop {
        let at = walker.offset() as usize - BLOCK;
        match walker.step(&segment[at..]) {
            Step::Record(record) => {
                if let Ok(mutation) = MutationRef::parse(record.payload) {
                    mutation.rows().for_each(|(_, row)| row.cells().for_each(drop));
                    mutation.ranges().for_each(drop);
                }
            }
            Step::Fill(_) => {}
            Step::Need(_) | Step::End | Step::Invalid(_) | Step::Unknown(_) => break,
        }
    }
});
