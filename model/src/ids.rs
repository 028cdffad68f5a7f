//! The numbers that stand for tables and columns in stored bytes.

/// Names a table for ever: never reused, not even after the table is dropped.
///
/// [`Schema`](crate::Schema) has its table's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TableId(pub u32);

/// Names a column within its table for ever: never reused, so that old rows cannot be misread after a column was
/// dropped and another added.
///
/// [`Schema::column`](crate::Schema::column) finds a column's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ColumnId(pub u32);

impl ColumnId {
    /// Ids from here on are no columns of a table: under them a row keeps the bytes that a clustering value was written with,
    /// where the key shows another form of the same value (`docs/semantics/clustering-order.md`).
    pub const KEY_FORMS: ColumnId = ColumnId(1 << 31);

    /// Where the form of a table's clustering value is kept, the first being 0.
    #[must_use]
    pub const fn key_form(of: u16) -> ColumnId {
        ColumnId(Self::KEY_FORMS.0 + of as u32)
    }

    /// Whether it keeps the form of a clustering value: it makes no row exist.
    #[must_use]
    pub const fn is_key_form(self) -> bool {
        self.0 >= Self::KEY_FORMS.0
    }
}
