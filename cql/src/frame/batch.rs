//! `BATCH` (specification, section 4.1.7): the statements first, what they are run with after them.

use super::read::Reader;
use super::{Consistency, Error, Parameters, Result, Values};

/// How a batch is applied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum BatchType {
    /// All of it or nothing, at last.
    Logged = 0,
    /// Without the log.
    Unlogged = 1,
    /// Of counters.
    Counter = 2,
}

/// What a statement of a batch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchStatement<'a> {
    /// A text.
    Query(&'a str),
    /// The id of a prepared one.
    Prepared(&'a [u8]),
}

/// Several statements as one.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// How it is applied.
    pub batch_type: BatchType,
    count: u16,
    statements: &'a [u8],
    /// The consistency level.
    pub consistency: Consistency,
    /// The level of conditional writes, as in [`Parameters`].
    pub serial_consistency: Option<Consistency>,
    /// The timestamp of statements that name none, microseconds; never `i64::MIN`.
    pub timestamp: Option<i64>,
}

impl<'a> Batch<'a> {
    /// Flags that have no meaning in a batch are read and dropped, as Cassandra does. Names for values are refused: they stand before
    /// the flag that announces them.
    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Batch<'a>> {
        let batch_type = match reader.u8("the type of a batch")? {
            0 => BatchType::Logged,
            1 => BatchType::Unlogged,
            2 => BatchType::Counter,
            code => return Err(Error::BatchType(code)),
        };
        let count = reader.u16("the number of statements")?;
        let before = *reader;
        let mut has_values = false;
        for _ in 0..count {
            has_values |= !statement(reader)?.1.is_empty();
        }
        let statements = reader.since(&before);
        let of = reader.rest().get(2).copied().unwrap_or_default();
        if has_values && of & super::values::flags::NAMES != 0 {
            return Err(Error::BatchNames);
        }
        let parameters = Parameters::parse(reader)?;
        Ok(Batch {
            batch_type,
            count,
            statements,
            consistency: parameters.consistency,
            serial_consistency: parameters.serial_consistency,
            timestamp: parameters.timestamp,
        })
    }

    /// How many statements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each statement with its values.
    #[must_use]
    pub fn statements(&self) -> BatchStatements<'a> {
        BatchStatements {
            left: self.count,
            reader: Reader::new(self.statements),
        }
    }
}

/// Walks the statements of a [`Batch`].
#[derive(Clone, Debug)]
pub struct BatchStatements<'a> {
    left: u16,
    reader: Reader<'a>,
}

impl<'a> Iterator for BatchStatements<'a> {
    type Item = (BatchStatement<'a>, Values<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // Does not fail: `parse` has read the same bytes.
        statement(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for BatchStatements<'_> {}

#[inline]
fn statement<'a>(reader: &mut Reader<'a>) -> Result<(BatchStatement<'a>, Values<'a>)> {
    let statement = match reader.u8("the kind of a statement")? {
        0 => BatchStatement::Query(reader.long_string()?),
        1 => BatchStatement::Prepared(reader.short_bytes()?),
        kind => return Err(Error::BatchKind(kind)),
    };
    Ok((statement, Values::parse(reader, false)?))
}
