//! `cargo xtask crash-points`: the scripted run, with the power cut at every disk operation, three times over: what was
//! not synced is kept, dropped, or torn.

use std::collections::BTreeMap;

use runtime::sim::Tear;
use serde_json::json;

use super::data::TABLES;
use super::engine::EngineWorld;
use super::node::World;
use super::plan::Profile;
use super::pool::{Failure, guard, pool};
use super::run::{Run, run_course};
use super::script::course;
use crate::clock::Stopwatch;
use crate::rng::Rng;

/// What `cargo xtask crash-points` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this crash: what becomes of unsynced data, the start after which it comes, and the operation.
    #[arg(long, value_name = "kept|dropped|torn:START:OPERATION", value_parser = parse_point)]
    only: Option<Point>,
    /// Runs at the same time; as many as there are cores if it is not given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Tells the whole history on stderr.
    #[arg(long)]
    tell: bool,
}

const TEARS: [(&str, Tear); 3] = [
    ("kept", Tear::KeepAll),
    ("dropped", Tear::DropAll),
    ("torn", Tear::TornSectors),
];

/// Where the power is cut.
#[derive(Clone, Copy, Debug)]
struct Point {
    tear: usize,
    /// Counted from 0.
    stretch: usize,
    /// Counted from 1.
    operation: u64,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", TEARS[self.tear].0, self.stretch + 1, self.operation)
    }
}

fn parse_point(text: &str) -> Result<Point, String> {
    let point = || {
        let mut parts = text.split(':');
        let tear = parts.next()?;
        let tear = TEARS.iter().position(|(name, _)| *name == tear)?;
        let stretch = parts.next()?.parse::<usize>().ok()?.checked_sub(1)?;
        let operation = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Point {
            tear,
            stretch,
            operation,
        })
    };
    point().ok_or_else(|| "write it as kept:1:17, dropped:1:17 or torn:1:17".to_owned())
}

/// Runs the script; `ops` says how the operations of the crash's stretch are parted, see [`Run`].
fn run_script(tear: Tear, crash: Option<(Point, [u64; 2])>, tell: bool) -> Run<EngineWorld> {
    let profile = Profile {
        shards: 2,
        stretches: 3,
        bulky: false,
        periodic: false,
        expiring: false,
        options: [0; TABLES.len()],
        resharding: false,
        altering: false,
        snapshots: false,
    };
    let mut rng = Rng::new(1);
    let world = EngineWorld::new(1, &profile, tear, &mut rng);
    let mut course = course(|partition, shards| world.shard_of(partition, shards));
    if let Some((point, [starting, _])) = crash {
        let stretch = &mut course.stretches[point.stretch];
        match point.operation.checked_sub(starting) {
            None | Some(0) => stretch.crash_in_start = Some(point.operation),
            Some(working) => stretch.crash_in_work = Some(working),
        }
    }
    run_course(world, course, rng, tell)
}

/// Runs what was asked; true if no crash took what it must not take.
pub(crate) fn run(options: &Options) -> bool {
    let jobs = options
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
        .max(1);
    let clock = Stopwatch::start();
    let whole = guard(|| run_script(Tear::KeepAll, None, false)).and_then(|run| match run.violation {
        Some(what) => Err(what),
        // Nothing is cut off in the look that every run ends with.
        None => Ok(run.ops[..run.ops.len() - 1].to_vec()),
    });
    let ops = match whole {
        Ok(ops) => ops,
        Err(what) => {
            eprintln!("without any crash: {what}");
            println!("{}", json!({ "operations": null, "crashes": 0, "failed": 1 }));
            return false;
        }
    };
    let points: Vec<Point> = match options.only {
        Some(point) if point.stretch < ops.len() => vec![point],
        Some(point) => {
            eprintln!("{point}: the script has {} starts", ops.len());
            return false;
        }
        None => (0..TEARS.len())
            .flat_map(|tear| {
                let of_stretch = move |(stretch, ops): (usize, &[u64; 2])| {
                    (1..=ops[0] + ops[1]).map(move |operation| Point {
                        tear,
                        stretch,
                        operation,
                    })
                };
                ops.iter().enumerate().flat_map(of_stretch).collect::<Vec<_>>()
            })
            .collect(),
    };
    let mut crashes = BTreeMap::from(TEARS.map(|(name, _)| (name, 0u64)));
    let failure = pool(
        0..points.len() as u64,
        jobs,
        |nth| {
            let point = points[nth as usize];
            let run = guard(|| run_script(TEARS[point.tear].1, Some((point, ops[point.stretch])), options.tell));
            match run {
                Ok(run) => (run.report.crashes_midway, run.violation),
                Err(what) => (0, Some(what)),
            }
        },
        |nth, midway| {
            *crashes.entry(TEARS[points[nth as usize].tear].0).or_default() += midway;
        },
    );
    if let Some(Failure { nth, what }) = &failure {
        let point = points[*nth as usize];
        eprintln!("power cut at {point}: {what}");
        eprintln!("repeat: cargo xtask crash-points --only {point}");
    }
    println!(
        "{}",
        json!({
            "operations": ops.iter().flatten().sum::<u64>(),
            "operations_by_start": ops,
            "runs": points.len(),
            "crashes": crashes,
            "failed": u64::from(failure.is_some()),
            "seconds": (clock.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        })
    );
    failure.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_as_it_is_written() {
        let point = parse_point("torn:2:17").unwrap();
        assert_eq!((point.tear, point.stretch, point.operation), (2, 1, 17));
        assert_eq!(point.to_string(), "torn:2:17");
        for text in ["", "torn", "torn:0:1", "torn:1", "torn:1:x", "soaked:1:1", "kept:1:1:1"] {
            assert!(parse_point(text).is_err(), "{text:?}");
        }
    }
}
