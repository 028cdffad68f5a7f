//! The numbers that stand for tables and columns in stored bytes.

/// Names a table for ever: never reused, not even after the table is dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TableId(pub u32);

/// Names a column within its table for ever: never reused, so that old rows cannot be misread after a column was
/// dropped and another added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ColumnId(pub u32);
