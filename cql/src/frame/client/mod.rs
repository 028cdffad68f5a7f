//! The other side: writes requests and reads answers, for tests and for tools that measure a server.

mod answer;
mod send;

pub use super::{Consistency, Error, Events, Result, Value};
pub use answer::{Answer, Before, Cells, Message, PreparedAnswer, Rows, RowsIter};
pub use send::{BatchParameters, Parameters, Send, Values};
