//! `scrollback demo`: load, kill, recover, check.
//!
//! 1. The parent starts its own program again as a worker, which opens the store and runs clients on it: each sends,
//!    edits, deletes and scrolls, one operation after the other, drawn from a seed ([`load`](scrollback_server::load)).
//! 2. The worker writes a line into a pipe for each operation that was acknowledged, before it begins the client's next.
//! 3. Midway the parent kills the worker with SIGKILL and starts it again on the same store; at the end it is killed again.
//! 4. The parent draws the same operations from the same seeds, takes the acknowledgements from the pipe, and so knows what
//!    must be there, and which single operation of each client may have happened or not.
//! 5. It opens the store itself and compares every message.

mod figures;
mod parent;
mod worker;

pub use parent::run;
pub use worker::run as run_worker;
