//! A store whose process is killed, or whose power is cut, is not damaged.

use crate::common::message;
use crate::simulated::{open, small};
use runtime::sim::{Config, Outcome, Sim, SimDisk, Tear};
use scrollback_engine::Error;
use scrollback_engine::check::check;
use std::path::Path;

/// Copies the store from the simulated disk to a real one, where it can be checked.
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn copy(disk: &SimDisk, to: &Path) {
    for path in disk.list() {
        let below = to.join(path.strip_prefix("/store").expect("nothing else is written"));
        std::fs::create_dir_all(below.parent().expect("the store's")).expect("a directory");
        std::fs::write(below, disk.read_file(&path).expect("listed")).expect("a copy");
    }
}

/// Found in review: a store without a log yet was told to have lost it.
#[test]
fn a_store_is_not_damaged_wherever_it_is_killed() {
    for tear in [Tear::KeepAll, Tear::DropAll, Tear::TornSectors] {
        let (mut none_yet, mut without_log, mut whole) = (0, 0, 0);
        for op in 1.. {
            let mut sim = Sim::new(Config {
                seed: op,
                shards: 2,
                ..Config::default()
            });
            sim.set_tear(tear);
            sim.crash_at_op(Some(op));
            let handle = sim.start();
            let outcome = sim.run(async move {
                let (store, schema) = open(handle, small("/store")).await;
                for channel in 0..4 {
                    let write = message(&schema, channel, 1, 1, "hello");
                    store.apply(write).await.expect("written");
                }
                store.close().await.expect("closed");
            });
            let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
            copy(&sim.disk(), root.path());
            let has_log = sim
                .disk()
                .list()
                .iter()
                .any(|path| path.extension().is_some_and(|e| e == "log"));
            match check(root.path(), |_, _| {}) {
                Ok(checked) => {
                    assert_eq!(checked.damaged, [], "{tear:?}, killed at operation {op}");
                    without_log += u32::from(!has_log);
                    whole += u32::from(has_log);
                }
                Err(Error::Refused { what }) => {
                    assert!(what.contains("there is no store"), "{what}");
                    assert_eq!(
                        without_log + whole,
                        0,
                        "{tear:?}, killed at operation {op}: it was there before"
                    );
                    none_yet += 1;
                }
                Err(error) => panic!("{tear:?}, killed at operation {op}: {error}"),
            }
            if let Outcome::Done(()) = outcome {
                break;
            }
        }
        assert!(
            none_yet > 2 && without_log > 2 && whole > 2,
            "{tear:?}: {none_yet} before there was a store, {without_log} before there was a log, {whole} later"
        );
    }
}
