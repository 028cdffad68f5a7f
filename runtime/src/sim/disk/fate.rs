//! What becomes of a change that was not durable when the power went.

use super::super::Tear;
use super::super::rng::Rng;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Keep,
    Drop,
    Tear,
}

/// How one crash treats the changes it meets.
///
/// With equal odds for every change, a crash over forty of them would never keep all, drop all, or drop exactly one: so a
/// seeded crash first draws its odds.
pub(super) struct Mood {
    tear: Tear,
    /// Of 256: how many unsynced changes are torn, and how many of the others are kept.
    torn: u64,
    kept: u64,
}

impl Mood {
    pub(super) fn new(tear: Tear, rng: &Rng) -> Self {
        let torn = [0, 32, 96, 256][rng.index(4)];
        let kept = [0, 16, 128, 240, 256][rng.index(5)];
        Mood { tear, torn, kept }
    }

    pub(super) fn of_write(&self, doubtful: bool, rng: &Rng) -> Fate {
        if doubtful {
            return [Fate::Keep, Fate::Drop, Fate::Tear][rng.index(3)];
        }
        match self.tear {
            Tear::KeepAll => Fate::Keep,
            Tear::DropAll => Fate::Drop,
            Tear::TornSectors => Fate::Tear,
            Tear::Seeded if rng.below(256) < self.torn => Fate::Tear,
            Tear::Seeded if rng.below(256) < self.kept => Fate::Keep,
            Tear::Seeded => Fate::Drop,
        }
    }

    /// Whether a directory entry survives. Entries do not tear: `TornSectors` keeps each or not, by the seed.
    pub(super) fn keeps_entry(&self, doubtful: bool, rng: &Rng) -> bool {
        match self.tear {
            Tear::KeepAll if !doubtful => true,
            Tear::DropAll if !doubtful => false,
            Tear::Seeded if !doubtful => rng.below(256) < self.kept,
            _ => rng.coin(),
        }
    }
}
