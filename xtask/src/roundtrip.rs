//! `cargo xtask roundtrip`: a file of chat goes in through the command line and comes back, exactly.
//!
//! For each number of shards:
//!
//! 1. The file is imported into a new store; all lines are added.
//! 2. Each channel's whole history, both directions, in pages of the default size and of 50, is the file: the four fields of
//!    every line, in order, each message once, the same ids each way.
//! 3. The channels' counts are those of the file; every byte of the store passes the check.
//! 4. A second import adds nothing.
//! 5. The store is reopened with other numbers of shards, each time by a process that is killed, then by others: the same.
//! 6. Imports into further stores are killed at moments that the seed draws, and run again with other numbers of shards, until
//!    the last is left to end: the same.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::clock::Stopwatch;
use crate::kill9::chat::Chat;
use crate::kill9::import::{arguments, import};
use crate::kill9::program::Program;
use crate::kill9::store::{Store, Way};
use crate::rng::Rng;

/// What `cargo xtask roundtrip` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The file, JSON lines, plain or gzip. Without it chat is made up.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Lines of chat made up.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    lines: u32,
    /// The instant from which the stores' ids count: before the oldest line.
    #[arg(long, value_name = "RFC3339", default_value = "2004-01-01T00:00:00Z")]
    epoch: String,
    /// Shards; may be given several times.
    #[arg(long, value_name = "N", default_values_t = [1, 2])]
    shards: Vec<u16>,
    /// Numbers of shards to reopen the stores with, one after the other; may be given several times.
    #[arg(long, value_name = "N", num_args = 1.., default_values_t = [1, 3, 7, 2])]
    reopen: Vec<u16>,
    /// Memory of a shard's memtables before they are flushed, KiB.
    #[arg(long, value_name = "KIB", default_value_t = 64)]
    memtable_kib: usize,
    /// Imports killed and run again, for each number of shards.
    #[arg(long, value_name = "N", default_value_t = 3)]
    kills: u32,
    /// Draws the chat and the moments of the kills.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

/// What was compared.
#[derive(Default)]
struct Counts {
    histories: u64,
    messages: u64,
    sstables: u64,
    killed_midway: u64,
    /// Openings with another number of shards than before.
    resharded: u64,
    killed_in_recovery: u64,
}

/// Runs what was asked; true if everything came back.
pub(crate) fn run(options: &Options) -> bool {
    let clock = Stopwatch::start();
    let mut counts = Counts::default();
    let outcome = Program::build().and_then(|program| {
        let folder = program.folder()?;
        let mut rng = Rng::new(options.seed);
        let chat = match &options.input {
            Some(path) => Chat::read(path)?,
            None => Chat::make_up(
                &folder.path().join("chat.jsonl"),
                options.lines as usize,
                &mut rng.fork(),
            )?,
        };
        for &shards in &options.shards {
            eprintln!("{} lines on {shards} shards", chat.lines.len());
            round_trip(
                options,
                &program,
                folder.path(),
                &chat,
                usize::from(shards),
                &mut rng,
                &mut counts,
            )
            .map_err(|why| format!("on {shards} shards: {why}"))?;
        }
        if counts.sstables == 0 || (options.kills > 0 && counts.killed_midway == 0) || counts.resharded == 0 {
            return Err(
                "no sstable was written, no import was killed midway, or no store was reopened with another number \
                        of shards: this shows nothing"
                    .to_owned(),
            );
        }
        Ok(chat.lines.len())
    });
    let lines = match &outcome {
        Ok(lines) => *lines,
        Err(why) => {
            eprintln!("{why}");
            0
        }
    };
    println!(
        "{}",
        json!({
            "lines": lines,
            "shards": options.shards,
            "reopened_with": options.reopen,
            "histories": counts.histories,
            "messages_compared": counts.messages,
            "sstables": counts.sstables,
            "killed_midway": counts.killed_midway,
            "resharded": counts.resharded,
            "killed_in_recovery": counts.killed_in_recovery,
            "seed": options.seed,
            "seconds": (clock.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            "status": if outcome.is_ok() { "ok" } else { "failed" },
        })
    );
    outcome.is_ok()
}

fn round_trip(
    options: &Options,
    program: &Program,
    folder: &Path,
    chat: &Chat,
    shards: usize,
    rng: &mut Rng,
    counts: &mut Counts,
) -> Result<(), String> {
    let lines = chat.lines.len();
    let store_of = |name: &str| Store {
        program,
        dir: folder.join(format!("{name}-{shards}")),
        shards: Cell::new(shards),
    };
    let arguments_of = |store: &Store<'_>| arguments(store, chat, &options.epoch, options.memtable_kib);

    let store = store_of("whole");
    let import_all = arguments_of(&store);
    let clock = Stopwatch::start();
    expect("a first import adds", import(&store, &import_all, lines)?, lines as u64)?;
    let took = clock.elapsed();
    counts.sstables += store.sstables()?.len() as u64;
    compare(&store, chat, &Way::ALL, counts)?;
    expect("a second import adds", import(&store, &import_all, lines)?, 0)?;
    compare(&store, chat, &Way::ALL[..1], counts)?;
    for &shards in &options.reopen {
        reopen(&store, shards, rng, counts)?;
        compare(&store, chat, &[*rng.pick(&Way::ALL)], counts).map_err(|why| format!("with {shards}: {why}"))?;
        store.check()?;
    }
    store.remove()?;

    for nth in 0..options.kills {
        let store = store_of(&format!("killed-{nth}"));
        for &shards in [shards as u16].iter().chain(&options.reopen) {
            reopen(&store, shards, rng, counts)?;
            let mut process = program.start(&arguments_of(&store))?;
            process.listen(took.mul_f64(rng.below(1000) as f64 / 1000.0))?;
            counts.killed_midway += u64::from(process.kill()?);
        }
        import(&store, &arguments_of(&store), lines)?;
        expect(
            "an import after that adds",
            import(&store, &arguments_of(&store), lines)?,
            0,
        )?;
        compare(&store, chat, &[*rng.pick(&Way::ALL)], counts)?;
        store.check()?;
        store.remove()?;
    }
    Ok(())
}

/// From now on the store is opened with so many shards; the first process that does so is killed.
fn reopen(store: &Store<'_>, shards: u16, rng: &mut Rng, counts: &mut Counts) -> Result<(), String> {
    let before = store.shards.replace(usize::from(shards));
    if store.is_there() {
        counts.resharded += u64::from(before != usize::from(shards));
        counts.killed_in_recovery += u64::from(store.kill_in_recovery(rng)?);
    }
    Ok(())
}

fn expect(what: &str, got: u64, expected: u64) -> Result<(), String> {
    match got == expected {
        true => Ok(()),
        false => Err(format!("{what} {got} lines, not {expected}")),
    }
}

/// Compares the whole store with the file.
fn compare(store: &Store<'_>, chat: &Chat, ways: &[Way], counts: &mut Counts) -> Result<(), String> {
    let channels = chat.channels();
    let counted = store.channels()?;
    if !counted
        .iter()
        .map(|(name, messages)| (name.as_str(), *messages))
        .eq(channels.iter().map(|(name, lines)| (*name, lines.len() as u64)))
    {
        return Err(format!("the channels are {counted:?}"));
    }
    for (channel, lines) in &channels {
        let mut ids: Option<Vec<String>> = None;
        for way in ways {
            let shown = store.history(channel, *way)?;
            let differs = || {
                shown
                    .iter()
                    .zip(lines)
                    .position(|(shown, line)| shown.line != chat.lines[*line])
            };
            if shown.len() != lines.len() || differs().is_some() {
                let (shown, of) = (shown.len(), lines.len());
                let place = differs();
                return Err(format!(
                    "{channel:?}, {way:?}: {shown} messages for {of} lines, the first that differs is {place:?}"
                ));
            }
            counts.histories += 1;
            counts.messages += shown.len() as u64;
            let now: Vec<String> = shown.into_iter().map(|shown| shown.id).collect();
            if ids.get_or_insert_with(|| now.clone()) != &now {
                return Err(format!("{channel:?}, {way:?}: other ids than the way before"));
            }
        }
    }
    Ok(())
}
