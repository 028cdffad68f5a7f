//! The demo's live figures on standard error.

use runtime::time::Instant;
use scrollback_server::load::Op;
use std::{io::IsTerminal, time::Duration};

const EVERY: Duration = Duration::from_secs(1);

/// What has happened so far.
pub struct Figures {
    started: Instant,
    told: Instant,
    told_writes: u64,
    sends: u64,
    edits: u64,
    deletes: u64,
    pages: u64,
    terminal: bool,
}

impl Figures {
    pub fn new() -> Figures {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Figures {
            started: now,
            told: now,
            told_writes: 0,
            sends: 0,
            edits: 0,
            deletes: 0,
            pages: 0,
            terminal,
        }
    }

    /// Counts an acknowledged operation.
    pub fn count(&mut self, op: Op) {
        match op {
            Op::Send { .. } => self.sends += 1,
            Op::Edit { .. } => self.edits += 1,
            Op::Delete { .. } => self.deletes += 1,
            Op::Scroll { .. } => self.pages += 1,
        }
    }

    /// Tells the figures, once a second.
    pub fn tell(&mut self) {
        if self.told.elapsed() < EVERY {
            return;
        }
        let writes = self.sends + self.edits + self.deletes;
        let per_s = (writes - self.told_writes) as f64 / self.told.elapsed().as_secs_f64();
        let line = format!(
            "{:6.1} s  {:9} sent  {:7} edited  {:7} deleted  {:8} pages read  {:8.0} durable writes/s",
            self.started.elapsed().as_secs_f64(),
            self.sends,
            self.edits,
            self.deletes,
            self.pages,
            per_s
        );
        if self.terminal {
            eprint!("\r{line}");
        } else {
            eprintln!("{line}");
        }
        (self.told, self.told_writes) = (Instant::now(), writes);
    }

    /// A sentence between the figures.
    pub fn say(&self, sentence: impl std::fmt::Display) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
        eprintln!("{:6.1} s  {sentence}", self.started.elapsed().as_secs_f64());
    }
}
