//! Strategies at work on a model of a table: [weeks] of load, and [properties] of all files and options.

mod model;
mod properties;
mod weeks;
