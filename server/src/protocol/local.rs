//! One shard's part of the server.

use super::catalog::View;
use super::connection::Connections;
use super::fail::{Done, Failure};
use super::node::Node;
use super::prepared::Statement;
use super::system::System;
use super::texts::StatementId;
use super::trace::Traces;
use cql::frame::Events;
use cql::language::{Environment, Modification, ddl};
use engine::Shard;
use messages::TableRole;
use model::{MutationBuilder, RowBuilder, Schema};
use runtime::net::Listener;
use runtime::{ShardId, Task};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Statements that a shard keeps checked.
const STATEMENTS_MAX: usize = 10_000;
/// And bytes of their texts.
const STATEMENT_BYTES_MAX: usize = 4 << 20;

/// Gives bytes to a connection that nobody has asked for: events.
pub type Push = Rc<dyn Fn(&[u8])>;

/// One shard's part of the server.
pub struct Local {
    /// The engine's part.
    pub(super) shard: Rc<Shard>,
    pub(super) node: Arc<Node>,
    pub(super) system: Arc<System>,
    pub(super) traces: Traces,
    statements: RefCell<BTreeMap<StatementId, Rc<Statement>>>,
    /// Of their texts.
    statement_bytes: Cell<usize>,
    /// Those who want events, by the number of their connection.
    subscribers: RefCell<BTreeMap<u64, (Events, Push)>>,
    next_connection: Cell<u64>,
    /// 100-ns ticks since the Unix epoch of the last time-based UUID.
    ticks: Cell<i64>,
    /// Its last bytes: another for each start of each shard.
    node_bytes: [u8; 8],
    /// Requests that connections of this shard have sent.
    pub(super) requests: Cell<u64>,
    /// Reads and writes of those requests that went to another shard.
    hops: Cell<u64>,
    scratch: RefCell<Option<Scratch>>,
    pub(super) connections: Rc<Connections>,
    pub(super) listeners: RefCell<Vec<Listener>>,
    /// Those of the listeners, and the one that looks at deadlines.
    pub(super) tasks: RefCell<Vec<Task<()>>>,
    pub(super) closing: Cell<bool>,
}

/// Builders that are used again and again.
pub(super) struct Scratch {
    pub mutation: MutationBuilder,
    pub row: RowBuilder,
}

impl Local {
    /// The part of the running shard; made at the first call.
    #[must_use]
    pub fn of(shard: &Rc<Shard>, node: &Arc<Node>) -> Rc<Local> {
        let made = shard.extension(|| {
            let mut node_bytes = [0; 8];
            runtime::random::fill(&mut node_bytes);
            // The variant, and a node that is no network card's.
            node_bytes[0] = node_bytes[0] & 0x3F | 0x80;
            node_bytes[2] |= 1;
            Rc::new(Local {
                shard: Rc::clone(shard),
                node: Arc::clone(node),
                system: Arc::new(System::new()),
                traces: Traces::default(),
                statements: RefCell::default(),
                statement_bytes: Cell::new(0),
                subscribers: RefCell::default(),
                next_connection: Cell::new(0),
                ticks: Cell::new(0),
                node_bytes,
                requests: Cell::new(0),
                hops: Cell::new(0),
                scratch: RefCell::new(None),
                connections: Rc::default(),
                listeners: RefCell::default(),
                tasks: RefCell::default(),
                closing: Cell::new(false),
            })
        });
        Rc::clone(&made)
    }

    /// The definitions as they are.
    pub(super) fn view(&self) -> View {
        View {
            definitions: self.shard.definitions(),
            system: Arc::clone(&self.system),
        }
    }

    /// Counts what goes to `owner` as a hop, if that is another shard. Whether it is.
    pub(super) fn hop(&self, owner: ShardId) -> bool {
        let is_hop = owner != self.shard.id();
        self.hops.set(self.hops.get() + u64::from(is_hop));
        is_hop
    }

    pub(super) fn hops(&self) -> u64 {
        self.hops.get()
    }

    /// Whether the messages keep a table for themselves.
    pub(super) fn is_kept(&self, table: &Schema) -> bool {
        let role = self
            .node
            .messages
            .as_ref()
            .and_then(|messages| messages.role_of(table.id));
        role == Some(TableRole::Kept)
    }

    /// Whether a modification depends on nothing but its values, and its table has no rules of its own.
    pub(super) fn is_quick(&self, modification: &Modification) -> bool {
        !modification.needs_read()
            && modification.timeout.is_none()
            && !ddl::is_system(&modification.table.keyspace)
            && !self.is_of_messages(&modification.table)
    }

    /// Whether the messages need a table.
    pub(super) fn is_of_messages(&self, table: &Schema) -> bool {
        self.node
            .messages
            .as_ref()
            .is_some_and(|messages| messages.role_of(table.id).is_some())
    }

    /// The prepared statement of an id, checked against the definitions as they are.
    pub(super) fn statement(&self, id: &[u8]) -> Done<Rc<Statement>> {
        let unprepared = || Failure::Unprepared(id.to_vec());
        let id: StatementId = id.try_into().map_err(|_| unprepared())?;
        let epoch = self.shard.schema_epoch();
        let present = self.statements.borrow().get(&id).cloned();
        if let Some(present) = present
            .filter(|present| present.epoch == epoch || runtime::broken(runtime::Break::StatementsOutliveAlterations))
        {
            return Ok(present);
        }
        let text = self.node.texts.text_of(&id).ok_or_else(unprepared)?;
        let (keyspace, text) = &*text;
        match Statement::check(text, keyspace.as_deref(), &self.view(), id, epoch) {
            Ok(statement) if !self.node.texts.forget_changed(&statement) => Ok(self.keep(statement)),
            // What it was about is gone, or its rows are others: whoever prepares it again is told.
            Ok(_) | Err(_) => {
                if let Some(gone) = self.statements.borrow_mut().remove(&id) {
                    self.statement_bytes.set(self.statement_bytes.get() - gone.text.len());
                }
                Err(unprepared())
            }
        }
    }

    /// Keeps a checked statement.
    pub(super) fn keep(&self, statement: Statement) -> Rc<Statement> {
        let statement = Rc::new(statement);
        let mut statements = self.statements.borrow_mut();
        let mut bytes = self.statement_bytes.get() + statement.text.len();
        if statements.len() >= STATEMENTS_MAX || bytes > STATEMENT_BYTES_MAX {
            // All are made again from their texts as they are needed.
            statements.clear();
            bytes = statement.text.len();
        }
        if let Some(replaced) = statements.insert(statement.id, Rc::clone(&statement)) {
            bytes -= replaced.text.len();
        }
        self.statement_bytes.set(bytes);
        statement
    }

    /// The number of a new connection.
    pub(super) fn connection(&self) -> u64 {
        let number = self.next_connection.get();
        self.next_connection.set(number + 1);
        number
    }

    /// A connection wants these events from now on.
    pub(super) fn subscribe(&self, connection: u64, events: Events, push: Push) {
        let mut subscribers = self.subscribers.borrow_mut();
        let (wanted, _) = subscribers.entry(connection).or_insert((Events::default(), push));
        *wanted = wanted.and(events);
    }

    pub(super) fn unsubscribe(&self, connection: u64) {
        self.subscribers.borrow_mut().remove(&connection);
    }

    /// Gives an event to the connections of this shard that want changes of the schema.
    pub(super) fn tell_schema_change(&self, event: &[u8]) {
        let wanting: Vec<Push> = self
            .subscribers
            .borrow()
            .values()
            .filter(|(events, _)| events.schema_change)
            .map(|(_, push)| Rc::clone(push))
            .collect();
        for push in wanting {
            push(event);
        }
    }

    /// Lends the builders.
    pub(super) fn with_scratch<T>(&self, f: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.scratch.take().unwrap_or_else(|| Scratch {
            mutation: MutationBuilder::new(model::TableId(0), &[0]),
            row: RowBuilder::new(),
        });
        let given = f(&mut scratch);
        self.scratch.replace(Some(scratch));
        given
    }
}

impl Environment for Local {
    fn now_micros(&self) -> i64 {
        runtime::time::unix_micros()
    }

    fn time_uuid(&self) -> [u8; 16] {
        let ticks = (self.now_micros() * 10).max(self.ticks.get() + 1);
        self.ticks.set(ticks);
        cql::language::time::time_uuid(ticks, self.node_bytes)
    }

    fn random_uuid(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        runtime::random::fill(&mut bytes);
        *uuid::Builder::from_random_bytes(bytes).as_uuid().as_bytes()
    }
}
