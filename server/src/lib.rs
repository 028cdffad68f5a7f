//! What the `scrollback` binary shares with the checks that watch it from outside: the load of the demo's worker, what must
//! be in the store after it, and the pipe in between.

pub mod load;
pub mod pipe;
pub mod protocol;
