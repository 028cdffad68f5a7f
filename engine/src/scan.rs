//! Pages one after the other: of a read, and of a whole table.

use crate::error::{Answer, Result};
use crate::page::{Page, Read};
use crate::store::Store;
use futures_util::stream::{Stream, try_unfold};
use model::TableId;
use runtime::ShardId;
use std::collections::VecDeque;

/// Keys asked for at once.
const KEYS: usize = 256;

/// The pages of a read, in order. One is held at a time.
///
/// ```no_run
/// # async fn example(store: scrollback_engine::Store) -> scrollback_engine::Result<()> {
/// use scrollback_engine::Read;
///
/// let table = store.table("chat", "messages").expect("it was created");
/// let mut pages = store.pages(Read::partition(table.id, b"general"));
/// while let Some(page) = pages.next().await? {
///     println!("{} rows", page.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "pages are read by `next`"]
pub struct Pages {
    store: Store,
    /// What is left; `None` at the end.
    read: Option<Read>,
}

impl Pages {
    /// The next page; `None` at the end. A page may be empty and more may follow. Each is a moment of its own: what is written between
    /// two is seen where it lies ahead.
    ///
    /// # Errors
    /// As [`Store::read`]; calling again tries the same page again.
    ///
    /// # Cancellation
    /// Dropping the future changes nothing: the next call gives the same page.
    #[allow(clippy::should_implement_trait, reason = "it is asynchronous, and may fail")]
    pub fn next(&mut self) -> Answer<'_, Option<Page>> {
        Box::pin(async move {
            let Some(read) = &mut self.read else { return Ok(None) };
            let page = self.store.read(read.clone()).await?;
            match page.more() {
                Some(rest) => read.slice.clone_from(rest),
                None => self.read = None,
            }
            Ok(Some(page))
        })
    }

    /// The same as a stream; dropping it ends the reading. It ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Page>> + Send {
        try_unfold(self, |mut pages| async move {
            Ok(pages.next().await?.map(|page| (page, pages)))
        })
    }
}

/// Everything in a table: shard by shard, there in the order of tokens, the pages of one partition after the other. A page and a few
/// hundred keys are held at a time.
///
/// ```no_run
/// # async fn example(store: scrollback_engine::Store) -> scrollback_engine::Result<()> {
/// let table = store.table("chat", "messages").expect("it was created");
/// let mut scan = store.scan(table.id);
/// while let Some((key, page)) = scan.next().await? {
///     println!("{} rows of {:?}", page.len(), key);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "pages are read by `next`"]
pub struct Scan {
    store: Store,
    /// What is read of each partition, its key left out.
    read: Read,
    shard: u16,
    keys: VecDeque<Vec<u8>>,
    /// Behind this key goes the shard on; `None`: from its first.
    last: Option<Vec<u8>>,
    /// The partition under way, and what is left of it.
    pages: Option<(Vec<u8>, Pages)>,
}

impl Scan {
    /// The next page that has a row or a static row, and the key of its partition; `None` at the end. Partitions that come to be while
    /// it runs are given if they lie ahead.
    ///
    /// # Errors
    /// As [`Store::read`]; calling again goes on from the same place.
    ///
    /// # Cancellation
    /// Dropping the future loses no page: the next call goes on from the same place.
    #[allow(clippy::should_implement_trait, reason = "it is asynchronous, and may fail")]
    pub fn next(&mut self) -> Answer<'_, Option<(Vec<u8>, Page)>> {
        Box::pin(async move {
            loop {
                if let Some((key, pages)) = &mut self.pages {
                    match pages.next().await? {
                        Some(page) if !page.is_empty() || page.static_row().is_some() => {
                            return Ok(Some((key.clone(), page)));
                        }
                        Some(_) => continue,
                        None => self.pages = None,
                    }
                }
                if let Some(key) = self.keys.pop_front() {
                    let read = Read {
                        key: key.clone(),
                        ..self.read.clone()
                    };
                    self.pages = Some((key, self.store.pages(read)));
                    continue;
                }
                if self.shard >= self.store.shards() {
                    return Ok(None);
                }
                let last = self.last.clone();
                let keys = self
                    .store
                    .partitions(ShardId(self.shard), self.read.table, last, KEYS)
                    .await?;
                match keys.last() {
                    Some(last) => self.last = Some(last.clone()),
                    None => (self.shard, self.last) = (self.shard + 1, None),
                }
                self.keys = keys.into();
            }
        })
    }

    /// The same as a stream; dropping it ends the reading. It ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<(Vec<u8>, Page)>> + Send {
        try_unfold(self, |mut scan| async move {
            Ok(scan.next().await?.map(|page| (page, scan)))
        })
    }
}

impl Store {
    /// The pages of a read, one after the other.
    ///
    /// ```
    /// use scrollback_engine::{Read, Result, Store};
    ///
    /// async fn count(store: &Store, read: Read) -> Result<usize> {
    ///     let mut pages = store.pages(read);
    ///     let mut rows = 0;
    ///     while let Some(page) = pages.next().await? {
    ///         rows += page.len();
    ///     }
    ///     Ok(rows)
    /// }
    /// ```
    pub fn pages(&self, read: Read) -> Pages {
        Pages {
            store: self.clone(),
            read: Some(read),
        }
    }

    /// Everything in a table, in pages of at most 1 MiB.
    pub fn scan(&self, table: TableId) -> Scan {
        self.scan_as(Read::partition(table, Vec::new()))
    }

    /// Everything in a table that `read` asks for of each partition; its key does not count.
    pub fn scan_as(&self, read: Read) -> Scan {
        let store = self.clone();
        Scan {
            store,
            read,
            shard: 0,
            keys: VecDeque::new(),
            last: None,
            pages: None,
        }
    }
}
