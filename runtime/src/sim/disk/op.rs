//! The operations, and what each does when it completes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::rng::Rng;
use super::super::stats::SimStats;
use super::contents::Contents;
use super::names::Target;
use super::{Inode, State, whole_pages};
use crate::disk::{Buf, Entry, Space};

/// The size that a disk without a limit tells.
const UNLIMITED_BYTES: u64 = 1 << 50;

pub(in crate::sim) enum Op {
    Create {
        path: String,
        preallocate: u64,
    },
    Open {
        path: String,
    },
    Read {
        inode: Rc<Inode>,
        offset: u64,
        len: usize,
    },
    Write {
        inode: Rc<Inode>,
        offset: u64,
        data: Rc<Buf>,
        dsync: bool,
    },
    Sync {
        inode: Rc<Inode>,
        upto: u64,
    },
    SetLen {
        inode: Rc<Inode>,
        len: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    CreateDirs {
        path: String,
    },
    SyncDir {
        path: String,
        upto: u64,
    },
    Exists {
        path: String,
    },
    List {
        path: String,
    },
    Space,
}

pub(in crate::sim) enum Output {
    Unit,
    Bytes(Vec<u8>),
    Opened(Rc<Inode>),
    Found(bool),
    Entries(Vec<Entry>),
    Space(Space),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sim) enum Fault {
    Errno(i32),
    /// The file ends before the last byte that was asked for.
    Eof,
}

impl Op {
    /// The name that [`SimDisk::fail_next`](super::SimDisk::fail_next) and errors use.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Op::Create { .. } => "create",
            Op::Open { .. } => "open",
            Op::Read { .. } => "read",
            Op::Write { .. } => "write",
            Op::Sync { .. } => "sync",
            Op::SetLen { .. } => "set_len",
            Op::Rename { .. } => "rename",
            Op::Link { .. } => "link",
            Op::Remove { .. } => "remove",
            Op::CreateDirs { .. } => "create_dir_all",
            Op::SyncDir { .. } => "sync_dir",
            Op::Exists { .. } => "exists",
            Op::List { .. } => "list",
            Op::Space => "space",
        }
    }

    pub(super) fn kind(&self) -> u8 {
        match self {
            Op::Create { .. } => 1,
            Op::Open { .. } => 2,
            Op::Read { .. } => 3,
            Op::Write { .. } => 4,
            Op::Sync { .. } => 5,
            Op::SetLen { .. } => 6,
            Op::Rename { .. } => 7,
            Op::Link { .. } => 8,
            Op::Remove { .. } => 9,
            Op::CreateDirs { .. } => 10,
            Op::SyncDir { .. } => 11,
            Op::Exists { .. } => 12,
            Op::List { .. } => 13,
            Op::Space => 14,
        }
    }

    /// A number for the trace: where in which file.
    pub(super) fn place(&self) -> u64 {
        match self {
            Op::Create { preallocate, .. } => *preallocate,
            Op::Read { inode, offset, len } => inode.id << 40 ^ offset << 8 ^ *len as u64,
            Op::Write { inode, offset, .. } => inode.id << 40 ^ offset << 8,
            Op::Sync { inode, upto } => inode.id << 40 ^ upto,
            Op::SetLen { inode, len } => inode.id << 40 ^ len,
            _ => 0,
        }
    }

    /// The second path of operations that have two.
    pub(super) fn other_path(&self) -> &str {
        match self {
            Op::Rename { to, .. } | Op::Link { to, .. } => to,
            _ => "",
        }
    }

    /// What only the disk knows when an operation is issued: what a sync covers.
    pub(super) fn fix(&mut self, seq: u64) {
        if let Op::Sync { upto, .. } | Op::SyncDir { upto, .. } = self {
            *upto = seq;
        }
    }

    pub(super) fn count(&self, stats: &mut SimStats) {
        let count = match self {
            Op::Create { .. } => &mut stats.creates,
            Op::Open { .. } => &mut stats.opens,
            Op::Read { len, .. } => {
                stats.read_bytes += *len as u64;
                &mut stats.reads
            }
            Op::Write { data, .. } => {
                stats.written_bytes += data.len() as u64;
                &mut stats.writes
            }
            Op::Sync { .. } => &mut stats.syncs,
            Op::SetLen { .. } => &mut stats.set_lens,
            Op::Rename { .. } => &mut stats.renames,
            Op::Link { .. } => &mut stats.links,
            Op::Remove { .. } => &mut stats.removes,
            Op::CreateDirs { .. } => &mut stats.create_dirs,
            Op::SyncDir { .. } => &mut stats.dir_syncs,
            Op::Exists { .. } | Op::List { .. } | Op::Space => &mut stats.lookups,
        };
        *count += 1;
    }

    /// Whether `p_io_error` applies.
    pub(super) fn may_fail(&self) -> bool {
        matches!(
            self,
            Op::Read { .. } | Op::Write { .. } | Op::Sync { .. } | Op::SyncDir { .. }
        )
    }

    /// Whether `p_no_space` applies.
    pub(super) fn needs_space(&self) -> bool {
        match self {
            Op::Create { .. } | Op::Link { .. } | Op::CreateDirs { .. } => true,
            Op::Write {
                inode, offset, data, ..
            } => offset + data.len() as u64 > inode.reserved.get(),
            Op::SetLen { inode, len } => *len > inode.reserved.get(),
            _ => false,
        }
    }

    /// Whether it leaves a trace on the disk by itself.
    pub(super) fn changes(&self) -> bool {
        !matches!(
            self,
            Op::Open { .. }
                | Op::Read { .. }
                | Op::Sync { .. }
                | Op::SyncDir { .. }
                | Op::Exists { .. }
                | Op::List { .. }
                | Op::Space
        )
    }
}

impl State {
    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Takes space up to `bytes` for a file, unless the disk is too small.
    fn reserve(&mut self, inode: &Inode, bytes: u64) -> Result<(), Fault> {
        let wanted = whole_pages(bytes);
        let more = wanted.saturating_sub(inode.reserved.get());
        if more == 0 {
            return Ok(());
        }
        if self
            .capacity
            .is_some_and(|capacity| self.used.get().saturating_add(more) > capacity)
        {
            self.stats.no_space_errors += 1;
            return Err(Fault::Errno(libc::ENOSPC));
        }
        inode.reserve(wanted);
        Ok(())
    }

    pub(super) fn new_inode(&mut self, contents: Contents) -> Rc<Inode> {
        self.next_inode += 1;
        Rc::new(Inode {
            id: self.next_inode,
            contents: RefCell::new(contents),
            reserved: Cell::new(0),
            used: Rc::clone(&self.used),
        })
    }

    /// The operation takes effect. `doubtful`: the power is going.
    pub(super) fn run(&mut self, op: Op, fails: Option<i32>, doubtful: bool, rng: &Rng) -> Result<Output, Fault> {
        if let Some(errno) = fails {
            self.fail(op, errno, rng);
            return Err(Fault::Errno(errno));
        }
        match op {
            Op::Create { path, preallocate } => {
                self.names.check_new(&path).map_err(Fault::Errno)?;
                let inode = self.new_inode(Contents::default());
                self.reserve(&inode, preallocate)?;
                if preallocate > 0 {
                    let seq = self.next_seq();
                    inode.contents.borrow_mut().set_len(seq, preallocate, doubtful);
                }
                let seq = self.next_seq();
                self.names
                    .create(seq, &path, Rc::clone(&inode), doubtful)
                    .map_err(Fault::Errno)?;
                Ok(Output::Opened(inode))
            }
            Op::Open { path } => {
                let inode = self.names.file(&path).map_err(Fault::Errno)?;
                Ok(Output::Opened(Rc::clone(inode)))
            }
            Op::Read { inode, offset, len } => {
                let contents = inode.contents.borrow();
                match offset.checked_add(len as u64) {
                    Some(end) if end <= contents.len() => Ok(Output::Bytes(contents.read(offset, len))),
                    _ => Err(Fault::Eof),
                }
            }
            Op::Write {
                inode,
                offset,
                data,
                dsync,
            } => {
                self.reserve(&inode, offset + data.len() as u64)?;
                let seq = self.next_seq();
                inode.contents.borrow_mut().write(seq, offset, &data, dsync, doubtful);
                Ok(Output::Unit)
            }
            Op::Sync { inode, upto } => {
                inode.contents.borrow_mut().sync(upto);
                Ok(Output::Unit)
            }
            Op::SetLen { inode, len } => {
                let before = inode.contents.borrow().len();
                if len > before {
                    self.reserve(&inode, len)?;
                }
                let seq = self.next_seq();
                inode.contents.borrow_mut().set_len(seq, len, doubtful);
                if len < before {
                    inode.reserve(whole_pages(len));
                }
                Ok(Output::Unit)
            }
            Op::Rename { from, to } => {
                let seq = self.next_seq();
                self.names.rename(seq, &from, &to, doubtful).map_err(Fault::Errno)?;
                Ok(Output::Unit)
            }
            Op::Link { from, to } => {
                let seq = self.next_seq();
                self.names.link(seq, &from, &to, doubtful).map_err(Fault::Errno)?;
                Ok(Output::Unit)
            }
            Op::Remove { path } => {
                let seq = self.next_seq();
                self.names.remove(seq, &path, doubtful).map_err(Fault::Errno)?;
                Ok(Output::Unit)
            }
            Op::CreateDirs { path } => {
                self.names
                    .create_dirs(&mut self.seq, &path, doubtful)
                    .map_err(Fault::Errno)?;
                Ok(Output::Unit)
            }
            Op::SyncDir { path, upto } => {
                self.names.sync(&path, upto).map_err(Fault::Errno)?;
                Ok(Output::Unit)
            }
            Op::Space => {
                // Without a limit there is as much as nobody writes.
                let total_bytes = self.capacity.unwrap_or(UNLIMITED_BYTES);
                Ok(Output::Space(Space {
                    total_bytes,
                    free_bytes: total_bytes.saturating_sub(self.used.get()),
                }))
            }
            Op::Exists { path } => Ok(Output::Found(self.names.find(&path).is_some())),
            Op::List { path } => {
                let entries = self.names.list(&path).map_err(Fault::Errno)?;
                let entry = |(name, target)| match target {
                    Target::File(inode) => Entry {
                        name,
                        len: inode.contents.borrow().len(),
                        is_dir: false,
                    },
                    Target::Dir => Entry {
                        name,
                        len: 0,
                        is_dir: true,
                    },
                };
                Ok(Output::Entries(entries.into_iter().map(entry).collect()))
            }
        }
    }

    /// The operation fails; what it leaves behind is undefined where the device is to blame.
    fn fail(&mut self, op: Op, errno: i32, rng: &Rng) {
        let stats = &mut self.stats;
        let count = match &op {
            _ if errno == libc::ENOSPC => &mut stats.no_space_errors,
            Op::Read { .. } => &mut stats.read_errors,
            Op::Write { .. } => &mut stats.write_errors,
            Op::Sync { .. } | Op::SyncDir { .. } => &mut stats.sync_errors,
            _ => &mut stats.other_errors,
        };
        *count += 1;
        match op {
            // Nothing, the front or all of it arrived; no sync will ever vouch for it.
            Op::Write {
                inode, offset, data, ..
            } if errno != libc::ENOSPC => {
                let blocks = rng.index(data.len() / crate::disk::BLOCK + 1);
                let arrived = &data[..blocks * crate::disk::BLOCK];
                if !arrived.is_empty() && self.reserve(&inode, offset + arrived.len() as u64).is_ok() {
                    let seq = self.next_seq();
                    inode.contents.borrow_mut().write(seq, offset, arrived, false, true);
                }
            }
            Op::Sync { inode, upto } => inode.contents.borrow_mut().doubt(upto),
            Op::SyncDir { path, upto } => self.names.doubt(&path, upto),
            _ => {}
        }
    }
}
