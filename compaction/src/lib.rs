//! Compaction strategies of Scrollback: which files to merge next, as pure functions.
//!
//! Of them there are the [`Options`] of a table.

mod options;

pub use options::{
    OptionError, Options, OverlappingTombstones, SIZE_TIERED, Strategy, TIME_TIERED, TIME_WINDOW, Tiers, TimeTiered,
    TimeWindow, TombstoneOptions,
};
