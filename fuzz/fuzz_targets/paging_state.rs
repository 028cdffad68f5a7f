//! Paging states, as they come and under a right checksum.
#![no_main]

use engine::{PagingState, Read};
use libfuzzer_sys::fuzz_target;
use model::TableId;

const BODY: usize = 5;

fuzz_target!(|bytes: &[u8]| {
    let read = Read::partition(TableId(7), b"channel");
    let _ = PagingState::from_bytes(bytes).and_then(|state| state.resume(read.clone()));
    let mut sealed = bytes.to_vec();
    if sealed.len() > BODY {
        sealed[0] = 1;
        let crc = crc(&sealed[BODY..]);
        sealed[1..BODY].copy_from_slice(&crc.to_le_bytes());
        if let Ok(state) = PagingState::from_bytes(&sealed) {
            assert_eq!(state.to_bytes(), sealed);
            if let Ok(resumed) = state.resume(read.clone()) {
                assert!(resumed.slice.start >= read.slice.start && resumed.slice.end <= read.slice.end);
            }
        }
    }
});

/// CRC-32, bit by bit: the target's own.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
