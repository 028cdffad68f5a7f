//! Giving names their ids, and finding them again.

use crate::{
    Error, NAME_BYTES_MAX, NameKind, Result,
    home::LockKey,
    local::Local,
    names::{first_candidate, next_candidate},
    tables::{self, Tables},
};
use engine::{Read, Shard};
use model::{MutationBuilder, RowBuilder};

/// Names that share a hash are rarer than this by many orders of magnitude.
const CANDIDATES_MAX: u32 = 1000;

impl Local {
    /// The id of a name; gives it one if it has none, on disk when this returns.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Engine`].
    ///
    /// # Cancellation
    /// Dropped, the name may have been given an id: the one that it gets when asked again.
    pub async fn intern(&self, kind: NameKind, name: &str) -> Result<i64> {
        self.candidate(kind, name, true).await?.ok_or_else(|| Error::Malformed {
            what: format!("no id is free for the name {name:?}"),
        })
    }

    /// The id of a name, if it has one.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::Engine`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn find(&self, kind: NameKind, name: &str) -> Result<Option<i64>> {
        self.candidate(kind, name, false).await
    }

    async fn candidate(&self, kind: NameKind, name: &str, claim: bool) -> Result<Option<i64>> {
        match name.len() {
            1..=NAME_BYTES_MAX => {}
            bytes => return Err(Error::BadName { bytes }),
        }
        let mut id = first_candidate(kind, name);
        for _ in 0..CANDIDATES_MAX {
            match self.holder(kind, id, name, claim).await? {
                Holder::This => return Ok(Some(id)),
                Holder::Nobody => return Ok(None),
                Holder::Another => id = next_candidate(id),
            }
        }
        Ok(None)
    }

    /// Who has this id, asked on the shard that owns it; with `claim`, it is this name's if it was nobody's.
    pub(crate) async fn holder(&self, kind: NameKind, id: i64, name: &str, claim: bool) -> Result<Holder> {
        let owner = self.shard.owner(model::token_of(&tables::name_key(kind, id)));
        let (tables, name) = (self.tables, name.to_owned());
        let holder = move |shard| async move { Local::new(shard, tables).holder_here(kind, id, &name, claim).await };
        Shard::call(owner, holder).await?
    }

    async fn holder_here(&self, kind: NameKind, id: i64, name: &str, claim: bool) -> Result<Holder> {
        let _locked = match claim {
            true => Some(self.home.lock(LockKey::Name(kind as u8, id)).await),
            false => None,
        };
        if let Some(present) = self.name(kind, id).await? {
            return Ok(if present == name { Holder::This } else { Holder::Another });
        }
        if !claim {
            return Ok(Holder::Nobody);
        }
        let timestamp = self.shard.timestamp().await?;
        let mut row = RowBuilder::new();
        row.liveness(timestamp);
        row.cell(self.tables.name, timestamp, name.as_bytes());
        let mut mutation = MutationBuilder::new(self.tables.names, &tables::name_key(kind, id));
        mutation.row(&[], row.finish());
        self.shard.apply(mutation.build()).await?;
        Ok(Holder::This)
    }

    /// The name that has this id.
    ///
    /// # Errors
    /// [`Error::Engine`].
    ///
    /// # Cancellation
    /// Changes nothing.
    pub async fn name(&self, kind: NameKind, id: i64) -> Result<Option<String>> {
        let page = self.shard.read(read_of(&self.tables, kind, id)).await?;
        name_in(&self.tables, &page, kind, id)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    This,
    Another,
    Nobody,
}

pub(crate) fn read_of(tables: &Tables, kind: NameKind, id: i64) -> Read {
    Read {
        limit_rows: 1,
        ..Read::partition(tables.names, tables::name_key(kind, id))
    }
}

pub(crate) fn name_in(tables: &Tables, page: &engine::Page, kind: NameKind, id: i64) -> Result<Option<String>> {
    let Some((_, row)) = page.row(0) else { return Ok(None) };
    let name = tables::value(row, tables.name).and_then(|name| String::from_utf8(name.to_vec()).ok());
    let malformed = || Error::Malformed {
        what: format!("the {kind:?} {id} has a row for its name, and no name in it"),
    };
    Ok(Some(name.ok_or_else(malformed)?))
}
