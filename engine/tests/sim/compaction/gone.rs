//! A file that a compaction has used up is gone for good: no power cut makes a stray of it that is kept for ever.

use super::{AT_REST, config, files_match, manifest_of, open};
use crate::common::message;
use crate::simulated::{run, simulator};
use runtime::sim::Tear;
use scrollback_engine::{Config, Store};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

type Generations = RefCell<BTreeSet<u64>>;

#[test]
fn a_used_up_file_is_never_set_aside() {
    let (mut used_up_in_all, mut strays) = (0, Vec::new());
    for seed in 0..150_u64 {
        let mut sim = simulator(seed, 2);
        sim.set_tear(if seed % 2 == 0 { Tear::DropAll } else { Tear::Seeded });
        let disk = sim.disk();
        let handle = sim.start();
        let store = run(&mut sim, async move { open(handle, config(), &AT_REST[..2]).await });
        // What the manifest has named and does not name any more: what it says last may not be durable.
        let (named, used_up): (Rc<Generations>, Rc<Generations>) = Default::default();
        let (watched, seen, looks) = (Rc::clone(&named), Rc::clone(&used_up), disk.clone());
        sim.crash_at_op(Some(150 + seed * 37 % 600));
        let outcome = sim.run(async move {
            let (store, schema) = store;
            for timestamp in 1.. {
                for channel in 0..8 {
                    let write = message(&schema, channel, 1, timestamp, "x");
                    store.apply(write).await.expect("written");
                }
                store.flush().await.expect("flushed");
                let now: BTreeSet<u64> = manifest_of(&looks).files.into_keys().collect();
                let mut named = watched.borrow_mut();
                seen.borrow_mut().extend(named.difference(&now));
                named.extend(now);
            }
        });
        assert!(outcome.is_crashed());
        let used_up = used_up.take();
        used_up_in_all += used_up.len();
        let handle = sim.start();
        run(&mut sim, async move {
            let off = Config {
                compaction: false,
                ..config()
            };
            let store = Store::open_on(handle, off).await.expect("opens");
            store.close().await.expect("closed");
        });
        files_match(&disk).expect("no file is left over");
        let generation = |path: &std::path::Path| path.file_stem()?.to_str()?.split('-').next_back()?.parse().ok();
        let aside = disk
            .list()
            .into_iter()
            .filter(|path| path.starts_with("/store/orphans"));
        strays.extend(
            aside
                .filter_map(|path| generation(&path))
                .filter(|of| used_up.contains(of))
                .map(|of| (seed, of)),
        );
    }
    assert!(used_up_in_all > 500, "{used_up_in_all} files");
    assert_eq!(strays, [], "seeds, and files that were used up and are kept");
}
