//! `cargo xtask sim`: seeds in, one line of counts out.

use std::ops::Range;

use runtime::Break;
use runtime::sim::SimStats;
use serde_json::{Value, json};

use super::engine::EngineWorld;
use super::pool::{Failure, guard, pool};
use super::run::{Report, run_seed};
use crate::clock::Stopwatch;

/// What `cargo xtask sim` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seeds to run: from A up to B, without B.
    #[arg(long, value_name = "A..B", default_value = "0..200", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// Leaves out one line that the engine must not lose. Ends with status 1 when a seed notices, as it must.
    #[arg(long = "break", value_name = "NAME", value_parser = parse_break)]
    broken: Option<Break>,
    /// Prints the names of the deliberate breaks and what each does.
    #[arg(long)]
    list_breaks: bool,
    /// Tries every deliberate break that histories can show; ends with status 0 when each is noticed.
    #[arg(long, conflicts_with = "broken")]
    each_break: bool,
    /// Seeds that run at the same time; as many as there are cores if it is not given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Tells the whole history on stderr.
    #[arg(long)]
    tell: bool,
}

pub(crate) fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let seeds = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    seeds
        .filter(|seeds| !seeds.is_empty())
        .ok_or_else(|| "write it as A..B, with A below B".to_owned())
}

pub(crate) fn parse_break(name: &str) -> Result<Break, String> {
    Break::from_name(name).ok_or_else(|| "no such break; see --list-breaks".to_owned())
}

/// One break is no matter of what is stored, but of how long a shard computes: the stall test in `tests/` catches it. Others are of what
/// histories do not do: tests of the engine catch them.
const NOT_OF_HISTORY: [Break; 7] = [
    Break::NoBreatheInFlush,
    Break::PurgesWithoutLog,
    Break::NarrowsNothing,
    Break::TruncatesWithoutLog,
    Break::FlushesOutliveTruncation,
    Break::RunsOutliveTruncation,
    Break::DropsBeforeManifest,
];

/// So many histories must have met all kinds of trouble.
const SEEDS_MANY: u64 = 1000;

/// Runs what was asked; true if all is as it must be.
pub(crate) fn run(options: Options) -> bool {
    let jobs = options
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    if options.list_breaks {
        let breaks = Break::ALL.map(|each| {
            let by = match each {
                _ if Break::OF_SERVER.contains(&each) => " (noticed by sim-cql)",
                _ if NOT_OF_HISTORY.contains(&each) => " (caught by a test of the engine, not by sim)",
                _ => "",
            };
            println!("{:<28} {}{by}", each.name(), each.describe());
            each.name()
        });
        println!("{}", json!({ "breaks": breaks.as_slice() }));
        return true;
    }
    if options.each_break {
        return each_break(options.seeds, jobs);
    }
    set_break(options.broken);
    let outcome = run_seeds(options.seeds, jobs, options.tell);
    set_break(None);
    if let Some(failure) = &outcome.failure {
        eprintln!("seed {}: {}", failure.nth, failure.what);
        let with_break = options
            .broken
            .map_or_else(String::new, |broken| format!(" --break {}", broken.name()));
        eprintln!(
            "repeat: cargo xtask sim --seeds {0}..{1}{with_break}",
            failure.nth,
            failure.nth + 1
        );
    }
    let too_few = options.broken.is_none() && outcome.failure.is_none() && !outcome.has_met_enough();
    if too_few {
        eprintln!(
            "hardly any flushes, compactions, crashes, torn writes, I/O errors, other numbers of shards, alterations, snapshots or default TTLs were met: these histories show nothing"
        );
    }
    let mut line = outcome.json();
    line["break"] = json!(options.broken.map(Break::name));
    println!("{line}");
    outcome.failure.is_none() && !too_few
}

/// Every break must be noticed within the seeds; how soon, and by what, is printed.
fn each_break(seeds: Range<u64>, jobs: usize) -> bool {
    let mut noticed = serde_json::Map::new();
    let mut missed = Vec::new();
    let shown = |broken: &Break| !NOT_OF_HISTORY.contains(broken) && !Break::OF_SERVER.contains(broken);
    for broken in Break::ALL.into_iter().filter(shown) {
        set_break(Some(broken));
        let outcome = run_seeds(seeds.clone(), jobs, false);
        set_break(None);
        match outcome.failure {
            Some(failure) => {
                let what = failure.what.lines().next().unwrap_or_default();
                eprintln!("{}: noticed by seed {}: {what}", broken.name(), failure.nth);
                noticed.insert(broken.name().to_owned(), json!(failure.nth));
            }
            None => {
                eprintln!("{}: NOT noticed in {} seeds", broken.name(), seeds.end - seeds.start);
                missed.push(broken.name());
            }
        }
    }
    println!("{}", json!({ "noticed_by_seed": noticed, "missed": missed }));
    missed.is_empty()
}

#[cfg(feature = "breaks")]
pub(crate) fn set_break(broken: Option<Break>) {
    runtime::set_break(broken);
}

#[cfg(not(feature = "breaks"))]
pub(crate) fn set_break(broken: Option<Break>) {
    assert!(
        broken.is_none(),
        "built without the feature `breaks`: run it as `cargo xtask sim`"
    );
}

/// What all seeds together met.
#[derive(Default)]
struct Outcome {
    failure: Option<Failure>,
    seeds: u64,
    sum: Sum,
    millis: f64,
    millis_max: f64,
}

/// One seed's figures, or many added up.
#[derive(Clone, Default)]
struct Sum {
    report: Report,
    disk: SimStats,
    /// Sstables that stood at the ends.
    sstables: u64,
}

impl Sum {
    fn add(&mut self, other: &Sum) {
        self.report += other.report;
        self.disk.add(&other.disk);
        self.sstables += other.sstables;
    }
}

impl Outcome {
    /// Whether many histories met what they are there for: one of each in two of them, a snapshot in eight.
    fn has_met_enough(&self) -> bool {
        let Sum { disk, sstables, .. } = &self.sum;
        let io_errors = disk.errors() - disk.no_space_errors;
        self.seeds < SEEDS_MANY
            || [
                *sstables,
                disk.crashes,
                disk.writes_torn,
                io_errors,
                self.sum.report.counts.resharded,
                self.sum.report.counts.altered,
                4 * self.sum.report.snapshots_opened,
                self.sum.report.counts.ended_by_default,
                self.sum.report.compacted[0],
                self.sum.report.compacted[1],
            ]
            .iter()
            .all(|&met| 2 * met >= self.seeds)
    }

    fn json(&self) -> Value {
        let Sum { report, disk, sstables } = &self.sum;
        let counts = &report.counts;
        let tenths = |millis: f64| (millis * 10.0).round() / 10.0;
        json!({
            "seeds": self.seeds,
            "failed": u64::from(self.failure.is_some()),
            "failed_seed": self.failure.as_ref().map(|failure| failure.nth),
            "sstables": sstables,
            "compactions": report.compacted[0],
            "purged": report.compacted[1],
            "compactions_failed": report.compacted[2],
            "flushes_asked": report.flushes,
            "crashes": disk.crashes,
            "crashes_midway": report.crashes_midway,
            "kills": report.kills,
            "torn_writes": disk.writes_torn,
            "dropped_writes": disk.writes_dropped,
            "dropped_names": disk.entries_dropped,
            "io_errors": disk.errors() - disk.no_space_errors,
            "no_space_errors": disk.no_space_errors,
            "disk_operations": disk.operations(),
            "starts": report.stretches,
            "shutdowns": report.shutdowns,
            "recoveries_judged": counts.recoveries,
            "sent": counts.sent,
            "acknowledged": counts.acknowledged,
            "refused": counts.refused,
            "outcome_unknown": counts.unknown,
            "lost_unacknowledged": counts.lost_unacknowledged,
            "sent_again": counts.sent_again,
            "resharded": counts.resharded,
            "altered": counts.altered,
            "alterations_kept": counts.alterations_kept,
            "alterations_lost": counts.alterations_lost,
            "ended_by_default": counts.ended_by_default,
            "snapshots": counts.snapshots,
            "snapshots_opened": report.snapshots_opened,
            "pages": counts.pages,
            "rows_read": counts.rows_read,
            "ms_per_seed": tenths(self.millis / self.seeds.max(1) as f64),
            "ms_per_seed_max": tenths(self.millis_max),
        })
    }
}

/// Runs seeds in their order, several at a time, until one fails.
fn run_seeds(seeds: Range<u64>, jobs: usize, tell: bool) -> Outcome {
    let mut outcome = Outcome::default();
    let each = |seed| {
        let clock = Stopwatch::start();
        let (sum, violation) = run_one(seed, tell);
        ((sum, clock.elapsed().as_secs_f64() * 1e3), violation)
    };
    let add = |_, (sum, millis): (Sum, f64)| {
        outcome.seeds += 1;
        outcome.sum.add(&sum);
        outcome.millis += millis;
        outcome.millis_max = outcome.millis_max.max(millis);
    };
    outcome.failure = pool(seeds, jobs, each, add);
    outcome
}

/// Each so-manieth seed runs twice, to see that it is one history.
const TWICE_EVERY: u64 = 50;

/// What stands there are links.
const SNAPSHOTS: &str = "/store/snapshots";

fn run_one(seed: u64, tell: bool) -> (Sum, Option<String>) {
    let (sum, hash, violation) = guarded(seed, tell);
    if violation.is_none() && seed.is_multiple_of(TWICE_EVERY) {
        let (_, again, _) = guarded(seed, tell);
        if again != hash {
            let what = format!("two runs of one seed are two histories: hash {hash:016x} and {again:016x}");
            return (sum, Some(what));
        }
    }
    (sum, violation)
}

/// Runs a seed; a panic of the engine is a violation like any other.
fn guarded(seed: u64, tell: bool) -> (Sum, u64, Option<String>) {
    let run = guard(|| {
        let run = run_seed(seed, tell, EngineWorld::of_seed);
        let files = run.world.sim.disk().list();
        let sum = Sum {
            report: run.report,
            disk: run.world.sim.stats(),
            sstables: files
                .iter()
                .filter(|path| path.extension().is_some_and(|e| e == "sst") && !path.starts_with(SNAPSHOTS))
                .count() as u64,
        };
        (sum, run.world.sim.history_hash(), run.violation)
    });
    run.unwrap_or_else(|what| (Sum::default(), 0, Some(what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_seeds_that_are_no_range() {
        assert_eq!(parse_seeds("3..5"), Ok(3..5));
        for text in ["", "3", "5..3", "3..3", "a..b", "-1..3"] {
            assert!(parse_seeds(text).is_err(), "{text:?}");
        }
    }
}
