//! Files and directories as the code above sees them: the `Sim` side of [`crate::disk`].

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::super::shard::Shard;
use super::Inode;
use super::names::normal;
use super::op::{Fault, Op, Output};
use crate::context;
use crate::disk::{Buf, CreateOptions, Entry, ReadBuf, Space};
use crate::error::Error;

/// An open file of one boot of one shard.
#[derive(Clone)]
pub(crate) struct File(Rc<Open>);

struct Open {
    shard: Rc<Shard>,
    inode: Rc<Inode>,
    path: PathBuf,
    /// The path as the disk knows it.
    name: String,
    dsync: bool,
    writable: bool,
}

/// An operation in flight, for the task that waits for it. Dropping it gives up the result, not the operation.
struct Waiting<'a> {
    shard: &'a Shard,
    /// `None`: issued by a node that is dead; it never ends.
    slot: Option<u32>,
}

impl<'a> Waiting<'a> {
    fn issue(shard: &'a Shard, op: Op, path: &str) -> Self {
        Waiting {
            shard,
            slot: shard.issue(op, path),
        }
    }
}

impl Future for Waiting<'_> {
    type Output = Result<Output, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(slot) = self.slot.filter(|_| self.shard.lives()) else {
            return Poll::Pending;
        };
        let polled = self.shard.disk().poll(slot, cx.waker());
        if polled.is_ready() {
            self.slot = None;
        }
        polled
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot
            && self.shard.lives()
        {
            self.shard.disk().abandon(slot);
        }
    }
}

fn failed(op: &'static str, path: &Path, offset: u64, fault: Fault) -> Error {
    let source = match fault {
        Fault::Errno(errno) => io::Error::from_raw_os_error(errno),
        Fault::Eof => io::Error::from(io::ErrorKind::UnexpectedEof),
    };
    Error::io(op, path, offset, source)
}

fn name_of(op: &'static str, path: &Path) -> Result<String, Error> {
    normal(path).ok_or_else(|| failed(op, path, 0, Fault::Errno(libc::EINVAL)))
}

impl File {
    /// As [`crate::disk::File::create`].
    pub(crate) async fn create(shard: &Rc<Shard>, path: &Path, o: CreateOptions) -> Result<File, Error> {
        let op = |path| Op::Create {
            path,
            preallocate: o.preallocate_bytes,
        };
        File::opened(shard, "create", path, op, o.dsync, true).await
    }

    /// As [`crate::disk::File::open_read`].
    pub(crate) async fn open_read(shard: &Rc<Shard>, path: &Path) -> Result<File, Error> {
        File::opened(shard, "open", path, |path| Op::Open { path }, false, false).await
    }

    /// As [`crate::disk::File::open_write`].
    pub(crate) async fn open_write(shard: &Rc<Shard>, path: &Path, dsync: bool) -> Result<File, Error> {
        File::opened(shard, "open", path, |path| Op::Open { path }, dsync, true).await
    }

    async fn opened(
        shard: &Rc<Shard>,
        what: &'static str,
        path: &Path,
        op: impl FnOnce(String) -> Op,
        dsync: bool,
        writable: bool,
    ) -> Result<File, Error> {
        let name = name_of(what, path)?;
        let output = Waiting::issue(shard, op(name.clone()), &name).await;
        match output.map_err(|fault| failed(what, path, 0, fault))? {
            Output::Opened(inode) => {
                let open = Open {
                    shard: Rc::clone(shard),
                    inode,
                    path: path.to_owned(),
                    name,
                    dsync,
                    writable,
                };
                Ok(File(Rc::new(open)))
            }
            _ => unreachable!("opening gives a file"),
        }
    }

    async fn ask(&self, op: Op, offset: u64) -> Result<Output, Error> {
        let what = op.name();
        let output = Waiting::issue(&self.0.shard, op, &self.0.name).await;
        output.map_err(|fault| failed(what, &self.0.path, offset, fault))
    }

    /// Writing through a handle that was opened for reading: what the kernel says.
    fn check_writable(&self, what: &'static str) -> Result<(), Error> {
        if self.0.writable {
            Ok(())
        } else {
            Err(failed(what, &self.0.path, 0, Fault::Errno(libc::EBADF)))
        }
    }

    /// As [`crate::disk::File::read`].
    pub(crate) async fn read(&self, offset: u64, len: usize) -> Result<ReadBuf, Error> {
        context::with_current(|current| {
            if let Some(current) = current {
                current.counters.device_reads.add(1);
                current.counters.read_bytes.add(len as u64);
            }
        });
        match self
            .ask(
                Op::Read {
                    inode: Rc::clone(&self.0.inode),
                    offset,
                    len,
                },
                offset,
            )
            .await?
        {
            Output::Bytes(bytes) => Ok(ReadBuf::from_vec(bytes)),
            _ => unreachable!("a read gives bytes"),
        }
    }

    /// As [`crate::disk::File::write`].
    pub(crate) async fn write(&self, offset: u64, buf: Rc<Buf>) -> Result<(), Error> {
        self.check_writable("write")?;
        context::with_current(|current| {
            if let Some(current) = current {
                current.counters.device_writes.add(1);
                current.counters.written_bytes.add(buf.len() as u64);
            }
        });
        let op = Op::Write {
            inode: Rc::clone(&self.0.inode),
            offset,
            data: buf,
            dsync: self.0.dsync,
        };
        self.ask(op, offset).await.map(drop)
    }

    /// As [`crate::disk::File::sync`].
    pub(crate) async fn sync(&self) -> Result<(), Error> {
        count_sync();
        self.ask(
            Op::Sync {
                inode: Rc::clone(&self.0.inode),
                upto: 0,
            },
            0,
        )
        .await
        .map(drop)
    }

    /// As [`crate::disk::File::set_len`].
    pub(crate) async fn set_len(&self, len: u64) -> Result<(), Error> {
        self.check_writable("set_len")?;
        self.ask(
            Op::SetLen {
                inode: Rc::clone(&self.0.inode),
                len,
            },
            0,
        )
        .await
        .map(drop)
    }

    /// As [`crate::disk::File::len`]. No operation of the disk: the kernel knows it.
    #[expect(clippy::unused_async, reason = "one shape with the other body")]
    pub(crate) async fn len(&self) -> Result<u64, Error> {
        Ok(self.0.inode.contents.borrow().len())
    }

    /// As [`crate::disk::File::path`].
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// As [`crate::disk::File::close`]. No operation of the disk.
    #[expect(clippy::unused_async, reason = "one shape with the other body")]
    pub(crate) async fn close(self) -> Result<(), Error> {
        Ok(())
    }
}

fn count_sync() {
    context::with_current(|current| {
        if let Some(current) = current {
            current.counters.syncs.add(1);
        }
    });
}

async fn ask(shard: &Shard, path: &Path, name: &str, op: Op) -> Result<Output, Error> {
    let what = op.name();
    Waiting::issue(shard, op, name)
        .await
        .map_err(|fault| failed(what, path, 0, fault))
}

/// As [`crate::disk::rename`].
pub(crate) async fn rename(shard: &Rc<Shard>, from: &Path, to: &Path) -> Result<(), Error> {
    let (name, to) = (name_of("rename", from)?, name_of("rename", to)?);
    ask(shard, from, &name, Op::Rename { from: name.clone(), to })
        .await
        .map(drop)
}

/// As [`crate::disk::link`].
pub(crate) async fn link(shard: &Rc<Shard>, from: &Path, to: &Path) -> Result<(), Error> {
    let (name, to) = (name_of("link", from)?, name_of("link", to)?);
    ask(shard, from, &name, Op::Link { from: name.clone(), to })
        .await
        .map(drop)
}

/// As [`crate::disk::remove`].
pub(crate) async fn remove(shard: &Rc<Shard>, path: &Path) -> Result<(), Error> {
    let name = name_of("remove", path)?;
    ask(shard, path, &name, Op::Remove { path: name.clone() })
        .await
        .map(drop)
}

/// As [`crate::disk::create_dir_all`].
pub(crate) async fn create_dir_all(shard: &Rc<Shard>, path: &Path) -> Result<(), Error> {
    let name = name_of("create_dir_all", path)?;
    ask(shard, path, &name, Op::CreateDirs { path: name.clone() })
        .await
        .map(drop)
}

/// As [`crate::disk::sync_dir`].
pub(crate) async fn sync_dir(shard: &Rc<Shard>, dir: &Path) -> Result<(), Error> {
    count_sync();
    let name = name_of("sync_dir", dir)?;
    ask(
        shard,
        dir,
        &name,
        Op::SyncDir {
            path: name.clone(),
            upto: 0,
        },
    )
    .await
    .map(drop)
}

/// As [`crate::disk::exists`].
pub(crate) async fn exists(shard: &Rc<Shard>, path: &Path) -> Result<bool, Error> {
    let name = name_of("exists", path)?;
    match ask(shard, path, &name, Op::Exists { path: name.clone() }).await? {
        Output::Found(found) => Ok(found),
        _ => unreachable!("exists gives yes or no"),
    }
}

/// As [`crate::disk::list`].
pub(crate) async fn list(shard: &Rc<Shard>, dir: &Path) -> Result<Vec<Entry>, Error> {
    let name = name_of("list", dir)?;
    match ask(shard, dir, &name, Op::List { path: name.clone() }).await? {
        Output::Entries(entries) => Ok(entries),
        _ => unreachable!("list gives entries"),
    }
}

/// As [`crate::disk::space`].
pub(crate) async fn space(shard: &Rc<Shard>, dir: &Path) -> Result<Space, Error> {
    let name = name_of("space", dir)?;
    match ask(shard, dir, &name, Op::Space).await? {
        Output::Space(space) => Ok(space),
        _ => unreachable!("space gives space"),
    }
}
