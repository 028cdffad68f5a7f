//! A crash at every I/O operation of a scripted run (open, append, release and recycle, close, replay, open again), with what was not
//! synced kept, dropped and torn.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use crate::world::{Counts, crash_point};
use runtime::sim::Tear;

#[test]
fn crash_at_every_operation() {
    let mut counts = Counts::default();
    let mut points = 0;
    // Groups are large and their crash points few: four seeds meet as many torn tails as are asked for below.
    let seeds = 4;
    for tear in [Tear::KeepAll, Tear::DropAll, Tear::TornSectors, Tear::Seeded] {
        for seed in 0..seeds {
            let (ops, _) =
                crash_point(seed, tear, None).unwrap_or_else(|wrong| panic!("{tear:?}, seed {seed}: {wrong}"));
            assert!(ops > 100, "a script of {ops} operations");
            for crash in 1..=ops {
                match crash_point(seed, tear, Some(crash)) {
                    Ok((_, found)) => counts.add(&found),
                    Err(wrong) => panic!("{tear:?}, seed {seed}, crash at operation {crash}: {wrong}"),
                }
                points += 1;
            }
        }
    }
    println!("{points} crash points, {counts:?}");
    assert!(counts.torn_tails > 30 && counts.recycled > 1000, "{counts:?}");
}
