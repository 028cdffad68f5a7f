//! What stands for the body `Uring` where there is no io_uring: types without a value.

use std::convert::Infallible;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::rc::Rc;

use crate::context::ShardId;
use crate::cross::Message;
use crate::disk::{Buf, CreateOptions, Entry, ReadBuf, Space};
use crate::error::Error;
use crate::net::Net;
use crate::real::{RealShard, Seed};

/// A shard that can't be.
pub(crate) struct Shard {
    pub(crate) real: RealShard,
    never: Infallible,
}

impl Shard {
    pub(crate) fn spawn(&self, _: impl Future<Output = ()> + 'static) {
        match self.never {}
    }

    pub(crate) fn arm(&self, _: u64) {
        match self.never {}
    }

    pub(crate) fn net(&self) -> io::Result<Rc<Net>> {
        match self.never {}
    }

    pub(crate) fn send(&self, _: ShardId, _: Message) {
        match self.never {}
    }
}

pub(crate) fn seeds(_: usize) -> Vec<Seed> {
    unreachable!("io_uring is never chosen here")
}

pub(crate) async fn pass() {
    unreachable!("there is no shard of io_uring")
}

pub(crate) fn passed_meanwhile() -> bool {
    unreachable!("there is no shard of io_uring")
}

pub(crate) struct DmaBuf(Infallible);

impl DmaBuf {
    pub(crate) fn zeroed(_: usize) -> Self {
        unreachable!("there is no shard of io_uring")
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self.0 {}
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self.0 {}
    }
}

pub(crate) struct DmaRead(Infallible);

impl Deref for DmaRead {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self.0 {}
    }
}

#[derive(Clone)]
pub(crate) struct File(Infallible);

impl File {
    pub(crate) async fn create(shard: &Rc<Shard>, _: &Path, _: CreateOptions) -> Result<File, Error> {
        match shard.never {}
    }

    pub(crate) async fn open_read(shard: &Rc<Shard>, _: &Path) -> Result<File, Error> {
        match shard.never {}
    }

    pub(crate) async fn open_write(shard: &Rc<Shard>, _: &Path, _: bool) -> Result<File, Error> {
        match shard.never {}
    }

    pub(crate) async fn read(&self, _: u64, _: usize) -> Result<ReadBuf, Error> {
        match self.0 {}
    }

    pub(crate) async fn write(&self, _: u64, _: Rc<Buf>) -> Result<(), Error> {
        match self.0 {}
    }

    pub(crate) async fn sync(&self) -> Result<(), Error> {
        match self.0 {}
    }

    pub(crate) async fn set_len(&self, _: u64) -> Result<(), Error> {
        match self.0 {}
    }

    pub(crate) async fn len(&self) -> Result<u64, Error> {
        match self.0 {}
    }

    pub(crate) fn path(&self) -> &Path {
        match self.0 {}
    }

    pub(crate) async fn close(self) -> Result<(), Error> {
        match self.0 {}
    }
}

pub(crate) async fn rename(shard: &Rc<Shard>, _: &Path, _: &Path) -> Result<(), Error> {
    match shard.never {}
}

pub(crate) async fn link(shard: &Rc<Shard>, _: &Path, _: &Path) -> Result<(), Error> {
    match shard.never {}
}

pub(crate) async fn remove(shard: &Rc<Shard>, _: &Path) -> Result<(), Error> {
    match shard.never {}
}

pub(crate) async fn create_dir_all(shard: &Rc<Shard>, _: &Path) -> Result<(), Error> {
    match shard.never {}
}

pub(crate) async fn sync_dir(shard: &Rc<Shard>, _: &Path) -> Result<(), Error> {
    match shard.never {}
}

pub(crate) async fn exists(shard: &Rc<Shard>, _: &Path) -> Result<bool, Error> {
    match shard.never {}
}

pub(crate) async fn list(shard: &Rc<Shard>, _: &Path) -> Result<Vec<Entry>, Error> {
    match shard.never {}
}

pub(crate) async fn space(shard: &Rc<Shard>, _: &Path) -> Result<Space, Error> {
    match shard.never {}
}
