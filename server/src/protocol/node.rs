//! What all shards of a serving node share.

use super::texts::Texts;
use cql::language::ddl::Topology;
use messages::Messages;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;
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

/// What all shards share.
pub struct Node {
    /// Who it is.
    pub identity: Identity,
    /// The messages of the store, whose tables have rules of their own; `None`: it has none.
    pub(super) messages: Option<Messages>,
    /// Connections of each shard.
    pub(super) connections: Vec<AtomicUsize>,
    pub(super) texts: Texts,
    /// How long a `SELECT` may take that does not say so itself; zero: for ever.
    pub(super) read_timeout: Duration,
}

impl Node {
    /// How long a `SELECT` may take, unless it or the node says otherwise: as Cassandra's of ranges.
    pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

    /// A node that knows of the statements that were prepared before it started. A `SELECT` without a timeout of its own may take
    /// `read_timeout`; zero: as long as it takes.
    #[must_use]
    pub fn new(identity: Identity, messages: Option<Messages>, texts: Texts, read_timeout: Duration) -> Arc<Node> {
        Arc::new(Node {
            connections: (0..identity.shards).map(|_| AtomicUsize::new(0)).collect(),
            identity,
            messages,
            texts,
            read_timeout,
        })
    }
}
