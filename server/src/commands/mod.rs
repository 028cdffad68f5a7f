//! The commands over a store, one file each.

pub mod change;
pub mod channels;
pub mod check;
mod fragment;
pub mod history;
mod live;
pub mod operate;
pub mod serve;
pub mod snapshot;
pub mod sstable;
pub mod stats;
pub mod top;
pub mod window;
