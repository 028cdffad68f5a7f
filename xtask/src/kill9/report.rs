//! What all rounds together have met.

use scrollback_server::load;
use serde_json::{Value, json};

use super::judge;

/// One kill.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    /// SIGKILL ended the process, after it had acknowledged something and before it had done all.
    pub midway: bool,
    /// Sstables that the manifest named at that moment and not before the process began.
    pub flushes: u64,
}

/// Rounds counted.
#[derive(Default)]
pub(crate) struct Rounds {
    pub all: u64,
    midway: u64,
    after_flush: u64,
    pub midway_after_flush: u64,
    flushes: u64,
}

impl Rounds {
    pub(crate) fn add(&mut self, round: Round) {
        let after_flush = round.flushes > 0;
        self.all += 1;
        self.midway += u64::from(round.midway);
        self.after_flush += u64::from(after_flush);
        self.midway_after_flush += u64::from(round.midway && after_flush);
        self.flushes += round.flushes;
    }

    /// Whether so many died midway and after a flush that the rounds show something: four fifths.
    pub(crate) fn are_enough(&self) -> bool {
        self.midway_after_flush * 5 >= self.all * 4
    }
}

/// What was met.
#[derive(Default)]
pub(crate) struct Report {
    pub rounds: Rounds,
    /// Processes killed while they recovered what another kill had left, beside the rounds.
    pub killed_in_recovery: u64,
    /// Lines, sends, edits and deletes.
    pub acknowledged: u64,
    found: Found,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Found {
    lost: u64,
    duplicated: u64,
    revived: u64,
    unexpected: u64,
}

impl From<judge::Verdict> for Found {
    fn from(verdict: judge::Verdict) -> Self {
        Self {
            lost: verdict.lost,
            duplicated: verdict.duplicated,
            revived: verdict.revived,
            unexpected: verdict.unexpected,
        }
    }
}

impl From<load::Verdict> for Found {
    fn from(verdict: load::Verdict) -> Self {
        Self {
            lost: verdict.missing,
            duplicated: verdict.duplicated,
            revived: verdict.revived,
            unexpected: verdict.unexpected,
        }
    }
}

impl Report {
    /// Counts what a comparison has found.
    ///
    /// # Errors
    /// If that is anything: one sentence about `which` comparison.
    pub(crate) fn blame(&mut self, found: impl Into<Found>, which: impl FnOnce() -> String) -> Result<(), String> {
        let found = found.into();
        let Found {
            lost,
            duplicated,
            revived,
            unexpected,
        } = found;
        self.found.lost += lost;
        self.found.duplicated += duplicated;
        self.found.revived += revived;
        self.found.unexpected += unexpected;
        if found == Found::default() {
            return Ok(());
        }
        Err(format!(
            "{}: {lost} lost, {duplicated} duplicated, {revived} revived, {unexpected} unexpected",
            which()
        ))
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "rounds": self.rounds.all,
            "midway": self.rounds.midway,
            "after_flush": self.rounds.after_flush,
            "midway_after_flush": self.rounds.midway_after_flush,
            "flushes": self.rounds.flushes,
            "killed_in_recovery": self.killed_in_recovery,
            "acknowledged": self.acknowledged,
            "lost": self.found.lost,
            "duplicated": self.found.duplicated,
            "revived": self.found.revived,
            "unexpected": self.found.unexpected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_must_die_midway_and_after_a_flush() {
        let mut rounds = Rounds::default();
        let good = Round {
            midway: true,
            flushes: 3,
        };
        for _ in 0..4 {
            rounds.add(good);
        }
        rounds.add(Round { flushes: 0, ..good });
        assert!(rounds.are_enough());
        rounds.add(Round { midway: false, ..good });
        assert_eq!(
            (rounds.midway, rounds.after_flush, rounds.midway_after_flush),
            (5, 5, 4)
        );
        assert!(!rounds.are_enough());
    }

    #[test]
    fn whatever_a_comparison_finds_is_reported() {
        let mut report = Report::default();
        assert!(report.blame(judge::Verdict::default(), String::new).is_ok());
        assert!(report.blame(load::Verdict::default(), String::new).is_ok());
        for found in 0..4 {
            let one = |nth| u64::from(nth == found);
            let (lost, duplicated, revived, unexpected) = (one(0), one(1), one(2), one(3));
            let of_import = judge::Verdict {
                present: 9,
                lost,
                duplicated,
                revived,
                unexpected,
            };
            let of_mixed = load::Verdict {
                missing: lost,
                duplicated,
                revived,
                unexpected,
            };
            let said = report.blame(of_import, || "import 1".to_owned());
            assert!(said.is_err_and(|said| said.starts_with("import 1: ")));
            assert!(report.blame(of_mixed, String::new).is_err());
        }
        let json = report.json();
        for name in ["lost", "duplicated", "revived", "unexpected"] {
            assert_eq!(json[name], 2, "{name}");
        }
    }
}
