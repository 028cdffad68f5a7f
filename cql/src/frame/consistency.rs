//! Consistency levels and types of writes, which answers name.

/// A consistency level.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum Consistency {
    /// `ANY`.
    Any = 0x0000,
    /// `ONE`.
    One = 0x0001,
    /// `TWO`.
    Two = 0x0002,
    /// `THREE`.
    Three = 0x0003,
    /// `QUORUM`.
    Quorum = 0x0004,
    /// `ALL`.
    All = 0x0005,
    /// `LOCAL_QUORUM`.
    LocalQuorum = 0x0006,
    /// `EACH_QUORUM`.
    EachQuorum = 0x0007,
    /// `SERIAL`.
    Serial = 0x0008,
    /// `LOCAL_SERIAL`.
    LocalSerial = 0x0009,
    /// `LOCAL_ONE`.
    LocalOne = 0x000a,
}

impl Consistency {
    /// All of them, by their codes.
    pub const ALL: [Consistency; 11] = [
        Consistency::Any,
        Consistency::One,
        Consistency::Two,
        Consistency::Three,
        Consistency::Quorum,
        Consistency::All,
        Consistency::LocalQuorum,
        Consistency::EachQuorum,
        Consistency::Serial,
        Consistency::LocalSerial,
        Consistency::LocalOne,
    ];

    /// The level of this code.
    #[must_use]
    #[inline]
    pub fn from_code(code: u16) -> Option<Consistency> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its code.
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }

    /// Whether it is one of the two of conditional writes.
    #[must_use]
    pub fn is_serial(self) -> bool {
        matches!(self, Consistency::Serial | Consistency::LocalSerial)
    }

    /// As CQL has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Consistency::Any => "ANY",
            Consistency::One => "ONE",
            Consistency::Two => "TWO",
            Consistency::Three => "THREE",
            Consistency::Quorum => "QUORUM",
            Consistency::All => "ALL",
            Consistency::LocalQuorum => "LOCAL_QUORUM",
            Consistency::EachQuorum => "EACH_QUORUM",
            Consistency::Serial => "SERIAL",
            Consistency::LocalSerial => "LOCAL_SERIAL",
            Consistency::LocalOne => "LOCAL_ONE",
        }
    }
}

/// What kind of write failed. Drivers know these names and no others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WriteType {
    /// One statement.
    Simple,
    /// A logged batch that is in the batch log.
    Batch,
    /// An unlogged batch.
    UnloggedBatch,
    /// A counter.
    Counter,
    /// A logged batch that is not in the batch log.
    BatchLog,
    /// A conditional write.
    Cas,
    /// A materialized view.
    View,
    /// Change data capture.
    Cdc,
}

impl WriteType {
    /// All of them.
    pub const ALL: [WriteType; 8] = [
        WriteType::Simple,
        WriteType::Batch,
        WriteType::UnloggedBatch,
        WriteType::Counter,
        WriteType::BatchLog,
        WriteType::Cas,
        WriteType::View,
        WriteType::Cdc,
    ];

    /// As the protocol has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            WriteType::Simple => "SIMPLE",
            WriteType::Batch => "BATCH",
            WriteType::UnloggedBatch => "UNLOGGED_BATCH",
            WriteType::Counter => "COUNTER",
            WriteType::BatchLog => "BATCH_LOG",
            WriteType::Cas => "CAS",
            WriteType::View => "VIEW",
            WriteType::Cdc => "CDC",
        }
    }

    /// The type of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<WriteType> {
        Self::ALL.into_iter().find(|of| of.name() == name)
    }
}
