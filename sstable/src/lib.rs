//! The sstable format of Scrollback: writer, reader, filter, index, verification.
