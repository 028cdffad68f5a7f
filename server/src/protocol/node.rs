//! What all shards of a serving node share.

use super::prepared::Statement;
use cql::language::ddl::Topology;
use messages::Messages;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use uuid::Uuid;

/// What `SUPPORTED` and `system.local` say of the node.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// This node's data center first.
    pub topology: Topology,
    /// Its rack.
    pub rack: String,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// The port whose connections are placed by the client's port; `None`: there is none.
    pub shard_aware_port: Option<u16>,
    /// Its id.
    pub host_id: Uuid,
    /// Number of shards.
    pub shards: u16,
}

/// A prepared statement's text and the keyspace that was in use.
pub(super) type Text = Arc<(Option<String>, String)>;
/// The id of a prepared statement: of its keyspace and text alone.
pub(super) type StatementId = [u8; 16];

/// Prepared texts that are remembered: beyond, the ones prepared longest ago are forgotten.
const TEXTS_MAX: usize = 50_000;
/// And bytes of them.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// What all shards share.
pub struct Node {
    /// Who it is.
    pub identity: Identity,
    /// The messages of the store, whose tables have rules of their own; `None`: it has none.
    pub(super) messages: Option<Messages>,
    /// Connections of each shard.
    pub(super) connections: Vec<AtomicUsize>,
    texts: Mutex<Texts>,
}

#[derive(Default)]
struct Texts {
    by_id: BTreeMap<StatementId, Known>,
    by_age: BTreeMap<u64, StatementId>,
    next: u64,
    bytes: usize,
}

/// What is known of a statement that was prepared.
struct Known {
    text: Text,
    /// The result's columns as they were first.
    first_result: u64,
    /// They have been others since: whoever was told the first ones would misread rows without them.
    has_changed: bool,
    /// The columns that were told when it was prepared last; `None`: it is to be prepared again.
    told_result: Option<u64>,
}

impl Node {
    /// A node that has prepared nothing.
    #[must_use]
    pub fn new(identity: Identity, messages: Option<Messages>) -> Arc<Node> {
        Arc::new(Node {
            connections: (0..identity.shards).map(|_| AtomicUsize::new(0)).collect(),
            identity,
            messages,
            texts: Mutex::default(),
        })
    }

    /// The id of a statement.
    pub(super) fn id_of(keyspace: Option<&str>, text: &str) -> StatementId {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        // No name has a zero byte.
        hasher.update(keyspace.unwrap_or_default().as_bytes());
        hasher.update(&[0]);
        hasher.update(text.as_bytes());
        hasher.digest128().to_be_bytes()
    }

    /// Remembers a prepared statement for all shards, and that its client is told the columns that it has now. False if another text
    /// has the same id, which nobody will see by chance.
    pub(super) fn remember(&self, statement: &Statement, keyspace: Option<&str>) -> bool {
        let (id, text, result) = (statement.id, &*statement.text, statement.result_hash);
        let mut texts = self.texts.lock();
        if let Some(known) = texts.by_id.get_mut(&id) {
            known.has_changed |= known.first_result != result;
            known.told_result = Some(result);
            return known.text.0.as_deref() == keyspace && known.text.1 == text;
        }
        let age = texts.next;
        texts.next += 1;
        texts.bytes += text.len();
        texts.by_age.insert(age, id);
        let known = Known {
            text: Arc::new((keyspace.map(str::to_owned), text.to_owned())),
            first_result: result,
            has_changed: false,
            told_result: Some(result),
        };
        texts.by_id.insert(id, known);
        while texts.by_id.len() > TEXTS_MAX || texts.bytes > TEXT_BYTES_MAX {
            let Some((_, oldest)) = texts.by_age.pop_first() else {
                break;
            };
            let gone = texts.by_id.remove(&oldest).expect("each has one age");
            texts.bytes -= gone.text.1.len();
        }
        true
    }

    /// The text of an id.
    pub(super) fn text_of(&self, id: &StatementId) -> Option<Text> {
        let texts = self.texts.lock();
        let known = texts.by_id.get(id).filter(|known| known.told_result.is_some());
        known.map(|known| Arc::clone(&known.text))
    }

    /// Forgets a statement whose rows have other columns than were told, so that it is prepared again; false if they have not.
    ///
    /// Cassandra does so with all statements of a table that was altered, and there are drivers that never look at the columns that
    /// come with rows.
    pub(super) fn forget_changed(&self, statement: &Statement) -> bool {
        let mut texts = self.texts.lock();
        let Some(known) = texts.by_id.get_mut(&statement.id) else {
            return true;
        };
        let is_told = known.told_result == Some(statement.result_hash);
        if !is_told {
            known.told_result = None;
        }
        !is_told
    }

    /// Whether the columns of a statement's rows have always been what they are.
    pub(super) fn has_one_result(&self, statement: &Statement) -> bool {
        if let Some(known) = statement.has_one_result.get() {
            return known;
        }
        let mut texts = self.texts.lock();
        let has_one = texts.by_id.get_mut(&statement.id).is_some_and(|known| {
            known.has_changed |= known.first_result != statement.result_hash;
            !known.has_changed
        });
        statement.has_one_result.set(Some(has_one));
        has_one
    }
}
