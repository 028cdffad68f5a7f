//! The figures of one run.

use super::workload::Phase;
use crate::{
    cli::{Sync, Workload},
    failure::Done,
    output::{Format, Output},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What a workload gives.
#[derive(Serialize)]
pub struct Figures(Map<String, Value>);

impl Figures {
    /// The figures that all workloads have, in the documented order. `per_op` is how many messages or pages one timed
    /// operation has.
    pub fn new(workload: &str, args: &Workload, counted: (&str, u64), phase: &Phase, shards: u16) -> Figures {
        let count = counted.1;
        let mut figures = Figures::bare(workload, args, counted, shards);
        figures.put("per_s", round(count as f64 / phase.wall.as_secs_f64()));
        figures.put("cpu_us", round(phase.cpu.as_secs_f64() * 1e6 / count as f64));
        let us = |ns: u64| round(ns as f64 / 1000.0);
        figures.put("p50_us", us(phase.latency_ns.value_at_quantile(0.5)));
        figures.put("p99_us", us(phase.latency_ns.value_at_quantile(0.99)));
        figures.put("p999_us", us(phase.latency_ns.value_at_quantile(0.999)));
        figures.put("max_us", us(phase.latency_ns.max()));
        figures
    }

    /// What the workload was.
    pub fn bare(workload: &str, args: &Workload, counted: (&str, u64), shards: u16) -> Figures {
        let (what, count) = counted;
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| drop(map.insert(name.to_owned(), value));
        put("workload", json!(workload));
        put(
            "sync",
            json!(if args.sync == Sync::Group { "group" } else { "periodic" }),
        );
        put("shards", json!(shards));
        put("writers", json!(args.writers));
        put(what, json!(count));
        Figures(map)
    }

    /// Of a workload that has settings of its own.
    pub fn named(workload: &str, shards: u16) -> Figures {
        let mut figures = Figures(Map::new());
        figures.put("workload", workload);
        figures.put("shards", shards);
        figures
    }

    /// One more.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Tells them: the last line is one object.
    pub fn tell(&self, format: Format) -> Done {
        let mut output = Output::new();
        match format {
            Format::Jsonl => output.object(&self.0)?,
            Format::Table => {
                let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let rows: Vec<_> = self
                    .0
                    .iter()
                    .map(|(name, value)| vec![name.clone(), text(value)])
                    .collect();
                output.table(&["figure", "value"], &rows)?;
            }
        }
        output.flush()
    }
}

/// Two decimals are enough.
pub fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
