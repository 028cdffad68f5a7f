//! The outer level of the memtable, a tree of partitions, beside what it could be: a hash table that is sorted when the memtable is sealed.
//!
//! `docs/decisions/0002-memtable-partitions-in-a-tree.md` has figures of this. Not criterion's, because what counts is the longest single
//! operation among a million. Each average is of a run without clocks; the longest of another one, beside the longest of doing nothing,
//! which is what the machine itself adds. With `-- --test` it runs with a thousand, as a smoke test.

mod cpu;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::time::Duration;

use cpu::now;
use model::{ColumnId, Mutation, MutationBuilder, RowBuilder, TableId};
use scrollback_memtable::{Memtable, Partition};

const TABLE: TableId = TableId(1);

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}

/// Tokens are hashes already.
#[derive(Default)]
struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_i64(&mut self, token: i64) {
        self.0 = token as u64;
    }
}

/// From token to the partition's key and place. Tokens that collide are left out, in its favour.
type Hashed = HashMap<i64, (Vec<u8>, u64), BuildHasherDefault<TokenHasher>>;

/// Runs `each` of a fresh state `count` times, twice: for the average, and for the longest.
fn measure<S>(what: &str, count: u64, fresh: impl Fn() -> S, each: impl Fn(&mut S, u64)) -> S {
    let mut state = fresh();
    let start = now();
    for i in 0..count {
        each(&mut state, i);
    }
    let average = (now() - start).as_nanos() as f64 / count as f64;
    drop(state);
    let mut state = fresh();
    let mut longest = Duration::ZERO;
    for i in 0..count {
        let one = now();
        each(&mut state, i);
        longest = longest.max(now() - one);
    }
    println!(
        "{what}: {average:.0} ns each, longest {:.1} us",
        longest.as_nanos() as f64 / 1e3
    );
    state
}

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--test");
    let (mut builder, mut row) = (MutationBuilder::new(TABLE, b"-"), RowBuilder::new());
    row.cell(ColumnId(1), 1, b"small");
    let body = row.finish();
    let rounds: u64 = if smoke { 1000 } else { 1_000_000 };
    for partitions in [100, rounds] {
        let mutations: Vec<Mutation> = (0..partitions)
            .map(|i| builder.reset(TABLE, &mix(i).to_be_bytes()).row(&[0x80], body).build())
            .collect();
        let of = |i: u64| mutations[(i % partitions) as usize].as_ref();
        println!("{partitions} partitions");
        measure(
            "  nothing",
            rounds,
            || (),
            |(), i| {
                black_box(i);
            },
        );
        let mut memtable = measure(
            "  added, tree (a whole write)",
            partitions,
            Memtable::new,
            |memtable, i| {
                memtable.apply(of(i));
            },
        );
        println!(
            "  memory, tree: {:.1} bytes each",
            memtable.memory_bytes() as f64 / partitions as f64
        );
        let hashed = measure(
            "  added, hash (the key alone)",
            partitions,
            Hashed::default,
            |hashed, i| {
                hashed.insert(of(i).token().0, (of(i).key().to_vec(), i));
            },
        );
        measure(
            "  looked up, tree (with a snapshot)",
            rounds,
            || &memtable,
            |memtable, i| {
                let m = of(mix(i));
                black_box(memtable.partition(m.token(), m.key()));
            },
        );
        measure(
            "  looked up, hash (the key alone)",
            rounds,
            || &hashed,
            |hashed, i| {
                let m = of(mix(i));
                assert!(hashed.get(&m.token().0).is_some_and(|(key, _)| key == m.key()));
            },
        );
        let start = now();
        let mut order: Vec<(i64, &(Vec<u8>, u64))> = hashed.iter().map(|(token, place)| (*token, place)).collect();
        order.sort_unstable();
        println!(
            "  sorted, hash: {:.1} us in one piece",
            (now() - start).as_nanos() as f64 / 1e3
        );
        black_box(order);
        let last: Option<Partition> = measure(
            "  in order, tree (with a snapshot)",
            partitions,
            || None,
            |last, _| {
                *last = memtable.next_partition(last.as_ref().map(|p: &Partition| (p.token(), p.key())));
            },
        );
        assert!(last.is_some(), "there are as many partitions as were written");
        drop(last);
        let (mut longest, mut steps, start) = (Duration::ZERO, 0, now());
        loop {
            let one = now();
            let done = memtable.drop_step(1000);
            longest = longest.max(now() - one);
            steps += 1;
            if done {
                break;
            }
        }
        let (all, longest) = ((now() - start).as_nanos() as f64 / 1e6, longest.as_nanos() as f64 / 1e3);
        println!("  dropped, tree: {all:.1} ms in {steps} steps of 1,000 entries, longest {longest:.1} us");
    }
}
