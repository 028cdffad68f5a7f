//! `cargo xtask chat-compaction`: the real chat, repeated under many channel names, edited and deleted in part, compacted by
//! each strategy while the process that does it is killed with SIGKILL again and again: every channel exact.
//!
//! For each strategy:
//!
//! 1. A child, this very program, opens a store with small memtables and small files. Its clients import the chat's lines,
//!    each to a channel that Zipf's law draws: the first has a sixth of all, most have few. In between they send, edit and
//!    delete: single messages, buckets, whole channels. The parent keeps what they acknowledge.
//! 2. The child is killed at moments that the seed draws, in a third of the cases while it was asked to compact everything.
//!    The next one, which may be killed while it recovers, has its clock set ahead: until an import is at rest, until
//!    deletions have had their grace and can be purged, or until an epoch of the files is over. It reads every channel
//!    before it goes on: what was acknowledged must be there, once; of what was in flight some may be, and stays as it is found.
//! 3. When all is done every channel is compared, everything is compacted, every channel is compared, and once more after
//!    another start.

pub(crate) mod child;
mod course;
mod plan;
mod truth;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use runtime::Break;
use serde_json::{Map, Value, json};

use crate::clock::Stopwatch;
use crate::kill9::chat::Chat;
use crate::kill9::program::Program;
use crate::rng::Rng;
use crate::sim::command::parse_break;
use course::Course;
use plan::Span;

/// What `cargo xtask chat-compaction` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The file of chat, JSON lines, plain or gzip. Without it chat is made up.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Lines of chat made up.
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    lines: u32,
    /// Messages to import: the chat's lines in turn, from the beginning again when all are used up.
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    messages: u32,
    /// Channels to give them to.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(16..=10_000))]
    channels: u32,
    /// Kills for each strategy.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    kills: u32,
    /// The strategies; may be given several times.
    #[arg(long, value_name = "NAME", value_enum, default_values_t = [Strategy::SizeTiered, Strategy::TimeTiered, Strategy::TimeWindow])]
    strategy: Vec<Strategy>,
    /// Memory of a shard's memtables before they are flushed, KiB.
    #[arg(long, value_name = "KIB", default_value_t = 256)]
    memtable_kib: usize,
    /// A table file ends when it has so much, KiB.
    #[arg(long, value_name = "KIB", default_value_t = 128)]
    fragment_kib: u64,
    /// Draws channels, operations and the moments of the kills.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Leaves out one line that the engine must not lose, as `cargo xtask sim` has them.
    #[arg(long = "break", value_name = "NAME", value_parser = parse_break)]
    broken: Option<Break>,
}

/// How the table of messages is compacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Strategy {
    SizeTiered,
    TimeTiered,
    TimeWindow,
}

impl Strategy {
    fn name(self) -> &'static str {
        match self {
            Strategy::SizeTiered => "size-tiered",
            Strategy::TimeTiered => "time-tiered",
            Strategy::TimeWindow => "time-window",
        }
    }

    /// The table's option: all thresholds so small that something is always worth being done.
    fn compaction(self, span: Span) -> BTreeMap<&'static str, String> {
        let of = |class: &str| {
            BTreeMap::from([
                ("class", format!("{class}CompactionStrategy")),
                ("min_sstable_size", "16384".to_owned()),
                ("tombstone_compaction_interval", "3600".to_owned()),
            ])
        };
        let hours = span.files_hours.to_string();
        match self {
            Strategy::SizeTiered => of("SizeTiered"),
            Strategy::TimeTiered => {
                let mut map = of("TimeTiered");
                map.extend([
                    ("epoch_hours", hours),
                    ("open_threshold", "4".to_owned()),
                    ("snowflake_epoch_ms", span.epoch_ms.to_string()),
                ]);
                map
            }
            Strategy::TimeWindow => {
                let mut map = of("TimeWindow");
                map.extend([
                    ("compaction_window_unit", "HOURS".to_owned()),
                    ("compaction_window_size", hours),
                    ("expired_sstable_check_frequency_seconds", "1".to_owned()),
                ]);
                map
            }
        }
    }
}

/// Runs what was asked; true if every channel was exact.
pub(crate) fn run(options: &Options) -> bool {
    let clock = Stopwatch::start();
    let mut strategies = Map::new();
    let outcome = Program::this().and_then(|program| {
        let folder = program.folder()?;
        courses(options, &program, folder.path(), &mut strategies)
            .map_err(|why| format!("{why}; the stores are in {}", folder.keep().display()))
    });
    if let Err(why) = &outcome {
        eprintln!("{why}");
        eprintln!(
            "the same load again: cargo xtask chat-compaction --seed {}",
            options.seed
        );
    }
    println!(
        "{}",
        json!({
            "messages": options.messages,
            "channels": options.channels,
            "strategies": strategies,
            "break": options.broken.map(Break::name),
            "seed": options.seed,
            "seconds": (clock.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            "status": if outcome.is_ok() { "ok" } else { "failed" },
        })
    );
    outcome.is_ok()
}

fn courses(
    options: &Options,
    program: &Program,
    folder: &Path,
    strategies: &mut Map<String, Value>,
) -> Result<(), String> {
    let mut rng = Rng::new(options.seed);
    let chat = match &options.input {
        Some(path) => Chat::read(path)?,
        None => Chat::make_up(&folder.join("chat.jsonl"), options.lines as usize, &mut rng.fork())?,
    };
    if chat.lines.is_empty() {
        return Err("there is no chat in the file".to_owned());
    }
    eprintln!("seed {}, {} lines of chat", options.seed, chat.lines.len());
    for strategy in &options.strategy {
        let name = strategy.name();
        let mut course = Course::new(program, options, &chat, folder.join(name), *strategy)?;
        let done = course.run();
        let met = course.json();
        eprintln!("{name}: {met}");
        strategies.insert(name.to_owned(), met);
        done.map_err(|why| format!("{name}: {why}"))?;
        std::fs::remove_dir_all(folder.join(name)).map_err(|e| format!("{name}: the store cannot be removed: {e}"))?;
    }
    Ok(())
}
