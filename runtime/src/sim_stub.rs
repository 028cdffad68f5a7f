//! Stands in for the simulator until it is there.
#![allow(
    missing_docs,
    unused_variables,
    dead_code,
    clippy::unused_async,
    reason = "a stand-in"
)]

use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;

use crate::disk::{Buf, CreateOptions, Entry, ReadBuf};
use crate::{Error, ShardId};

pub struct Shard;
type Unit = Pin<Box<dyn Future<Output = ()>>>;
impl Shard {
    pub fn now_ns(&self) -> u64 {
        unreachable!()
    }
    pub fn unix_micros(&self) -> i64 {
        unreachable!()
    }
    pub fn random_u64(&self) -> u64 {
        unreachable!()
    }
    pub fn spawn(&self, name: &'static str, f: Unit) {
        unreachable!()
    }
    pub fn pass(&self) -> Unit {
        unreachable!()
    }
    pub fn arm(&self, deadline_ns: u64) {
        unreachable!()
    }
    pub fn send(&self, to: ShardId, message: Box<dyn FnOnce() + Send>) {
        unreachable!()
    }
    pub fn charge(&self, ns: u64) {
        unreachable!()
    }
}
#[derive(Clone)]
pub struct File;
impl File {
    pub async fn create(shard: &Rc<Shard>, path: &Path, o: CreateOptions) -> Result<File, Error> {
        unreachable!()
    }
    pub async fn open_read(shard: &Rc<Shard>, path: &Path) -> Result<File, Error> {
        unreachable!()
    }
    pub async fn open_write(shard: &Rc<Shard>, path: &Path, dsync: bool) -> Result<File, Error> {
        unreachable!()
    }
    pub async fn read(&self, offset: u64, len: usize) -> Result<ReadBuf, Error> {
        unreachable!()
    }
    pub async fn write(&self, offset: u64, buf: Rc<Buf>) -> Result<(), Error> {
        unreachable!()
    }
    pub async fn sync(&self) -> Result<(), Error> {
        unreachable!()
    }
    pub async fn set_len(&self, len: u64) -> Result<(), Error> {
        unreachable!()
    }
    pub async fn len(&self) -> Result<u64, Error> {
        unreachable!()
    }
    pub fn path(&self) -> &Path {
        unreachable!()
    }
    pub async fn close(self) -> Result<(), Error> {
        unreachable!()
    }
}
pub async fn rename(shard: &Rc<Shard>, from: &Path, to: &Path) -> Result<(), Error> {
    unreachable!()
}
pub async fn link(shard: &Rc<Shard>, from: &Path, to: &Path) -> Result<(), Error> {
    unreachable!()
}
pub async fn remove(shard: &Rc<Shard>, path: &Path) -> Result<(), Error> {
    unreachable!()
}
pub async fn create_dir_all(shard: &Rc<Shard>, path: &Path) -> Result<(), Error> {
    unreachable!()
}
pub async fn sync_dir(shard: &Rc<Shard>, dir: &Path) -> Result<(), Error> {
    unreachable!()
}
pub async fn exists(shard: &Rc<Shard>, path: &Path) -> Result<bool, Error> {
    unreachable!()
}
pub async fn list(shard: &Rc<Shard>, dir: &Path) -> Result<Vec<Entry>, Error> {
    unreachable!()
}
