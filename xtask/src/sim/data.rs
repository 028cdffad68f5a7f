//! What the simulated clients write and read, in terms of their own: tables, keys, changes, reads.
//!
//! Nothing of the engine is used here, above all not its order of keys and not its merge rule: the oracle that judges the
//! engine must not share its mistakes. An adapter turns these into what the engine takes.

use std::cmp::Ordering;
use std::fmt;

/// Types of keys and of collection elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ty {
    BigInt,
    Int,
    Text,
    TimeUuid,
}

/// A value of a key or of a collection element.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Val {
    Big(i64),
    Int(i32),
    /// Sorts by its bytes, as CQL's text does.
    Text(String),
    /// Only ever a list element's name; its order is not asked for.
    TimeUuid([u8; 16]),
}

impl Val {
    /// The value as CQL writes it.
    pub(crate) fn cql(&self) -> Vec<u8> {
        match self {
            Val::Big(v) => v.to_be_bytes().to_vec(),
            Val::Int(v) => v.to_be_bytes().to_vec(),
            Val::Text(v) => v.as_bytes().to_vec(),
            Val::TimeUuid(v) => v.to_vec(),
        }
    }

    /// The value that CQL writes as `bytes`, if they are one.
    pub(crate) fn from_cql(ty: Ty, bytes: &[u8]) -> Option<Val> {
        Some(match ty {
            Ty::BigInt => Val::Big(i64::from_be_bytes(bytes.try_into().ok()?)),
            Ty::Int => Val::Int(i32::from_be_bytes(bytes.try_into().ok()?)),
            Ty::Text => Val::Text(String::from_utf8(bytes.to_vec()).ok()?),
            Ty::TimeUuid => Val::TimeUuid(bytes.try_into().ok()?),
        })
    }
}

impl fmt::Debug for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Val::Big(v) => write!(f, "{v}"),
            Val::Int(v) => write!(f, "{v}"),
            Val::Text(v) => write!(f, "{v:?}"),
            Val::TimeUuid(v) => write!(f, "{:032x}", u128::from_be_bytes(*v)),
        }
    }
}

/// One component of a clustering key, which sorts as its column says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub val: Val,
    pub descending: bool,
}

impl Ord for Part {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = self.val.cmp(&other.val);
        if self.descending { order.reverse() } else { order }
    }
}

impl PartialOrd for Part {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.val.fmt(f)
    }
}

/// A clustering key, or the first components of one; sorts in clustering order.
pub(crate) type Key = Vec<Part>;

/// A place between keys: before or after all keys that begin with `prefix`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Edge {
    pub prefix: Key,
    pub after: bool,
}

impl Edge {
    pub(crate) const START: Edge = Edge {
        prefix: Vec::new(),
        after: false,
    };
    pub(crate) const END: Edge = Edge {
        prefix: Vec::new(),
        after: true,
    };

    /// Whether `key` comes after this place.
    pub(crate) fn is_before(&self, key: &[Part]) -> bool {
        match key[..self.prefix.len()].cmp(&self.prefix) {
            Ordering::Less => false,
            Ordering::Equal => !self.after,
            Ordering::Greater => true,
        }
    }
}

impl Ord for Edge {
    fn cmp(&self, other: &Self) -> Ordering {
        let side = |edge: &Edge| if edge.after { Ordering::Greater } else { Ordering::Less };
        let common = self.prefix.len().min(other.prefix.len());
        self.prefix[..common].cmp(&other.prefix[..common]).then_with(|| {
            match self.prefix.len().cmp(&other.prefix.len()) {
                Ordering::Less => side(self),
                Ordering::Equal => self.after.cmp(&other.after),
                Ordering::Greater => side(other).reverse(),
            }
        })
    }
}

impl PartialOrd for Edge {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The rows from one place to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub from: Edge,
    pub to: Edge,
}

impl Span {
    pub(crate) const ALL: Span = Span {
        from: Edge::START,
        to: Edge::END,
    };

    pub(crate) fn contains(&self, key: &[Part]) -> bool {
        self.from.is_before(key) && !self.to.is_before(key)
    }
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    BigInt,
    Text,
    Blob,
    SetOfText,
    MapOfTextToBigInt,
    ListOfText,
}

impl Shape {
    /// Type of the names of its elements; `None` if it holds one value.
    pub(crate) fn element(self) -> Option<Ty> {
        match self {
            Shape::BigInt | Shape::Text | Shape::Blob => None,
            Shape::SetOfText | Shape::MapOfTextToBigInt => Some(Ty::Text),
            Shape::ListOfText => Some(Ty::TimeUuid),
        }
    }
}

/// A table that the simulated clients use.
#[derive(Debug)]
pub(crate) struct Table {
    pub name: &'static str,
    pub partition_key: &'static [Ty],
    /// Type and whether descending.
    pub clustering: &'static [(Ty, bool)],
    pub statics: &'static [Shape],
    pub regulars: &'static [Shape],
    /// Columns that may be added, their names after those that it has from the beginning.
    pub more_statics: &'static [Shape],
    pub more_regulars: &'static [Shape],
}

impl Table {
    /// What a column holds that is added for the first time, or was there from the beginning.
    pub(crate) fn shape(&self, is_static: bool, name: Name) -> Shape {
        let (shapes, more) = if is_static {
            (self.statics, self.more_statics)
        } else {
            (self.regulars, self.more_regulars)
        };
        shapes
            .iter()
            .chain(more)
            .copied()
            .nth(name)
            .expect("a name of a column")
    }
}

/// The tables: one as `messages` makes it; one with all that rows can have; one without clustering columns.
pub(crate) const TABLES: [Table; 3] = [
    Table {
        name: "messages",
        partition_key: &[Ty::BigInt, Ty::Int],
        clustering: &[(Ty::BigInt, true)],
        statics: &[],
        regulars: &[Shape::BigInt, Shape::Text, Shape::Blob],
        more_statics: &[Shape::Text],
        more_regulars: &[Shape::SetOfText],
    },
    Table {
        name: "wiki",
        partition_key: &[Ty::Text],
        clustering: &[(Ty::Int, false), (Ty::Text, true)],
        statics: &[Shape::Text, Shape::MapOfTextToBigInt],
        regulars: &[
            Shape::Text,
            Shape::SetOfText,
            Shape::MapOfTextToBigInt,
            Shape::ListOfText,
        ],
        more_statics: &[Shape::SetOfText],
        more_regulars: &[Shape::BigInt],
    },
    Table {
        name: "settings",
        partition_key: &[Ty::BigInt],
        clustering: &[],
        statics: &[],
        regulars: &[Shape::Text, Shape::SetOfText],
        more_statics: &[],
        more_regulars: &[Shape::Text],
    },
];

/// Name of a column: its place among the names of its table's statics or regulars.
pub(crate) type Name = usize;

/// Column of a row: its place among all statics or all regulars that its table ever had. The columns that it has from the beginning
/// have the places of their names.
pub(crate) type Column = usize;

/// One partition that the clients write and read.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct PartitionKey {
    /// Place in [`TABLES`].
    pub table: usize,
    pub key: Vec<Val>,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", TABLES[self.table].name, self.key)
    }
}

/// Place of a partition among those of the run.
pub(crate) type PartitionIndex = usize;

/// What a change says of one cell, or of a whole collection.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum CellEdit {
    /// CQL bytes; a set's elements have none.
    Put {
        column: Column,
        element: Option<Val>,
        timestamp: i64,
        value: Vec<u8>,
        /// The second at which it is no more there.
        ends: Option<u32>,
    },
    Delete {
        column: Column,
        element: Option<Val>,
        timestamp: i64,
    },
    DeleteCollection {
        column: Column,
        timestamp: i64,
    },
}

impl CellEdit {
    /// What it speaks of: by name as it is drawn, by column as it is sent.
    pub(crate) fn column(&self) -> Column {
        match self {
            CellEdit::Put { column, .. }
            | CellEdit::Delete { column, .. }
            | CellEdit::DeleteCollection { column, .. } => *column,
        }
    }

    pub(crate) fn column_mut(&mut self) -> &mut Column {
        match self {
            CellEdit::Put { column, .. }
            | CellEdit::Delete { column, .. }
            | CellEdit::DeleteCollection { column, .. } => column,
        }
    }
}

impl fmt::Debug for CellEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = |element: &Option<Val>| element.as_ref().map_or_else(String::new, |e| format!("[{e:?}]"));
        match self {
            CellEdit::Put {
                column,
                element: e,
                timestamp,
                value,
                ends,
            } => {
                write!(f, "c{column}{}={}@{timestamp}", element(e), short(value))?;
                ends.map_or(Ok(()), |second| write!(f, " until {second}"))
            }
            CellEdit::Delete {
                column,
                element: e,
                timestamp,
            } => write!(f, "del c{column}{}@{timestamp}", element(e)),
            CellEdit::DeleteCollection { column, timestamp } => write!(f, "del c{column}[*]@{timestamp}"),
        }
    }
}

/// Bytes as a report shows them: whole if short.
pub(crate) fn short(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= 24 && text.chars().all(|c| !c.is_control()) => format!("{text:?}"),
        _ if bytes.len() <= 8 => format!("0x{}", bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        _ => format!("<{} bytes, sum {:08x}>", bytes.len(), fnv(bytes)),
    }
}

fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// The end that a write names which is to stay, whatever the table's default is (a TTL of 0).
pub(crate) const NEVER: u32 = u32::MAX;

/// What a change says of one row.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct RowEdit {
    /// An insert says that the row exists; an update does not.
    pub inserted: Option<i64>,
    /// The second at which what is written ends, the insert and the cells. As it is drawn: what the write names.
    pub ends: Option<u32>,
    pub deleted: Option<i64>,
    pub cells: Vec<CellEdit>,
}

/// One mutation: a change of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    /// Unique in the run; also when it is sent again, it is the same change.
    pub id: u32,
    pub partition: PartitionIndex,
    /// The second at which it is made, by the client's clock: from then on deletions have their grace.
    pub at_s: u32,
    pub deleted: Option<i64>,
    pub statics: Option<RowEdit>,
    /// Each key once.
    pub rows: Vec<(Key, RowEdit)>,
    pub ranges: Vec<(Span, i64)>,
}

/// A live cell, as a reader sees it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CellView {
    pub column: Column,
    pub element: Option<Val>,
    pub timestamp: i64,
    pub value: Vec<u8>,
}

impl fmt::Debug for CellView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let element = self.element.as_ref().map_or_else(String::new, |e| format!("[{e:?}]"));
        write!(f, "c{}{element}={}@{}", self.column, short(&self.value), self.timestamp)
    }
}

/// A live row, as a reader sees it; cells by column, then element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct RowView {
    pub key: Key,
    /// Timestamp of the insert that it exists by; `None` if only its cells keep it.
    pub inserted: Option<i64>,
    pub cells: Vec<CellView>,
}

/// A read of one page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    pub partition: PartitionIndex,
    pub span: Span,
    pub reverse: bool,
    pub limit_rows: usize,
    pub limit_bytes: usize,
}

/// What a read gave back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PageView<Rest> {
    pub statics: Option<RowView>,
    pub rows: Vec<RowView>,
    /// Where the next page begins; `None` if this one ends the span.
    pub more: Option<Rest>,
    /// The key behind which it begins, if that is not the last row's.
    pub cut_at: Option<Key>,
}

impl<Rest> PageView<Rest> {
    /// The key behind which the next page begins, if there is one.
    pub(crate) fn end(&self) -> Option<&Key> {
        self.cut_at.as_ref().or_else(|| Some(&self.rows.last()?.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(vals: &[(i32, &str)]) -> Vec<Key> {
        let part = |val, descending| Part { val, descending };
        vals.iter()
            .map(|(a, b)| vec![part(Val::Int(*a), false), part(Val::Text((*b).to_owned()), true)])
            .collect()
    }

    #[test]
    fn spans_follow_the_order_of_their_columns() {
        // int ascending, text descending
        let keys = key(&[(1, "b"), (1, "a"), (1, ""), (2, "z"), (2, "y")]);
        assert!(keys.is_sorted());
        let span = |from: Edge, to: Edge| {
            let span = Span { from, to };
            keys.iter()
                .map(|key| if span.contains(key) { '1' } else { '.' })
                .collect::<String>()
        };
        let edge = |prefix: &[Part], after| Edge {
            prefix: prefix.to_vec(),
            after,
        };
        assert_eq!(span(Edge::START, Edge::END), "11111");
        assert_eq!(span(edge(&keys[0][..1], false), edge(&keys[0][..1], true)), "111..");
        assert_eq!(span(edge(&keys[0][..1], true), Edge::END), "...11");
        assert_eq!(span(edge(&keys[1], false), edge(&keys[3], false)), ".11..");
        assert_eq!(span(edge(&keys[1], true), edge(&keys[3], true)), "..11.");
    }

    #[test]
    fn edges_sort_as_the_keys_between_them_do() {
        let keys = key(&[(1, "b"), (1, "a"), (2, "z")]);
        let edge = |prefix: &[Part], after| Edge {
            prefix: prefix.to_vec(),
            after,
        };
        let sorted = [
            Edge::START,
            edge(&keys[0][..1], false),
            edge(&keys[0], false),
            edge(&keys[0], true),
            edge(&keys[1], false),
            edge(&keys[0][..1], true),
            edge(&keys[2][..1], false),
            edge(&keys[2], true),
            edge(&keys[2][..1], true),
            Edge::END,
        ];
        assert!(sorted.is_sorted() && sorted.windows(2).all(|pair| pair[0] < pair[1]));
        for (a, one) in sorted.iter().enumerate() {
            for (b, other) in sorted.iter().enumerate() {
                assert_eq!(one.cmp(other), a.cmp(&b), "{one:?} against {other:?}");
            }
        }
    }
}
