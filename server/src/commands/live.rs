//! The figures of a store that runs in another process, read from its socket.

use crate::failure::{Done, Failure};
use engine::{Config, read_statistics};
use std::collections::BTreeMap;

/// Buckets of a histogram: how many took at most so many seconds.
type Buckets = Vec<(f64, f64)>;

/// A partition that a shard works much for.
pub struct Hot {
    pub shard: usize,
    pub by: String,
    pub partition: String,
    pub amount: f64,
}

/// What the store told.
#[derive(Default)]
pub struct Live {
    /// Names of the figures, in the order in which they were told.
    pub names: Vec<String>,
    /// Their values, shard by shard.
    pub shards: Vec<BTreeMap<String, f64>>,
    times: Vec<BTreeMap<String, Buckets>>,
    pub hot: Vec<Hot>,
}

impl Live {
    /// Asks the store of `config`; `None`: it does not run.
    pub fn ask(config: &Config) -> Done<Option<Live>> {
        let text = read_statistics(&config.dir)?;
        text.map(|text| Live::parse(&text)).transpose()
    }

    /// Reads what a store of this version tells.
    fn parse(text: &str) -> Done<Live> {
        let mut live = Live::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let odd = || {
                Failure::new(format_args!(
                    "the store tells {line:?}, which this version does not understand"
                ))
            };
            live.take(line).ok_or_else(odd)?;
        }
        Ok(live)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (name, rest) = line.strip_prefix("scrollback_")?.split_once('{')?;
        let (labels, value) = rest.rsplit_once("} ")?;
        let value: f64 = value.parse().ok()?;
        let label = |name: &str| {
            let (_, after) = labels.split_once(&format!("{name}=\""))?;
            Some(after.split_once('"')?.0)
        };
        let shard: usize = label("shard")?.parse().ok().filter(|shard| *shard < 1 << 16)?;
        if self.shards.len() <= shard {
            self.shards.resize_with(shard + 1, BTreeMap::new);
            self.times.resize_with(shard + 1, BTreeMap::new);
        }
        if name == "hot_partition" {
            let partition = partition(label("table")?, label("key")?);
            let by = label("by")?.to_owned();
            self.hot.push(Hot {
                shard,
                by,
                partition,
                amount: value,
            });
        } else if let Some(of) = name.strip_suffix("_seconds_bucket") {
            let bound = label("le")?.parse().ok()?;
            self.times[shard].entry(of.to_owned()).or_default().push((bound, value));
        } else if !name.ends_with("_seconds_sum") && !name.ends_with("_seconds_count") {
            let name = name.strip_suffix("_total").unwrap_or(name);
            let (name, value) = match name.strip_suffix("_seconds") {
                Some(name) => (format!("{name}_us"), (value * 1e6).round()),
                None => (name.to_owned(), value),
            };
            if !self.names.contains(&name) {
                self.names.push(name.clone());
            }
            self.shards[shard].insert(name, value);
        }
        Some(())
    }

    /// A figure of a shard.
    pub fn figure(&self, shard: usize, name: &str) -> f64 {
        self.shards
            .get(shard)
            .and_then(|of| of.get(name))
            .copied()
            .unwrap_or(0.0)
    }

    /// The time in microseconds that `part` of what a shard did since `before` stayed below; `None`: it did nothing.
    pub fn below_us(&self, before: &Live, shard: usize, name: &str, part: f64) -> Option<f64> {
        let now = self.times.get(shard)?.get(name)?;
        let before = before.times.get(shard).and_then(|of| of.get(name));
        let since = |at: usize| {
            now[at].1
                - before
                    .and_then(|before| before.get(at))
                    .map_or(0.0, |(_, count)| *count)
        };
        let all = since(now.len() - 1);
        let bucket = (0..now.len()).find(|at| since(*at) >= all * part)?;
        // What is longer than the last bound is told as that.
        let bound = if now[bucket].0.is_finite() {
            now[bucket].0
        } else {
            now.get(bucket.checked_sub(1)?)?.0
        };
        (all > 0.0).then_some(bound * 1e6)
    }
}

/// A partition for people: of messages, its channel and its bucket.
pub fn partition(table: &str, key: &str) -> String {
    let digits = key.strip_prefix("0x").unwrap_or(key);
    let number = |at: std::ops::Range<usize>| i64::from_str_radix(digits.get(at)?, 16).ok();
    match (table, digits.len(), number(4..20), number(26..34)) {
        ("messages.messages", 36, Some(channel), Some(bucket)) => format!("channel {channel} bucket {bucket}"),
        _ => format!("{table} {key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "# HELP scrollback_writes_total x\n# TYPE scrollback_writes_total counter\n\
        scrollback_writes_total{shard=\"0\"} 5\nscrollback_writes_total{shard=\"1\"} 7\nscrollback_stall_max_seconds{shard=\"1\"} 0.000250\n\
        scrollback_read_seconds_bucket{shard=\"1\",le=\"0.000001\"} 0\nscrollback_read_seconds_bucket{shard=\"1\",le=\"0.000002\"} 9\n\
        scrollback_read_seconds_bucket{shard=\"1\",le=\"+Inf\"} 10\nscrollback_read_seconds_sum{shard=\"1\"} 1\n\
        scrollback_read_seconds_count{shard=\"1\"} 10\n\
        scrollback_hot_partition{shard=\"1\",by=\"reads\",table=\"messages.messages\",key=\"0x00080000000000000007000004000196e000\"} 32\n\
        scrollback_hot_partition{shard=\"1\",by=\"bytes\",table=\"chat.m\",key=\"0x07\"} 32\n";

    #[test]
    fn reads_what_a_store_tells() {
        let live = Live::parse(TOLD).expect("read");
        assert_eq!((live.figure(0, "writes"), live.figure(1, "writes")), (5.0, 7.0));
        assert_eq!((live.figure(1, "stall_max_us"), live.figure(7, "writes")), (250.0, 0.0));
        assert_eq!(live.names, ["writes", "stall_max_us"]);
        let hot: Vec<_> = live.hot.iter().map(|hot| hot.partition.as_str()).collect();
        assert_eq!(hot, ["channel 7 bucket 104160", "chat.m 0x07"]);
        let below = |part| live.below_us(&Live::default(), 1, "read", part).map(f64::round);
        assert_eq!((below(0.5), below(0.99)), (Some(2.0), Some(2.0)));
        assert_eq!(live.below_us(&live, 1, "read", 0.5), None, "nothing was read since");
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for line in [
            "x",
            "scrollback_writes_total 5",
            "scrollback_writes_total{shard=\"x\"} 5",
            "scrollback_writes_total{shard=\"99999999\"} 5",
            "scrollback_writes_total{shard=\"0\"} many",
            "scrollback_read_seconds_bucket{shard=\"0\",le=\"x\"} 1",
        ] {
            assert!(Live::parse(line).is_err(), "{line}");
        }
    }
}
