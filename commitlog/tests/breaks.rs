//! The deliberate breaks of the log: the histories of `sim_log` must catch each of them.
//!
//! `cargo test -p scrollback-commitlog --features breaks --test breaks`. A break is on for the whole process, so this is one test.
#![cfg(feature = "breaks")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "common/world.rs"]
mod world;

use runtime::Break;

#[test]
fn every_break_is_caught() {
    for which in [
        Break::SkipLogSync,
        Break::AckBeforeSync,
        Break::IgnoreReplayChecksum,
        Break::SkipDirSync,
    ] {
        runtime::set_break(Some(which));
        let caught = (0..1000).find_map(|seed| world::play(seed).err().map(|wrong| (seed, wrong)));
        runtime::set_break(None);
        let (seed, wrong) = caught.unwrap_or_else(|| panic!("{} was not caught", which.name()));
        println!("{}: seed {seed}: {wrong}", which.name());
        assert!(world::play(seed).is_ok(), "seed {seed} holds without the break");
    }
}
