//! Histories of a log in the simulator, thousands of seeds: random appends, crashes at any operation, I/O errors, a full device,
//! segments so small that they are recycled all the time.
//!
//! A failing seed prints the command that repeats it. More seeds: `SCROLLBACK_SEEDS=0..100000`.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use crate::world::{Counts, play};

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("SCROLLBACK_SEEDS") else {
        return 0..2000;
    };
    let (from, to) = text.split_once("..").expect("SCROLLBACK_SEEDS is a range: 0..1000");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn what_was_durable_comes_back_and_what_comes_back_is_a_prefix() {
    let mut counts = Counts::default();
    let mut met = runtime::sim::SimStats::default();
    let seeds = seeds();
    for seed in seeds.clone() {
        match play(seed) {
            Ok(played) => {
                counts.add(&played.counts);
                met.add(&played.sim);
            }
            Err(wrong) => panic!(
                "seed {seed}: {wrong}\nrepeat with: SCROLLBACK_SEEDS={seed}..{} cargo test -p scrollback-commitlog --test sim log",
                seed + 1
            ),
        }
    }
    println!("{seeds:?}: {counts:?}\n{met:?}");
    // A test of crashes that met none would pass as well.
    let n = seeds.end - seeds.start;
    if n >= 500 {
        assert!(
            met.crashes > n && met.writes_torn > n / 4 && met.entries_dropped > n / 20,
            "{met:?}"
        );
        assert!(
            counts.recycled > n && counts.torn_tails > n / 10 && counts.room_waits > n,
            "{counts:?}"
        );
        assert!(
            counts.poisoned > n / 50 && counts.clean_ends > n / 10 && met.no_space_errors > n / 100,
            "{counts:?}"
        );
    }
}

#[test]
fn same_seed_same_history() {
    for seed in [3, 14, 159] {
        let (one, two) = (play(seed).unwrap(), play(seed).unwrap());
        assert_eq!((one.hash, one.sim), (two.hash, two.sim), "seed {seed}");
    }
}
