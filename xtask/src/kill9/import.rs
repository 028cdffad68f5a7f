//! Killing an import.
//!
//! 1. Once, the file is imported undisturbed: its history must be the file, a second import must add nothing, and what the
//!    ids are and how long it takes is learnt.
//! 2. A round imports it into a new store and kills the import at a moment of that time which the seed draws, after the
//!    first acknowledgement.
//! 3. The files must be undamaged; in every other round the process that recovers them is killed too; the number of shards
//!    changes now and then. Then the first N
//!    lines that were acknowledged must be there, each once, and nothing that the file does not have.
//! 4. Some messages are deleted. The import is run again, to its end: now all lines are there but those.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::chat::Chat;
use super::judge::{Original, Verdict};
use super::program::Program;
use super::report::{Report, Round};
use super::store::{Store, Way, parse};
use crate::clock::Stopwatch;
use crate::rng::Rng;

/// An import that has acknowledged nothing for so long is given up.
const FIRST_WITHIN: Duration = Duration::from_secs(120);
/// Messages that a round deletes before it imports the rest.
const DELETED: usize = 3;

/// What every round shares.
pub(crate) struct Imports<'a> {
    program: &'a Program,
    folder: &'a Path,
    chat: &'a Chat,
    epoch: &'a str,
    original: Original<'a>,
    pace: Pace,
}

/// How far an undisturbed import was when it first said so, and how long the rest took.
///
/// An import says how far it is every so many milliseconds: one that says a larger number at first is faster.
#[derive(Clone, Copy)]
struct Pace {
    lines: u64,
    first: u64,
    rest: Duration,
}

impl Pace {
    /// When an import that has said `first` at first will have written this part of the rest, and how many lines are
    /// there then.
    fn after(&self, first: u64, part: f64) -> (Duration, u64) {
        let left = |first: u64| self.lines.saturating_sub(first) as f64;
        let faster = first as f64 / self.first.max(1) as f64;
        let rest = self
            .rest
            .mul_f64(left(first) / left(self.first).max(1.0) / faster.max(0.01));
        (rest.mul_f64(part), first + (left(first) * part) as u64)
    }
}

/// What an import says.
#[derive(Deserialize, Debug)]
#[serde(untagged)]
enum Said {
    Acknowledged {
        acknowledged: u64,
    },
    Summary {
        read: u64,
        added: u64,
        present: u64,
        bad: u64,
    },
}

/// The arguments of an import of this file.
pub(crate) fn arguments(store: &Store<'_>, chat: &Chat, epoch: &str, memtable_kib: usize) -> Vec<String> {
    let mut arguments = store.arguments("import");
    for (name, value) in [
        ("--epoch", epoch.to_owned()),
        ("--memtable-bytes", format!("{memtable_kib}KiB")),
    ] {
        arguments.extend([name.to_owned(), value]);
    }
    arguments.push(chat.path.to_string_lossy().into_owned());
    arguments
}

/// Runs an import to its end; the lines that it added.
pub(crate) fn import(store: &Store<'_>, arguments: &[String], lines: usize) -> Result<u64, String> {
    let mut last = None;
    store.program.run(arguments, |line| {
        last = Some(parse(line)?);
        Ok(())
    })?;
    match last {
        Some(Said::Summary {
            read,
            added,
            present,
            bad: 0,
        }) if read == lines as u64 && added + present == read => Ok(added),
        other => Err(format!("an import of {lines} lines ended with {other:?}")),
    }
}

impl<'a> Imports<'a> {
    /// Imports the file undisturbed, for all rounds to be compared with.
    pub(crate) fn prepare(
        program: &'a Program,
        folder: &'a Path,
        chat: &'a Chat,
        epoch: &'a str,
        rng: &mut Rng,
    ) -> Result<Self, String> {
        let dir = folder.join("undisturbed");
        let store = Store {
            program,
            dir,
            shards: Cell::new(2),
        };
        let arguments = arguments(&store, chat, epoch, 256);
        let mut began: Option<(u64, Stopwatch)> = None;
        let mut rest = Duration::ZERO;
        let mut process = program.start(&arguments)?;
        let waiting = Stopwatch::start();
        while process.fill(Duration::from_millis(100))? {
            while let Some(line) = process.line() {
                // The summary comes before the store is closed, which takes a while too.
                match (parse(line)?, &began) {
                    (Said::Acknowledged { acknowledged }, None) => began = Some((acknowledged, Stopwatch::start())),
                    (_, Some((_, began))) => rest = began.elapsed(),
                    (Said::Summary { .. }, None) => {}
                }
            }
            if began.is_none() && waiting.elapsed() > FIRST_WITHIN {
                return Err("the undisturbed import acknowledges nothing".to_owned());
            }
        }
        let (first, _) = began.ok_or("the undisturbed import acknowledged nothing")?;
        process.kill()?;
        let lines = chat.lines.len();
        let added = import(&store, &arguments, lines)?;
        if added != 0 {
            return Err(format!("a second import of the same file added {added} lines"));
        }
        let original = Original::learn(chat, |channel| store.history(channel, Way::draw(rng)))?;
        store.remove()?;
        Ok(Self {
            program,
            folder,
            chat,
            epoch,
            original,
            pace: Pace {
                lines: lines as u64,
                first,
                rest,
            },
        })
    }

    /// One round.
    pub(crate) fn round(&self, nth: usize, rng: &mut Rng, report: &mut Report) -> Result<(), String> {
        let store = Store {
            program: self.program,
            dir: self.folder.join(format!("import-{nth}")),
            shards: Cell::new(1 + nth % 2),
        };
        let memtable_kib = *rng.pick(&[128, 256, 1024]);
        let import_all = || arguments(&store, self.chat, self.epoch, memtable_kib);
        let (acknowledged, midway) = self.import_and_kill(&import_all(), rng)?;
        report.rounds.add(Round {
            midway,
            flushes: store.sstables()?.len() as u64,
        });
        report.acknowledged += acknowledged;
        if !store.is_there() {
            return store.remove();
        }
        store.check()?;
        store.reshard_at_times(rng);
        if rng.chance(1, 2) {
            report.killed_in_recovery += u64::from(store.kill_in_recovery(rng)?);
        }

        store.reshard_at_times(rng);
        let first = usize::try_from(acknowledged).map_err(|e| e.to_string())?;
        let mut deleted = BTreeSet::new();
        let (verdict, ids) = self.judge(&store, first, &deleted, rng)?;
        report.blame(verdict, || {
            format!("import {nth}, {first} lines acknowledged, after the kill")
        })?;
        for _ in 0..DELETED.min(ids.len()) {
            let (channel, id) = rng.pick(&ids);
            if deleted.insert(id.clone()) {
                let mut delete = store.arguments("delete");
                delete.extend(["--channel", channel, "--id", id].map(str::to_owned));
                self.program.run(&delete, |_| Ok(()))?;
                report.acknowledged += 1;
            }
        }
        let lines = self.chat.lines.len();
        store.reshard_at_times(rng);
        let added = import(&store, &import_all(), lines)?;
        if added + verdict.present != lines as u64 {
            let present = verdict.present;
            return Err(format!(
                "{present} of {lines} lines were there, and the resumed import added {added}"
            ));
        }
        let (verdict, _) = self.judge(&store, lines, &deleted, rng)?;
        report.blame(verdict, || {
            format!("import {nth}, killed after {first} lines and run again")
        })?;
        if verdict.present + deleted.len() as u64 != lines as u64 {
            return Err(format!("{} of {lines} lines are there after all", verdict.present));
        }
        store.remove()
    }

    /// Gives the lines acknowledged, and whether it was killed before its end.
    fn import_and_kill(&self, arguments: &[String], rng: &mut Rng) -> Result<(u64, bool), String> {
        let mut process = self.program.start(arguments)?;
        let mut acknowledged = 0;
        let mut ended = false;
        let waiting = Stopwatch::start();
        // Not to its very end: pace is no promise.
        let part = rng.below(800) as f64 / 1000.0;
        while acknowledged == 0 && process.fill(Duration::from_millis(100))? {
            hear(&mut process, &mut acknowledged, &mut ended)?;
            if waiting.elapsed() > FIRST_WITHIN {
                return Err("the import acknowledges nothing".to_owned());
            }
        }
        // Whichever comes first: the moment by its pace, or word that it is as far as that.
        let (time, lines) = self.pace.after(acknowledged, part);
        let writing = Stopwatch::start();
        while let Some(left) = time.checked_sub(writing.elapsed()) {
            let open = process.fill(left)?;
            hear(&mut process, &mut acknowledged, &mut ended)?;
            if !open || acknowledged >= lines {
                break;
            }
        }
        let killed = process.kill()?;
        hear(&mut process, &mut acknowledged, &mut ended)?;
        Ok((acknowledged, killed && !ended && acknowledged > 0))
    }

    /// Compares all channels; gives also the messages that are there, by channel and id.
    fn judge(
        &self,
        store: &Store<'_>,
        acknowledged: usize,
        deleted: &BTreeSet<String>,
        rng: &mut Rng,
    ) -> Result<(Verdict, Vec<(String, String)>), String> {
        let counts = store.channels()?;
        let (mut verdict, mut ids) = (Verdict::default(), Vec::new());
        for channel in self.original.channels() {
            // A channel may not have come to be yet.
            let found = match counts.get(channel) {
                Some(_) => store.history(channel, Way::draw(rng))?,
                None => Vec::new(),
            };
            let count = counts.get(channel).copied().unwrap_or(0);
            if count != found.len() as u64 {
                let shown = found.len();
                return Err(format!("channel {channel:?} shows {shown} messages and counts {count}"));
            }
            verdict += self.original.judge(channel, &found, acknowledged, deleted);
            ids.extend(found.into_iter().map(|shown| (channel.to_owned(), shown.id)));
        }
        for (channel, count) in counts {
            if self.original.channels().all(|known| known != channel) {
                verdict.unexpected += count;
            }
        }
        Ok((verdict, ids))
    }
}

fn hear(process: &mut super::program::Process, acknowledged: &mut u64, ended: &mut bool) -> Result<(), String> {
    while let Some(line) = process.line() {
        match parse(line)? {
            Said::Acknowledged { acknowledged: lines } => *acknowledged = lines,
            Said::Summary { .. } => *ended = true,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faster_import_has_less_time_left() {
        let pace = Pace {
            lines: 1000,
            first: 200,
            rest: Duration::from_millis(800),
        };
        for (first, rest_ms, half) in [(200, 800, 600), (400, 300, 700), (100, 1800, 550), (1000, 0, 1000)] {
            assert_eq!(
                pace.after(first, 1.0),
                (Duration::from_millis(rest_ms), 1000),
                "{first}"
            );
            assert_eq!(
                pace.after(first, 0.5),
                (Duration::from_millis(rest_ms / 2), half),
                "{first}"
            );
        }
        let (time, _) = pace.after(0, 1.0);
        assert!(
            time < Duration::from_secs(200),
            "an empty acknowledgement is no reason to wait for ever"
        );
    }
}
