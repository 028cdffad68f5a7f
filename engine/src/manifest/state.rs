//! What the manifest says, as a value: edits applied in order to a [`State`].
//!
//! Pure: no I/O. A [`State`] can be written out again as the edits that make it, which is how a long manifest is
//! shortened.

use super::format::put_edit;
use crate::config::SHARDS_MAX;
use crate::layout::GENERATIONS_END;
use commitlog::LogPosition;
use model::{Keyspace, Schema, TableId, Token, UserType, varint};
use runtime::Break;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// One sstable that belongs to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// The table whose rows it holds.
    pub table: TableId,
    /// The shard that wrote it.
    pub shard: u16,
    /// Number of shards of the store when it was written: it holds tokens of `shard` among so many.
    pub shards: u16,
    /// Unique in the store.
    pub generation: u64,
    /// Its exact length.
    pub bytes: u64,
    /// First token in force: rows outside the range are no longer this file's.
    pub token_first: i64,
    /// Last token in force, inclusive.
    pub token_last: i64,
    /// The run that it is a fragment of: the generation of the run's first fragment. `None`: it stands alone.
    pub run: Option<u64>,
    /// Whether it was written as late: see [`compaction::File::late`].
    pub late: bool,
    /// When it was written, seconds since the Unix epoch.
    pub created_s: u32,
}

impl FileRecord {
    /// The tokens in force.
    #[must_use]
    pub fn tokens(&self) -> RangeInclusive<Token> {
        Token(self.token_first)..=Token(self.token_last)
    }

    /// Whether it may hold tokens of `shard` when the store has `shards`.
    #[must_use]
    pub fn is_shared_by(&self, shard: u16, shards: u16) -> bool {
        if runtime::broken(Break::ReshardedFilesUnshared) {
            return self.shard % shards == shard;
        }
        // Each shard has the same part of every turn of the tokens: the `shard`-th of `shards` equal ones.
        let [of, among, shard, shards] = [self.shard, self.shards, shard, shards].map(u32::from);
        shard * among < (of + 1) * shards && of * shards < (shard + 1) * among
    }

    /// Whether `shard` is the one of those that share it which counts it in its statistics: the first.
    #[must_use]
    pub fn is_counted_by(&self, shard: u16, shards: u16) -> bool {
        (0..shards).find(|&shard| self.is_shared_by(shard, shards)) == Some(shard)
    }
}

/// One shard's commit log, as the manifest knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Segments below are covered by sstables; their files are spares.
    pub floor: u64,
    /// The log was closed with everything flushed: nothing at or above `floor` is to be replayed.
    pub clean: bool,
}

/// A change of the store's state.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Who this store is; the first edit of every manifest. A later one changes the number of shards.
    Identity {
        /// Drawn when the store is created; stands in every file.
        host_id: [u8; 16],
        /// Number of shards.
        shards: u16,
    },
    /// A small value kept by layers above, such as the epoch of the message ids. Empty removes.
    Property {
        /// Its name.
        key: String,
        /// Its bytes.
        value: Vec<u8>,
    },
    /// A table was created, or is altered: what it is from now on.
    CreateTable(Box<Schema>),
    /// An sstable became part of the store.
    AddFile(FileRecord),
    /// An sstable is no longer part of the store: its file can go.
    RemoveFile {
        /// Its generation.
        generation: u64,
    },
    /// An sstable was removed earlier, and its file may still be there.
    ObsoleteFile {
        /// Its generation.
        generation: u64,
        /// Its table.
        table: TableId,
    },
    /// The file of an sstable that was removed is gone.
    ForgetFile {
        /// Its generation.
        generation: u64,
    },
    /// The tokens in force of an sstable are fewer than before.
    NarrowFile {
        /// Its generation.
        generation: u64,
        /// First token in force.
        token_first: i64,
        /// Last token in force, inclusive; not below the first.
        token_last: i64,
    },
    /// All records of `table` in the log of `shard` that end at or before `position` are in sstables.
    FlushedUpTo {
        /// The log's shard.
        shard: u16,
        /// The table.
        table: TableId,
        /// End of the last record covered.
        position: LogPosition,
    },
    /// The state of a shard's log.
    Log {
        /// The log's shard.
        shard: u16,
        /// Its state.
        log: LogRecord,
    },
    /// The store gives no timestamp above this one, Unix microseconds, until it says so here.
    TimestampsUpTo {
        /// The bound; it is only ever raised.
        micros: i64,
    },
    /// A keyspace was defined, or is altered: what it is from now on.
    SetKeyspace(Box<Keyspace>),
    /// The definition of a keyspace is gone; its tables and types are not touched by it.
    DropKeyspace {
        /// Its name.
        name: String,
    },
    /// A user-defined type was created, or is altered: what it is from now on. Tables that use it are altered beside it.
    SetType(Box<UserType>),
    /// A user-defined type is gone.
    DropType {
        /// Its keyspace.
        keyspace: String,
        /// Its name.
        name: String,
    },
    /// A table is gone, and all its sstables are obsolete. Its id is never used again; records of it in logs are passed over.
    DropTable {
        /// The table.
        table: TableId,
    },
    /// All sstables of a table are obsolete: what was in them was truncated.
    Truncate {
        /// The table.
        table: TableId,
    },
    /// Ids of tables up to this one have been given out, and are not given out again.
    TableIdsUpTo {
        /// The bound; it is only ever raised.
        table: TableId,
    },
}

const IDENTITY: u64 = 1;
const PROPERTY: u64 = 2;
const CREATE_TABLE: u64 = 3;
const ADD_FILE: u64 = 4;
const REMOVE_FILE: u64 = 5;
const FLUSHED_UP_TO: u64 = 6;
const LOG: u64 = 7;
const TIMESTAMPS_UP_TO: u64 = 8;
const NARROW_FILE: u64 = 9;
const OBSOLETE_FILE: u64 = 10;
const FORGET_FILE: u64 = 11;
const SET_KEYSPACE: u64 = 12;
const DROP_KEYSPACE: u64 = 13;
const SET_TYPE: u64 = 14;
const DROP_TYPE: u64 = 15;
const DROP_TABLE: u64 = 16;
const TRUNCATE: u64 = 17;
const TABLE_IDS_UP_TO: u64 = 18;

/// Flag of `ADD_FILE`.
const LATE: u8 = 1;

impl Edit {
    /// Appends the edit's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let tag = match self {
            Edit::Identity { host_id, shards } => {
                body.extend_from_slice(host_id);
                varint::put_u64(&mut body, u64::from(*shards));
                IDENTITY
            }
            Edit::Property { key, value } => {
                varint::put_bytes(&mut body, key.as_bytes());
                varint::put_bytes(&mut body, value);
                PROPERTY
            }
            Edit::CreateTable(schema) => {
                body = schema.encode();
                CREATE_TABLE
            }
            Edit::AddFile(file) => {
                varint::put_u64(&mut body, u64::from(file.table.0));
                varint::put_u64(&mut body, u64::from(file.shard));
                varint::put_u64(&mut body, u64::from(file.shards));
                varint::put_u64(&mut body, file.generation);
                varint::put_u64(&mut body, file.bytes);
                varint::put_i64(&mut body, file.token_first);
                varint::put_i64(&mut body, file.token_last);
                varint::put_u64(&mut body, file.run.map_or(0, |run| run + 1));
                body.push(if file.late { LATE } else { 0 });
                varint::put_u64(&mut body, u64::from(file.created_s));
                ADD_FILE
            }
            Edit::RemoveFile { generation } => {
                varint::put_u64(&mut body, *generation);
                REMOVE_FILE
            }
            Edit::ObsoleteFile { generation, table } => {
                varint::put_u64(&mut body, *generation);
                varint::put_u64(&mut body, u64::from(table.0));
                OBSOLETE_FILE
            }
            Edit::ForgetFile { generation } => {
                varint::put_u64(&mut body, *generation);
                FORGET_FILE
            }
            Edit::NarrowFile {
                generation,
                token_first,
                token_last,
            } => {
                varint::put_u64(&mut body, *generation);
                varint::put_i64(&mut body, *token_first);
                varint::put_i64(&mut body, *token_last);
                NARROW_FILE
            }
            Edit::FlushedUpTo { shard, table, position } => {
                varint::put_u64(&mut body, u64::from(*shard));
                varint::put_u64(&mut body, u64::from(table.0));
                varint::put_u64(&mut body, position.segment);
                varint::put_u64(&mut body, u64::from(position.offset));
                FLUSHED_UP_TO
            }
            Edit::Log { shard, log } => {
                varint::put_u64(&mut body, u64::from(*shard));
                varint::put_u64(&mut body, log.floor);
                body.push(u8::from(log.clean));
                LOG
            }
            Edit::TimestampsUpTo { micros } => {
                varint::put_i64(&mut body, *micros);
                TIMESTAMPS_UP_TO
            }
            Edit::SetKeyspace(keyspace) => {
                body = keyspace.encode();
                SET_KEYSPACE
            }
            Edit::DropKeyspace { name } => {
                varint::put_bytes(&mut body, name.as_bytes());
                DROP_KEYSPACE
            }
            Edit::SetType(ty) => {
                body = ty.encode();
                SET_TYPE
            }
            Edit::DropType { keyspace, name } => {
                varint::put_bytes(&mut body, keyspace.as_bytes());
                varint::put_bytes(&mut body, name.as_bytes());
                DROP_TYPE
            }
            Edit::DropTable { table } => {
                varint::put_u64(&mut body, u64::from(table.0));
                DROP_TABLE
            }
            Edit::Truncate { table } => {
                varint::put_u64(&mut body, u64::from(table.0));
                TRUNCATE
            }
            Edit::TableIdsUpTo { table } => {
                varint::put_u64(&mut body, u64::from(table.0));
                TABLE_IDS_UP_TO
            }
        };
        put_edit(out, tag, &body);
    }

    /// Reads the next edit of `payload`.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn decode(payload: &mut &[u8]) -> Result<Edit, &'static str> {
        const SHORT: &str = "an edit ends too early";
        fn int<T: TryFrom<u64>>(body: &mut &[u8]) -> Result<T, &'static str> {
            T::try_from(varint::get_u64(body).ok_or(SHORT)?).map_err(|_| "an edit's number is out of range")
        }
        fn name(body: &mut &[u8]) -> Result<String, &'static str> {
            let name = varint::get_bytes(body).ok_or(SHORT)?;
            let name = std::str::from_utf8(name).map_err(|_| "a name is not UTF-8")?;
            Ok(name.to_owned())
        }
        let generation = |body: &mut &[u8]| match int(body)? {
            generation if generation < GENERATIONS_END => Ok(generation),
            _ => Err("a generation is out of range"),
        };
        let tag = varint::get_u64(payload).ok_or(SHORT)?;
        let mut body = varint::get_bytes(payload).ok_or(SHORT)?;
        let body = &mut body;
        let edit = match tag {
            IDENTITY => {
                let (host_id, rest) = body.split_first_chunk::<16>().ok_or(SHORT)?;
                *body = rest;
                Edit::Identity {
                    host_id: *host_id,
                    shards: int(body)?,
                }
            }
            PROPERTY => {
                let key = varint::get_bytes(body).ok_or(SHORT)?;
                let key = std::str::from_utf8(key)
                    .map_err(|_| "a property's name is not UTF-8")?
                    .to_owned();
                Edit::Property {
                    key,
                    value: varint::get_bytes(body).ok_or(SHORT)?.to_vec(),
                }
            }
            CREATE_TABLE => {
                let schema = Schema::decode(body).map_err(|_| "a table's schema cannot be read")?;
                *body = &[];
                Edit::CreateTable(Box::new(schema))
            }
            ADD_FILE => Edit::AddFile(FileRecord {
                table: TableId(int(body)?),
                shard: int(body)?,
                shards: int(body)?,
                generation: generation(body)?,
                bytes: int(body)?,
                token_first: varint::get_i64(body).ok_or(SHORT)?,
                token_last: varint::get_i64(body).ok_or(SHORT)?,
                run: int::<u64>(body)?.checked_sub(1),
                late: match body.split_off_first().ok_or(SHORT)? {
                    0 => false,
                    &LATE => true,
                    _ => return Err("an sstable of a kind that a newer release knows"),
                },
                created_s: int(body)?,
            }),
            OBSOLETE_FILE => Edit::ObsoleteFile {
                generation: generation(body)?,
                table: TableId(int(body)?),
            },
            FORGET_FILE => Edit::ForgetFile {
                generation: generation(body)?,
            },
            NARROW_FILE => Edit::NarrowFile {
                generation: generation(body)?,
                token_first: varint::get_i64(body).ok_or(SHORT)?,
                token_last: varint::get_i64(body).ok_or(SHORT)?,
            },
            REMOVE_FILE => Edit::RemoveFile {
                generation: generation(body)?,
            },
            FLUSHED_UP_TO => Edit::FlushedUpTo {
                shard: int(body)?,
                table: TableId(int(body)?),
                position: LogPosition {
                    segment: int(body)?,
                    offset: int(body)?,
                },
            },
            LOG => {
                let (shard, floor) = (int(body)?, int(body)?);
                let (clean, rest) = body.split_first().ok_or(SHORT)?;
                *body = rest;
                Edit::Log {
                    shard,
                    log: LogRecord {
                        floor,
                        clean: *clean == 1,
                    },
                }
            }
            TIMESTAMPS_UP_TO => Edit::TimestampsUpTo {
                micros: varint::get_i64(body).ok_or(SHORT)?,
            },
            SET_KEYSPACE => {
                let keyspace = Keyspace::decode(body).map_err(|_| "a keyspace cannot be read")?;
                *body = &[];
                Edit::SetKeyspace(Box::new(keyspace))
            }
            DROP_KEYSPACE => Edit::DropKeyspace { name: name(body)? },
            SET_TYPE => {
                let ty = UserType::decode(body).map_err(|_| "a user-defined type cannot be read")?;
                *body = &[];
                Edit::SetType(Box::new(ty))
            }
            DROP_TYPE => Edit::DropType {
                keyspace: name(body)?,
                name: name(body)?,
            },
            DROP_TABLE => Edit::DropTable {
                table: TableId(int(body)?),
            },
            TRUNCATE => Edit::Truncate {
                table: TableId(int(body)?),
            },
            TABLE_IDS_UP_TO => Edit::TableIdsUpTo {
                table: TableId(int(body)?),
            },
            _ => return Err("an edit of a newer release"),
        };
        if body.is_empty() {
            Ok(edit)
        } else {
            Err("an edit is longer than it should be")
        }
    }
}

/// The store as its manifest describes it.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Drawn when the store is created.
    pub host_id: [u8; 16],
    /// Number of shards; 0 before the first edit.
    pub shards: u16,
    /// Values of the layers above.
    pub properties: BTreeMap<String, Vec<u8>>,
    /// The tables, by id.
    pub tables: BTreeMap<TableId, Schema>,
    /// The sstables, by generation.
    pub files: BTreeMap<u64, FileRecord>,
    /// The sstables that are no longer part of the store and whose files may still be there, by generation: their tables.
    pub obsolete: BTreeMap<u64, TableId>,
    /// How far each (log, table) is in sstables.
    pub flushed: BTreeMap<(u16, TableId), LogPosition>,
    /// The logs of the shards that have ever been about to serve; see [`log`](Self::log).
    pub logs: BTreeMap<u16, LogRecord>,
    /// No timestamp above this one was given, Unix microseconds.
    pub timestamps_up_to: i64,
    /// The keyspaces that were defined, by name. Others may have tables.
    pub keyspaces: BTreeMap<String, Keyspace>,
    /// The user-defined types, by keyspace and name.
    pub types: BTreeMap<(String, String), UserType>,
    /// The highest table id that was ever given out; 0 if none was.
    pub table_ids_up_to: TableId,
}

impl State {
    /// A shard's log. One without a record has never had a segment: the record comes first.
    #[must_use]
    pub fn log(&self, shard: u16) -> LogRecord {
        let none = LogRecord { floor: 1, clean: true };
        self.logs.get(&shard).copied().unwrap_or(none)
    }

    /// The logs that may hold something: those of the shards that there are, and of those that there once were.
    #[must_use]
    pub fn log_shards(&self) -> std::ops::Range<u16> {
        let of_once = self.logs.last_key_value().map_or(0, |(&shard, _)| shard + 1);
        0..self.shards.max(of_once)
    }

    /// Applies the edits of one record.
    ///
    /// # Errors
    /// What contradicts the format or the state; the state is then unusable.
    pub fn apply_payload(&mut self, mut payload: &[u8]) -> Result<(), &'static str> {
        while !payload.is_empty() {
            self.apply(Edit::decode(&mut payload)?)?;
        }
        Ok(())
    }

    /// Applies one edit.
    ///
    /// # Errors
    /// What contradicts the state.
    pub fn apply(&mut self, edit: Edit) -> Result<(), &'static str> {
        if self.shards == 0 && !matches!(edit, Edit::Identity { .. }) {
            return Err("the manifest does not begin with the store's identity");
        }
        match edit {
            Edit::Identity { host_id, shards } => {
                if !(1..=SHARDS_MAX).contains(&shards) {
                    return Err("a store of an impossible number of shards");
                }
                if self.shards != 0 && self.host_id != host_id {
                    return Err("a store becomes another one");
                }
                (self.host_id, self.shards) = (host_id, shards);
            }
            Edit::Property { key, value } if value.is_empty() => drop(self.properties.remove(&key)),
            Edit::Property { key, value } => drop(self.properties.insert(key, value)),
            Edit::CreateTable(schema) => {
                self.table_ids_up_to = self.table_ids_up_to.max(schema.id);
                self.tables.insert(schema.id, *schema);
            }
            Edit::AddFile(file) => {
                if !(1..=SHARDS_MAX).contains(&file.shards) || file.shard >= file.shards {
                    return Err("an sstable of a shard that there cannot be");
                }
                if file.token_first > file.token_last {
                    return Err("an sstable without a token in force");
                }
                if self.files.insert(file.generation, file).is_some() {
                    return Err("an sstable is added twice");
                }
            }
            Edit::RemoveFile { generation } => {
                let file = self.files.remove(&generation);
                let file = file.ok_or("an sstable is removed that is not there")?;
                self.obsolete.insert(generation, file.table);
            }
            Edit::ObsoleteFile { generation, table } => {
                if self.files.contains_key(&generation) {
                    return Err("an sstable of the store is called obsolete");
                }
                self.obsolete.insert(generation, table);
            }
            Edit::ForgetFile { generation } => drop(self.obsolete.remove(&generation)),
            Edit::NarrowFile {
                generation,
                token_first,
                token_last,
            } => {
                let file = self.files.get_mut(&generation);
                let file = file.ok_or("an sstable is narrowed that is not there")?;
                let tokens = file.token_first..=file.token_last;
                if token_first > token_last || !tokens.contains(&token_first) || !tokens.contains(&token_last) {
                    return Err("an sstable is narrowed to tokens that it does not have");
                }
                (file.token_first, file.token_last) = (token_first, token_last);
            }
            Edit::FlushedUpTo { shard, table, position } => {
                let flushed = self.flushed.entry((shard, table)).or_default();
                *flushed = (*flushed).max(position);
            }
            Edit::Log { shard, log } => {
                if shard >= SHARDS_MAX {
                    return Err("a log of a shard that there cannot be");
                }
                let floor = self.logs.get(&shard).map_or(0, |log| log.floor);
                self.logs.insert(
                    shard,
                    LogRecord {
                        floor: floor.max(log.floor),
                        ..log
                    },
                );
                let floor = self.logs[&shard].floor;
                self.flushed
                    .retain(|&(of, _), position| of != shard || position.segment >= floor);
            }
            Edit::TimestampsUpTo { micros } => self.timestamps_up_to = self.timestamps_up_to.max(micros),
            Edit::SetKeyspace(keyspace) => drop(self.keyspaces.insert(keyspace.name.clone(), *keyspace)),
            Edit::DropKeyspace { name } => drop(self.keyspaces.remove(&name)),
            Edit::SetType(ty) => {
                let name = (ty.keyspace.clone(), ty.name.clone());
                self.types.insert(name, *ty);
            }
            Edit::DropType { keyspace, name } => drop(self.types.remove(&(keyspace, name))),
            Edit::DropTable { table } => {
                self.tables
                    .remove(&table)
                    .ok_or("a table is dropped that is not there")?;
                self.make_files_obsolete(table);
                self.flushed.retain(|&(_, of), _| of != table);
            }
            Edit::Truncate { table } => {
                if !self.tables.contains_key(&table) {
                    return Err("a table is truncated that is not there");
                }
                self.make_files_obsolete(table);
            }
            Edit::TableIdsUpTo { table } => self.table_ids_up_to = self.table_ids_up_to.max(table),
        }
        Ok(())
    }

    fn make_files_obsolete(&mut self, table: TableId) {
        let of_table = self.files.extract_if(.., |_, file| file.table == table);
        self.obsolete
            .extend(of_table.map(|(generation, _)| (generation, table)));
    }

    /// Whether the table was there once, and was dropped.
    #[must_use]
    pub fn was_dropped(&self, table: TableId) -> bool {
        table <= self.table_ids_up_to && !self.tables.contains_key(&table)
    }

    /// The edits that make this state out of nothing.
    #[must_use]
    pub fn edits(&self) -> Vec<Edit> {
        let mut edits = vec![Edit::Identity {
            host_id: self.host_id,
            shards: self.shards,
        }];
        let properties = self.properties.iter();
        edits.extend(properties.map(|(key, value)| Edit::Property {
            key: key.clone(),
            value: value.clone(),
        }));
        let keyspaces = self.keyspaces.values().cloned().map(Box::new);
        edits.extend(keyspaces.map(Edit::SetKeyspace));
        edits.extend(self.types.values().cloned().map(Box::new).map(Edit::SetType));
        let schemas = self.tables.values().cloned().map(Box::new);
        edits.extend(schemas.map(Edit::CreateTable));
        if self.tables.last_key_value().map_or(TableId(0), |(&id, _)| id) < self.table_ids_up_to {
            edits.push(Edit::TableIdsUpTo {
                table: self.table_ids_up_to,
            });
        }
        edits.extend(self.files.values().cloned().map(Edit::AddFile));
        let obsolete = self.obsolete.iter();
        edits.extend(obsolete.map(|(&generation, &table)| Edit::ObsoleteFile { generation, table }));
        edits.extend(self.logs.iter().map(|(&shard, &log)| Edit::Log { shard, log }));
        let flushed = self.flushed.iter();
        edits.extend(flushed.map(|(&(shard, table), &position)| Edit::FlushedUpTo { shard, table, position }));
        edits.push(Edit::TimestampsUpTo {
            micros: self.timestamps_up_to,
        });
        edits
    }

    /// How far the records of `table` in the log of `shard` are in sstables.
    #[must_use]
    pub fn flushed_up_to(&self, shard: u16, table: TableId) -> LogPosition {
        self.flushed.get(&(shard, table)).copied().unwrap_or_default()
    }
}

/// Encodes edits as the payload of one record.
#[must_use]
pub fn encode_edits(edits: &[Edit]) -> Vec<u8> {
    let mut payload = Vec::new();
    for edit in edits {
        edit.encode(&mut payload);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> State {
        let mut state = State::default();
        let file = FileRecord {
            table: TableId(3),
            shard: 1,
            shards: 2,
            generation: 9,
            bytes: 8192,
            token_first: -5,
            token_last: i64::MAX,
            run: Some(9),
            late: true,
            created_s: 77,
        };
        let position = LogPosition {
            segment: 4,
            offset: 4096,
        };
        for edit in [
            Edit::Identity {
                host_id: [7; 16],
                shards: 2,
            },
            Edit::Property {
                key: "epoch".into(),
                value: b"1".to_vec(),
            },
            Edit::AddFile(FileRecord {
                generation: 8,
                ..file.clone()
            }),
            Edit::RemoveFile { generation: 8 },
            Edit::AddFile(file),
            Edit::NarrowFile {
                generation: 9,
                token_first: -4,
                token_last: 1 << 40,
            },
            Edit::Log {
                shard: 1,
                log: LogRecord { floor: 4, clean: false },
            },
            Edit::TimestampsUpTo { micros: 1 << 50 },
            Edit::FlushedUpTo {
                shard: 1,
                table: TableId(3),
                position,
            },
        ] {
            state.apply(edit).expect("valid");
        }
        state
    }

    #[test]
    fn a_state_is_the_sum_of_its_edits() {
        let state = sample();
        let mut again = State::default();
        again.apply_payload(&encode_edits(&state.edits())).expect("own bytes");
        assert_eq!(format!("{state:?}"), format!("{again:?}"));
        assert_eq!(again.obsolete.keys().collect::<Vec<_>>(), [&8]);
        again.apply(Edit::ForgetFile { generation: 8 }).expect("valid");
        assert!(again.obsolete.is_empty());
    }

    fn table(id: u32, name: &str) -> Schema {
        let schema = Schema::builder("chat", name).id(TableId(id));
        schema.partition_key("id", model::CqlType::Int).build().expect("legal")
    }

    fn again(state: &State) -> State {
        let mut again = State::default();
        again.apply_payload(&encode_edits(&state.edits())).expect("own bytes");
        assert_eq!(format!("{state:?}"), format!("{again:?}"));
        again
    }

    #[test]
    fn a_dropped_table_leaves_obsolete_files_and_its_id() {
        let mut state = sample();
        for id in [3, 4] {
            let edit = Edit::CreateTable(Box::new(table(id, &format!("t{id}"))));
            state.apply(edit).expect("valid");
        }
        let other = FileRecord {
            table: TableId(4),
            generation: 11,
            ..state.files[&9].clone()
        };
        state.apply(Edit::AddFile(other)).expect("valid");
        state.apply(Edit::Truncate { table: TableId(3) }).expect("valid");
        assert_eq!(state.files.keys().collect::<Vec<_>>(), [&11]);
        assert_eq!(state.obsolete.keys().collect::<Vec<_>>(), [&8, &9]);
        assert_eq!(state.flushed.len(), 1, "what was flushed stays flushed");
        state.apply(Edit::DropTable { table: TableId(4) }).expect("valid");
        state.apply(Edit::DropTable { table: TableId(3) }).expect("valid");
        let again = again(&state);
        assert_eq!(again.obsolete.keys().collect::<Vec<_>>(), [&8, &9, &11]);
        assert!(again.flushed.is_empty() && again.tables.is_empty());
        assert_eq!(again.table_ids_up_to, TableId(4));
        assert!(again.was_dropped(TableId(4)) && !again.was_dropped(TableId(5)));
        for edit in [
            Edit::DropTable { table: TableId(3) },
            Edit::Truncate { table: TableId(9) },
        ] {
            assert!(state.clone().apply(edit.clone()).is_err(), "{edit:?}");
        }
    }

    #[test]
    fn keyspaces_and_types_are_kept() {
        let mut state = sample();
        let ty = UserType::new("chat", "address", [("street", model::CqlType::Text)]);
        let mut keyspace = Keyspace::new("chat");
        keyspace.durable_writes = false;
        for edit in [
            Edit::SetKeyspace(Box::new(Keyspace::new("chat"))),
            Edit::SetKeyspace(Box::new(Keyspace::new("other"))),
            Edit::SetKeyspace(Box::new(keyspace.clone())),
            Edit::SetType(Box::new(ty.clone())),
            Edit::SetType(Box::new(UserType {
                name: "gone".into(),
                ..ty.clone()
            })),
            Edit::DropType {
                keyspace: "chat".into(),
                name: "gone".into(),
            },
            Edit::DropKeyspace { name: "other".into() },
        ] {
            let mut bytes = Vec::new();
            edit.encode(&mut bytes);
            assert_eq!(Edit::decode(&mut &bytes[..]).as_ref(), Ok(&edit));
            state.apply(edit).expect("valid");
        }
        let again = again(&state);
        assert_eq!(again.keyspaces.into_values().collect::<Vec<_>>(), [keyspace]);
        assert_eq!(again.types.into_values().collect::<Vec<_>>(), [ty]);
    }

    #[test]
    fn a_raised_floor_forgets_what_lies_below() {
        let mut state = sample();
        state
            .apply(Edit::Log {
                shard: 1,
                log: LogRecord { floor: 5, clean: true },
            })
            .expect("valid");
        assert_eq!(state.flushed_up_to(1, TableId(3)), LogPosition::default());
    }

    #[test]
    fn a_file_is_shared_by_the_shards_whose_tokens_it_may_hold() {
        let tokens: Vec<_> = (0..100_000_u64)
            .map(|n| model::Token(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) as i64))
            .collect();
        for (among, shards) in [(1, 7), (7, 1), (2, 3), (3, 2), (7, 2), (64, 63), (5, 5)] {
            for of in 0..among {
                let file = FileRecord {
                    shard: of,
                    shards: among,
                    ..sample().files[&9].clone()
                };
                let held = tokens.iter().filter(|&&token| model::shard_of(token, among) == of);
                let mut holders: Vec<_> = held.map(|&token| model::shard_of(token, shards)).collect();
                holders.sort_unstable();
                holders.dedup();
                let sharing: Vec<_> = (0..shards).filter(|&shard| file.is_shared_by(shard, shards)).collect();
                // A narrow part that two have in common may have none of these tokens.
                assert!(
                    holders.iter().all(|shard| sharing.contains(shard)),
                    "{of} of {among} in {shards}"
                );
                assert!(
                    sharing.len() <= holders.len() + 2,
                    "{of} of {among} in {shards}: {sharing:?} for {holders:?}"
                );
                let counting = (0..shards).filter(|&shard| file.is_counted_by(shard, shards)).count();
                assert_eq!(counting, 1, "counted once");
            }
        }
    }

    #[test]
    fn an_identity_may_change_its_shards_and_nothing_else() {
        let mut state = sample();
        let identity = |host, shards| Edit::Identity {
            host_id: [host; 16],
            shards,
        };
        state.apply(identity(7, 1)).expect("another number of shards");
        assert_eq!(
            (state.shards, state.log_shards()),
            (1, 0..2),
            "the log of shard 1 is still known"
        );
        assert!(state.apply(identity(8, 1)).is_err(), "another store");
        assert!(state.apply(identity(7, SHARDS_MAX + 1)).is_err(), "too many shards");
    }

    #[test]
    fn rejects_cut_and_impossible_edits() {
        let payload = encode_edits(&sample().edits());
        for len in 1..payload.len() {
            let cut = State::default().apply_payload(&payload[..len]);
            let whole_edits = cut.is_ok();
            assert!(!whole_edits || len > 17, "cut after {len} bytes");
        }
        let file = sample().files[&9].clone();
        assert!(sample().apply(Edit::AddFile(file)).is_err(), "the same file twice");
        assert!(
            sample().apply(Edit::RemoveFile { generation: 1 }).is_err(),
            "a file that is not there"
        );
        assert!(
            State::default().apply(Edit::RemoveFile { generation: 1 }).is_err(),
            "no identity"
        );
        for (generation, token_first, token_last) in [(8, 0, 1), (9, -5, 1), (9, 0, i64::MAX), (9, 1, 0)] {
            let narrower = Edit::NarrowFile {
                generation,
                token_first,
                token_last,
            };
            assert!(sample().apply(narrower.clone()).is_err(), "{narrower:?}");
        }
    }
}
