//! A load of sends, edits, deletes and pages whose acknowledgements are recorded outside the process that serves it.
//!
//! 1. The worker process runs clients on a store: each does one operation after the other, drawn from a seed ([`Client`]).
//! 2. It writes a line into a pipe for each operation that was acknowledged, before it begins the client's next:
//!
//!    | line | meaning |
//!    |---|---|
//!    | `ready` | the store is open, and recovered if it had to be |
//!    | `s CLIENT ID` | the client's send was acknowledged with this id |
//!    | `c CLIENT` | its edit or delete was |
//!    | `p CLIENT` | its page was read |
//!
//! 3. Whoever reads the pipe draws the same operations from the same seed ([`Run`]), and so knows what must be in the
//!    store, and which single operation of each client may have happened or not when the worker was killed ([`Expected`]).

mod client;
mod expected;
mod line;

pub use client::{CHANNELS, Client, Op, author_name, channel_name, content_of};
pub use expected::{Expected, Run, Verdict};
pub use line::Told;
