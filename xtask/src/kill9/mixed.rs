//! Killing a mixed load of sends, edits and deletes.
//!
//! 1. The demo's worker runs clients on a store; its acknowledgements come through a pipe and are recorded here
//!    (`scrollback_server::load`). It is killed after a number of them, and some microseconds more, which the seed draws.
//! 2. The files must be undamaged; in every other round the process that recovers them is killed too; the number of shards
//!    changes now and then. Then every channel is
//!    read with `scrollback history` and compared with what was acknowledged.
//! 3. A few rounds later the store is given up for a new one: until then the next worker goes on upon it, and what an
//!    earlier check has found must stay so.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use scrollback_server::load::{Expected, Op, Run, Verdict, author_name, channel_name};

use super::judge::Shown;
use super::program::{Process, Program};
use super::report::{Report, Round};
use super::store::{Store, Way};
use crate::clock::Stopwatch;
use crate::rng::Rng;

/// Rounds on one store.
const ROUNDS_ON_A_STORE: u32 = 5;
const CHANNELS: u32 = 8;
const READY_WITHIN: Duration = Duration::from_secs(120);
/// A slow machine is not asked for its number of acknowledgements for longer than this.
const WORK_AT_MOST: Duration = Duration::from_secs(10);

/// What every round shares, and the store of the present ones.
pub(crate) struct Mixed<'a> {
    program: &'a Program,
    folder: &'a Path,
    stores: u32,
    present: Option<Present<'a>>,
}

struct Present<'a> {
    store: Store<'a>,
    seed: u64,
    clients: u32,
    memtable_kib: usize,
    /// Workers that have run on it.
    starts: u32,
    expected: Expected,
}

impl<'a> Mixed<'a> {
    pub(crate) fn new(program: &'a Program, folder: &'a Path) -> Self {
        Self {
            program,
            folder,
            stores: 0,
            present: None,
        }
    }

    /// One round.
    pub(crate) fn round(&mut self, rng: &mut Rng, report: &mut Report) -> Result<(), String> {
        let mut present = match self.present.take() {
            Some(present) => present,
            None => self.open(rng),
        };
        present.round(rng, report)?;
        if present.starts == ROUNDS_ON_A_STORE {
            present.store.remove()?;
        } else {
            self.present = Some(present);
        }
        Ok(())
    }

    fn open(&mut self, rng: &mut Rng) -> Present<'a> {
        self.stores += 1;
        Present {
            store: Store {
                program: self.program,
                dir: self.folder.join(format!("mixed-{}", self.stores)),
                shards: Cell::new(1 + self.stores as usize % 2),
            },
            seed: rng.u64() >> 1,
            clients: rng.within(16..49) as u32,
            memtable_kib: *rng.pick(&[64, 128, 256]),
            starts: 0,
            expected: Expected::default(),
        }
    }
}

impl Present<'_> {
    fn round(&mut self, rng: &mut Rng, report: &mut Report) -> Result<(), String> {
        let nth = format!("{}, start {}", self.store.dir.display(), self.starts);
        // Closed in good order by whoever has read it last: nothing is left to replay, and to flush.
        let before = self.store.sstables()?;
        self.store.reshard_at_times(rng);
        let acknowledged = self.expected.acknowledged;
        let midway = self.work_and_kill(rng)?;
        self.starts += 1;
        report.rounds.add(Round {
            midway,
            flushes: self.store.sstables()?.difference(&before).count() as u64,
        });
        report.acknowledged += self.expected.acknowledged - acknowledged;
        self.store.check()?;
        self.store.reshard_at_times(rng);
        if rng.chance(1, 2) {
            report.killed_in_recovery += u64::from(self.store.kill_in_recovery(rng)?);
        }
        self.store.reshard_at_times(rng);
        let mut verdict = Verdict::default();
        for channel in 0..CHANNELS {
            let shown = self.store.history(&channel_name(channel), Way::draw(rng))?;
            verdict.unexpected += shown.iter().filter(|shown| !is_by_its_author(shown)).count() as u64;
            let found = shown.into_iter().rev().map(|shown| {
                let id = shown.id.parse().map_err(|e| format!("id {:?}: {e}", shown.id))?;
                Ok((id, shown.line.content))
            });
            verdict += self
                .expected
                .check(channel, &found.collect::<Result<Vec<_>, String>>()?);
        }
        report.blame(verdict, || nth)
    }

    /// Whether the worker was killed after it had acknowledged something.
    fn work_and_kill(&mut self, rng: &mut Rng) -> Result<bool, String> {
        let mut arguments = self.store.arguments("demo-worker");
        for (name, value) in [
            ("--seed", self.seed.to_string()),
            ("--clients", self.clients.to_string()),
            ("--channels", CHANNELS.to_string()),
            ("--start", self.starts.to_string()),
            ("--memtable-bytes", format!("{}KiB", self.memtable_kib)),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        let wanted = rng.within(1_500..12_000);
        let delay = Duration::from_micros(rng.below(30_000) as u64);
        let mut process = self.store.program.start(&arguments)?;
        let mut run = Run::new(self.seed, self.starts, self.clients, CHANNELS);
        let (mut heard, mut written) = (0, 0);
        let starting = Stopwatch::start();
        let mut working = None;
        loop {
            let open = process.fill(Duration::from_millis(100))?;
            hear(&mut process, &mut run, &mut self.expected, &mut heard, &mut written)?;
            if !open {
                return Err("the worker ended by itself".to_owned());
            }
            if heard > 0 {
                working.get_or_insert_with(Stopwatch::start);
            }
            match &working {
                Some(working) if written >= wanted || working.elapsed() > WORK_AT_MOST => break,
                None if starting.elapsed() > READY_WITHIN => return Err("the worker is not ready".to_owned()),
                _ => {}
            }
        }
        process.listen(delay)?;
        let killed = process.kill()?;
        hear(&mut process, &mut run, &mut self.expected, &mut heard, &mut written)?;
        run.killed(&mut self.expected);
        Ok(killed && written > 0)
    }
}

/// Takes the lines that are there: `heard` counts all, `written` the writes that they acknowledge.
fn hear(
    process: &mut Process,
    run: &mut Run,
    expected: &mut Expected,
    heard: &mut usize,
    written: &mut usize,
) -> Result<(), String> {
    while let Some(line) = process.line() {
        let op = run.hear(expected, line)?;
        *heard += 1;
        *written += usize::from(op.is_some_and(|op| !matches!(op, Op::Scroll { .. })));
    }
    Ok(())
}

/// Every content begins with the number of the client that wrote it.
fn is_by_its_author(shown: &Shown) -> bool {
    let client = shown
        .line
        .content
        .split('/')
        .next()
        .and_then(|client| client.parse().ok());
    client.is_some_and(|client| shown.line.author == author_name(client))
}
