//! Traces of requests that asked for one: what `system_traces` shows.

use std::cell::RefCell;
use std::collections::VecDeque;
use uuid::Uuid;

/// Traces that a shard remembers.
const TRACES_MAX: usize = 256;

/// One step of a traced request.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub id: [u8; 16],
    pub activity: String,
    pub micros_since: i32,
}

/// A traced request.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    pub id: Uuid,
    pub started_micros: i64,
    pub micros: i32,
    pub request: &'static str,
    pub query: String,
    pub steps: Vec<Step>,
}

/// The last traced requests of a shard.
#[derive(Default)]
pub(super) struct Traces {
    all: RefCell<VecDeque<Trace>>,
}

impl Traces {
    pub fn add(&self, trace: Trace) {
        let mut all = self.all.borrow_mut();
        if all.len() >= TRACES_MAX {
            all.pop_front();
        }
        all.push_back(trace);
    }

    pub fn all(&self) -> Vec<Trace> {
        self.all.borrow().iter().cloned().collect()
    }
}
