//! `scrollback top`: what a running store does, as it does it.

use super::live::{Hot, Live};
use crate::{
    cli,
    failure::{Done, Failure},
    output::{Format, Output},
    session,
};
use serde_json::{Map, Value, json};
use std::io::IsTerminal;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Hot partitions shown of each list.
const HOT: usize = 5;
/// Clears the screen and goes to its corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Shows a running store until it closes.
#[expect(clippy::disallowed_methods, reason = "a process without shards")]
pub fn run(args: cli::Top, format: Format) -> Done {
    let config = session::config(&args.data)?;
    engine::must_be_store(&config.dir)?;
    let not_running = || {
        Failure::new(format_args!(
            "{}: no store runs there that tells its figures",
            config.dir.display()
        ))
    };
    let mut before = Live::ask(&config)?.ok_or_else(not_running)?;
    let every = Duration::from_millis(args.interval_ms);
    let clears = std::io::stdout().is_terminal() && !args.once;
    loop {
        let asked = Instant::now();
        sleep(every);
        let Some(now) = Live::ask(&config)? else {
            // It has closed, which is no failure.
            return Ok(());
        };
        let view = View {
            before: &before,
            now: &now,
            seconds: asked.elapsed().as_secs_f64(),
        };
        let mut output = Output::new();
        match format {
            Format::Jsonl => output.object(&view.json())?,
            Format::Table => {
                if clears {
                    output.line(CLEAR)?;
                }
                output.line(format_args!("{}, {} shards", config.dir.display(), now.shards.len()))?;
                view.table(&mut output)?;
            }
        }
        output.flush()?;
        if args.once {
            return Ok(());
        }
        before = now;
    }
}

/// What happened between two looks.
struct View<'a> {
    before: &'a Live,
    now: &'a Live,
    seconds: f64,
}

/// How a line of the view follows from the figures.
enum Line {
    /// Growth of a figure, per second.
    Rate(&'static str),
    /// A time in microseconds that this part of what was done stayed below.
    Below(&'static str, f64),
    /// Of two figures' growth, the first one's part in percent.
    Percent(&'static str, &'static str),
    /// Growth of a figure in microseconds, in percent of the time.
    Busy(&'static str),
    /// A figure as it is.
    Is(&'static str),
    /// A figure in MiB.
    Mib(&'static str),
}

const LINES: &[(&str, Line)] = &[
    ("writes/s", Line::Rate("writes")),
    ("write p50 us", Line::Below("write", 0.5)),
    ("write p99 us", Line::Below("write", 0.99)),
    ("log write p99 us", Line::Below("log_write", 0.99)),
    ("writers waiting", Line::Is("writers_waiting")),
    ("reads/s", Line::Rate("reads")),
    ("reads joined/s", Line::Rate("reads_joined")),
    ("hot pages/s", Line::Rate("reads_hot")),
    ("read p50 us", Line::Below("read", 0.5)),
    ("read p99 us", Line::Below("read", 0.99)),
    ("row cache hits %", Line::Percent("row_cache_hits", "row_cache_misses")),
    ("block cache hits %", Line::Percent("cache_hits", "cache_misses")),
    ("overloaded/s", Line::Rate("overloaded")),
    ("slowed to MiB/s", Line::Mib("write_bytes_per_s_max")),
    ("tombstones/s", Line::Rate("tombstones")),
    ("memtables MiB", Line::Mib("memtable_bytes")),
    ("log MiB", Line::Mib("log_bytes")),
    ("sstables", Line::Is("sstables")),
    ("sstables MiB", Line::Mib("sstable_bytes")),
    ("flushes", Line::Is("flushes")),
    ("flush failures", Line::Is("flush_failures")),
    ("requests CPU %", Line::Busy("request_cpu_us")),
    ("background CPU %", Line::Busy("background_cpu_us")),
    ("longest stall us", Line::Is("stall_max_us")),
    ("longest computing us", Line::Is("computed_max_us")),
];

impl View<'_> {
    fn value(&self, shard: usize, line: &Line) -> Option<f64> {
        let is = |name| self.now.figure(shard, name);
        let grown = |name| is(name) - self.before.figure(shard, name);
        match *line {
            Line::Rate(name) => Some(grown(name) / self.seconds),
            Line::Below(name, part) => self.now.below_us(self.before, shard, name, part),
            Line::Percent(part, rest) => {
                let all = grown(part) + grown(rest);
                (all > 0.0).then(|| 100.0 * grown(part) / all)
            }
            Line::Busy(name) => Some(grown(name) / self.seconds / 1e4),
            Line::Is(name) => Some(is(name)),
            Line::Mib(name) => Some(is(name) / f64::from(1 << 20)),
        }
    }

    /// The hottest of all shards by reads, writes or bytes.
    fn hot(&self, by: &str) -> Vec<&Hot> {
        let mut hot: Vec<&Hot> = self.now.hot.iter().filter(|hot| hot.by == by).collect();
        hot.sort_by(|a, b| b.amount.total_cmp(&a.amount));
        hot.truncate(HOT);
        hot
    }

    fn table(&self, output: &mut Output) -> Done {
        let shards = self.now.shards.len();
        let header: Vec<String> = (0..shards).map(|shard| format!("shard {shard}")).collect();
        let header: Vec<&str> = std::iter::once("").chain(header.iter().map(String::as_str)).collect();
        let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
        let rows = LINES.iter().map(|(name, line)| {
            let cells = (0..shards).map(|shard| cell(self.value(shard, line)));
            std::iter::once((*name).to_owned()).chain(cells).collect()
        });
        output.table(&header, &rows.collect::<Vec<_>>())?;
        for by in ["reads", "writes", "bytes"] {
            let rows = self.hot(by).into_iter().map(|hot| {
                vec![
                    hot.partition.clone(),
                    hot.shard.to_string(),
                    format!("{:.0}", hot.amount),
                ]
            });
            output.line("")?;
            output.table(
                &[&format!("hot by {by}, of late"), "shard", by],
                &rows.collect::<Vec<_>>(),
            )?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let shards = (0..self.now.shards.len()).map(|shard| {
            let lines = LINES.iter().map(|(name, line)| {
                let name = name.replace(['/', ' '], "_").replace('%', "percent");
                (
                    name,
                    self.value(shard, line)
                        .map_or(Value::Null, |value| json!((value * 100.0).round() / 100.0)),
                )
            });
            Value::Object(
                std::iter::once(("shard".to_owned(), json!(shard)))
                    .chain(lines)
                    .collect::<Map<_, _>>(),
            )
        });
        let hot = ["reads", "writes", "bytes"].into_iter().flat_map(|by| self.hot(by));
        let hot =
            hot.map(|hot| json!({"by": hot.by, "partition": hot.partition, "shard": hot.shard, "amount": hot.amount}));
        json!({"shards": shards.collect::<Vec<_>>(), "hot": hot.collect::<Vec<_>>()})
    }
}
