//! Files as the code above sees them: the `Threads` side of [`crate::disk`].

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::Shard;
use super::flights::Keep;
use super::op::{Descriptor, Failure, How, Op, Output};
use crate::context;
use crate::disk::{Buf, CreateOptions, Entry, ReadBuf, Space};
use crate::error::Error;
use crate::names::blocks_around;

/// An open file.
#[derive(Clone)]
pub(crate) struct File(Rc<Open>);

struct Open {
    /// `None` once it is being closed.
    file: Option<Arc<Descriptor>>,
    path: PathBuf,
    shard: Rc<Shard>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.shard.close_later(file);
        }
    }
}

fn failed(path: &Path, offset: u64, (op, source): Failure) -> Error {
    Error::io(op, path, offset, source)
}

impl File {
    /// As [`crate::disk::File::create`].
    pub(crate) async fn create(shard: &Rc<Shard>, path: &Path, o: CreateOptions) -> Result<File, Error> {
        let how = How {
            create: true,
            write: true,
            dsync: o.dsync,
            direct: shard.direct_io,
            preallocate_bytes: o.preallocate_bytes,
        };
        File::opened(shard, path, how).await
    }

    /// As [`crate::disk::File::open_read`].
    pub(crate) async fn open_read(shard: &Rc<Shard>, path: &Path) -> Result<File, Error> {
        let how = How {
            create: false,
            write: false,
            dsync: false,
            direct: shard.direct_io,
            preallocate_bytes: 0,
        };
        File::opened(shard, path, how).await
    }

    /// As [`crate::disk::File::open_write`].
    pub(crate) async fn open_write(shard: &Rc<Shard>, path: &Path, dsync: bool) -> Result<File, Error> {
        let how = How {
            create: false,
            write: true,
            dsync,
            direct: shard.direct_io,
            preallocate_bytes: 0,
        };
        File::opened(shard, path, how).await
    }

    async fn opened(shard: &Rc<Shard>, path: &Path, how: How) -> Result<File, Error> {
        let op = Op::Open {
            path: path.to_path_buf(),
            how,
        };
        match shard.run_other(op).await.map_err(|failure| failed(path, 0, failure))? {
            Output::Opened(file) => Ok(File(Rc::new(Open {
                file: Some(file),
                path: path.to_path_buf(),
                shard: Rc::clone(shard),
            }))),
            _ => unreachable!("opening gives a file"),
        }
    }

    fn descriptor(&self) -> Arc<Descriptor> {
        let file = self.0.file.as_ref();
        Arc::clone(file.expect("only the last of the clones is closed"))
    }

    /// As [`crate::disk::File::read`].
    pub(crate) async fn read(&self, offset: u64, len: usize) -> Result<ReadBuf, Error> {
        if len == 0 {
            return Ok(ReadBuf::from_vec(Vec::new()));
        }
        // What lies beyond any file is past its end.
        let (start, size, before) = blocks_around(offset, len)
            .ok_or_else(|| Error::io("read", self.path(), offset, io::ErrorKind::UnexpectedEof.into()))?;
        let shard = &self.0.shard;
        let permit = shard.real.io_permit().await;
        let op = Op::Read {
            file: self.descriptor(),
            start,
            size,
            needed: before + len,
        };
        let result = shard.run(op, Keep::permit(permit)).await;
        let counters = &context::current().counters;
        counters.device_reads.add(1);
        match result {
            Ok(Output::Bytes(read)) => {
                counters.read_bytes.add(size as u64);
                let (bytes, first) = read.into_parts();
                Ok(ReadBuf::from_part(bytes, first + before, len))
            }
            Ok(_) => unreachable!("a read gives bytes"),
            Err(failure) => Err(failed(self.path(), offset, failure)),
        }
    }

    /// As [`crate::disk::File::write`].
    pub(crate) async fn write(&self, offset: u64, buf: Rc<Buf>) -> Result<(), Error> {
        let shard = &self.0.shard;
        let len = buf.len();
        let permit = shard.real.io_permit().await;
        let op = Op::Write {
            file: self.descriptor(),
            offset,
            bytes: buf.aligned(),
            len,
        };
        let result = shard.run(op, Keep::permit_and(permit, buf)).await;
        let counters = &context::current().counters;
        counters.device_writes.add(1);
        counters.written_bytes.add(len as u64);
        result.map(drop).map_err(|failure| failed(self.path(), offset, failure))
    }

    async fn ask(&self, op: Op) -> Result<Output, Error> {
        let result = self.0.shard.run_other(op).await;
        result.map_err(|failure| failed(self.path(), 0, failure))
    }

    /// As [`crate::disk::File::sync`].
    pub(crate) async fn sync(&self) -> Result<(), Error> {
        let file = self.descriptor();
        let result = self.ask(Op::Sync { file }).await;
        context::current().counters.syncs.add(1);
        result.map(drop)
    }

    /// As [`crate::disk::File::set_len`].
    pub(crate) async fn set_len(&self, len: u64) -> Result<(), Error> {
        let file = self.descriptor();
        self.ask(Op::SetLen { file, len }).await.map(drop)
    }

    /// As [`crate::disk::File::len`].
    pub(crate) async fn len(&self) -> Result<u64, Error> {
        let file = self.descriptor();
        match self.ask(Op::Len { file }).await? {
            Output::Len(len) => Ok(len),
            _ => unreachable!("a length is asked for"),
        }
    }

    /// As [`crate::disk::File::path`].
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// As [`crate::disk::File::close`].
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Ok(mut open) = Rc::try_unwrap(self.0) else {
            return Ok(());
        };
        let Some(file) = open.file.take() else {
            unreachable!("a file is closed once");
        };
        let result = open.shard.run_other(Op::Close { file }).await;
        result.map(drop).map_err(|failure| failed(&open.path, 0, failure))
    }
}

async fn ask(shard: &Shard, path: &Path, op: Op) -> Result<Output, Error> {
    let result = shard.run_other(op).await;
    result.map_err(|failure| failed(path, 0, failure))
}

/// As [`crate::disk::rename`].
pub(crate) async fn rename(shard: &Rc<Shard>, from: &Path, to: &Path) -> Result<(), Error> {
    let (old, new) = (from.to_path_buf(), to.to_path_buf());
    ask(shard, from, Op::Rename { from: old, to: new }).await.map(drop)
}

/// As [`crate::disk::link`].
pub(crate) async fn link(shard: &Rc<Shard>, from: &Path, to: &Path) -> Result<(), Error> {
    let (old, new) = (from.to_path_buf(), to.to_path_buf());
    ask(shard, from, Op::Link { from: old, to: new }).await.map(drop)
}

/// As [`crate::disk::remove`].
pub(crate) async fn remove(shard: &Rc<Shard>, path: &Path) -> Result<(), Error> {
    let name = path.to_path_buf();
    ask(shard, path, Op::Remove { path: name }).await.map(drop)
}

/// As [`crate::disk::create_dir_all`].
pub(crate) async fn create_dir_all(shard: &Rc<Shard>, path: &Path) -> Result<(), Error> {
    let name = path.to_path_buf();
    ask(shard, path, Op::CreateDirs { path: name }).await.map(drop)
}

/// As [`crate::disk::sync_dir`].
pub(crate) async fn sync_dir(shard: &Rc<Shard>, dir: &Path) -> Result<(), Error> {
    // The empty path is the working directory, as for the calls beside this one.
    let name = std::path::absolute(dir).map_err(|source| Error::io("sync directory", dir, 0, source))?;
    let result = ask(shard, dir, Op::SyncDir { path: name }).await;
    context::current().counters.syncs.add(1);
    result.map(drop)
}

/// As [`crate::disk::exists`].
pub(crate) async fn exists(shard: &Rc<Shard>, path: &Path) -> Result<bool, Error> {
    let name = path.to_path_buf();
    match ask(shard, path, Op::Exists { path: name }).await? {
        Output::Found(found) => Ok(found),
        _ => unreachable!("exists gives yes or no"),
    }
}

/// As [`crate::disk::list`].
pub(crate) async fn list(shard: &Rc<Shard>, dir: &Path) -> Result<Vec<Entry>, Error> {
    let name = dir.to_path_buf();
    match ask(shard, dir, Op::List { path: name }).await? {
        Output::Entries(entries) => Ok(entries),
        _ => unreachable!("list gives entries"),
    }
}

/// As [`crate::disk::space`].
pub(crate) async fn space(shard: &Rc<Shard>, dir: &Path) -> Result<Space, Error> {
    let name = dir.to_path_buf();
    match ask(shard, dir, Op::Space { path: name }).await? {
        Output::Space(space) => Ok(space),
        _ => unreachable!("space gives space"),
    }
}
