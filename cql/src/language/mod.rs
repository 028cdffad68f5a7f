//! The language: text to syntax, syntax and schema to checked statements, values to what they read and write.
//!
//! 1. [`syntax`] reads a text.
//! 2. [`prepare`] checks it against a [`Catalog`]: names and types are right from here on.
//! 3. [`Select::bind`] and [`Modification::bind`] evaluate it with the values of one execution: keys, slices, filters, mutations.
//!    Whoever executes it has the rows; [`RowView`] shows them to what is selected.
//! 4. [`ddl`] says what a change of definitions comes to.
//!
//! Rules and messages are those of Cassandra 5.0; modules name its sources.

mod catalog;
mod columns;
mod condition;
pub mod ddl;
mod error;
mod expr;
mod filter;
pub mod functions;
mod literal;
mod modify;
mod paging;
mod restrict;
mod rows;
mod select;
mod selection;
mod statement;
pub mod syntax;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod time;
pub mod types;
mod values;

pub use catalog::Catalog;
pub use columns::{ColumnRef, Place, all as all_columns, find as find_column};
pub use condition::Conditions;
pub use error::{Error, Result};
pub use expr::{Expr, Marker};
pub use modify::{Modification, Present, Unread, Write, timestamp_of as timestamp};
pub use paging::PagingState;
pub use restrict::{Partitions, TokenRange};
pub use rows::{Cells, RowView};
pub use select::{Query, Select};
pub use selection::{ResultColumn, Selected};
pub use statement::{Batch, Prepared, Statement, check_batch, prepare};
pub use values::{Environment, Evaluated, Execution};
