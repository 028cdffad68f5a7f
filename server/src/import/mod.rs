//! `scrollback import`: chat history from a file of JSON lines.
//!
//! 1. [`check`](check::check): the whole file is read, every line judged; a file out of order of time is read once more, to count its
//!    places within each millisecond.
//! 2. The store is opened or created, and the file is read again and written, many lines in flight, in memory that does
//!    not grow with the file.

mod check;
mod input;
mod line;
mod lines;
mod run;

pub use run::run;
