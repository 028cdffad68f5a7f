//! One connection without its socket: a request in, an answer out.
//!
//! Requests of a connection run side by side and are answered in any order. What they change of the connection itself (its keyspace, its
//! events) is changed before the answer is given.

use super::fail::{Doing, Done, Failure};
use super::local::{Local, Push};
use super::modify::{self, Batch, Item, Modified, Outcome};
use super::prepared::Statement;
use super::select::{self, Wanted};
use super::system::CQL_VERSION;
use super::texts::{self, id_of};
use super::trace::{Step, Trace};
use super::values::Values;
use super::{describe, schema};
use cql::frame::{
    BatchStatement, BatchType, Column, Compressor, Consistency, ErrorBody, Header, LZ4, Metadata, Opcode, Parameters,
    Prepared, Reply, Request, SchemaChange, Startup, Value, add_warnings,
};
use cql::language::syntax::ast::BatchKind;
use cql::language::{Environment, Execution, Marker, Statement as Checked, ddl};
use engine::Applying;
use futures_util::future::LocalBoxFuture;
use model::{CqlType, Mutation};
use runtime::{Break, ShardId};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use uuid::Uuid;

/// Reads that meet more tombstones than this are warned about, unless the table says something else.
const TOMBSTONES_WARNED: u64 = 1000;

/// Of a traced text so many characters are remembered.
const TRACED_CHARS_MAX: usize = 1000;

/// One connection.
pub struct Session {
    local: Rc<Local>,
    number: u64,
    started: Cell<bool>,
    lz4: Cell<bool>,
    keyspace: RefCell<Option<Arc<str>>>,
    push: Push,
    compressor: RefCell<Compressor>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.local.unsubscribe(self.number);
    }
}

/// What a request is executed with beside its statement.
#[derive(Clone, Copy)]
struct With<'a> {
    consistency: Consistency,
    serial_consistency: Option<Consistency>,
    timestamp: Option<i64>,
    wanted: Wanted<'a>,
}

impl<'a> With<'a> {
    fn of(parameters: &Parameters<'a>) -> With<'a> {
        With {
            consistency: parameters.consistency,
            serial_consistency: parameters.serial_consistency,
            timestamp: parameters.timestamp,
            wanted: Wanted {
                page_size: parameters.page_size,
                paging_state: parameters.paging_state,
                skip_metadata: parameters.skip_metadata,
            },
        }
    }
}

/// A write that was [begun](Session::begin_write).
///
/// # Cancellation
/// Dropped, it may or may not be written.
#[must_use = "it is answered by `end_write`"]
pub struct Write {
    stream: i16,
    consistency: Consistency,
    state: WriteState,
}

enum WriteState {
    /// It is another shard's, or has to wait for room.
    Made(Mutation),
    Logged(Applying),
}

impl Write {
    pub(super) fn is_logged(&self) -> bool {
        matches!(self.state, WriteState::Logged(_))
    }
}

impl Session {
    /// A connection of the running shard; `push` gets the bytes of events.
    #[must_use]
    pub fn new(local: &Rc<Local>, push: Push) -> Rc<Session> {
        Rc::new(Session {
            local: Rc::clone(local),
            number: local.connection(),
            started: Cell::new(false),
            lz4: Cell::new(false),
            keyspace: RefCell::new(None),
            push,
            compressor: RefCell::default(),
        })
    }

    /// The connection's number on its shard.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether `STARTUP` has been answered.
    #[must_use]
    pub fn has_started(&self) -> bool {
        self.started.get()
    }

    /// Executes a request, and appends its answer to `out`. `limit` is the most bytes that a body may have once it is unpacked.
    ///
    /// # Cancellation
    /// What has been begun may have happened or not.
    pub fn answer<'a>(
        self: &'a Rc<Self>,
        header: &'a Header,
        body: &'a [u8],
        limit: usize,
        out: &'a mut Vec<u8>,
    ) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            self.local.requests.set(self.local.requests.get() + 1);
            let start = out.len();
            let mut unpacked = Vec::new();
            let body = match self.unpack(header, body, limit, &mut unpacked) {
                Ok(body) => body,
                Err(error) => return Reply::to(header.stream).refuse(out, &error),
            };
            match Request::parse(header, body) {
                Ok(request) => self.execute(header, &request, out).await,
                Err(error) => Reply::to(header.stream).refuse(out, &error),
            }
            let is_startup = header.opcode == Opcode::Startup;
            if self.lz4.get() && !is_startup {
                self.compressor.borrow_mut().compress(out, start);
            }
        })
    }

    /// Begins a prepared write of one partition that depends on nothing, without a task and without a copy of its body: its mutation is made
    /// from where it lies, and is in the log when this returns, if it is this shard's and there is room. `None`: it goes the long way, where
    /// what is wrong with it is told.
    #[must_use]
    pub fn begin_write(&self, header: &Header, body: &[u8]) -> Option<Write> {
        let plain = header.opcode == Opcode::Execute && !header.flags.compressed() && !header.flags.tracing();
        if !plain || !self.started.get() {
            return None;
        }
        let Ok(Request::Execute { id, parameters }) = Request::parse(header, body) else {
            return None;
        };
        let local = &self.local;
        let statement = local.statement(id).ok()?;
        let Checked::Modify(modification) = &statement.prepared.statement else {
            return None;
        };
        let values = &parameters.values;
        if !local.is_quick(modification) || values.is_named() || values.len() != statement.prepared.markers.len() {
            return None;
        }
        check_serial(parameters.serial_consistency).ok()?;
        let values: SmallVec<[Value<'_>; 16]> = values.iter().map(|(_, value)| value).collect();
        let environment: &Local = local;
        let write = modification
            .bind(Execution {
                values: &values,
                environment,
            })
            .ok()?;
        let [key] = write.keys() else { return None };
        let timestamp = match write.timestamp.or(parameters.timestamp) {
            Some(timestamp) => timestamp,
            None if local.shard.owner(model::token_of(key)) == local.shard.id() => local.shard.timestamp_at_once()?,
            None => return None,
        };
        let mutation = modify::mutation_of(local, &write, key, timestamp).ok()??;
        local.requests.set(local.requests.get() + 1);
        let at_once = match runtime::broken(Break::AnswersBeforeApply) {
            true => None,
            false => local.shard.apply_at_once(&mutation),
        };
        Some(Write {
            stream: header.stream,
            consistency: parameters.consistency,
            state: at_once.map_or(WriteState::Made(mutation), WriteState::Logged),
        })
    }

    /// Waits until what [`begin_write`](Self::begin_write) has begun is applied, and appends the answer to `out`.
    pub async fn end_write(&self, write: Write, out: &mut Vec<u8>) {
        if let Some(owner) = self.other_owner(&write) {
            return self.end_writes_of(owner, vec![write], out).await;
        }
        let written = match write.state {
            WriteState::Made(mutation) => modify::apply_one(&self.local, mutation).await,
            WriteState::Logged(applying) => modify::logged(applying.await),
        };
        self.answer_write(write.stream, write.consistency, written, out);
    }

    /// The shard that has to apply a write, if it is another one.
    pub(super) fn other_owner(&self, write: &Write) -> Option<ShardId> {
        let WriteState::Made(mutation) = &write.state else {
            return None;
        };
        let owner = self.local.shard.owner(mutation.as_ref().token());
        (owner != self.local.shard.id()).then_some(owner)
    }

    /// As [`end_write`](Self::end_write), for writes that [another shard](Self::other_owner) has to apply.
    pub(super) async fn end_writes_of(&self, owner: ShardId, writes: Vec<Write>, out: &mut Vec<u8>) {
        let (mut mutations, mut answers) = (Vec::with_capacity(writes.len()), Vec::with_capacity(writes.len()));
        for write in writes {
            let WriteState::Made(mutation) = write.state else {
                unreachable!("what is in a log is of this shard");
            };
            self.local.hop(owner);
            mutations.push(mutation);
            answers.push((write.stream, write.consistency));
        }
        let written = self.local.shard.apply_each(owner, mutations).await;
        for ((stream, consistency), written) in answers.into_iter().zip(written) {
            self.answer_write(stream, consistency, modify::logged(written), out);
        }
    }

    fn answer_write(&self, stream: i16, consistency: Consistency, written: Done<()>, out: &mut Vec<u8>) {
        let start = out.len();
        let reply = Reply::to(stream);
        match written {
            Ok(()) => reply.void(out),
            Err(failure) => failure.reply(&reply, consistency, out),
        }
        if self.lz4.get() {
            self.compressor.borrow_mut().compress(out, start);
        }
    }

    /// As [`end_write`](Self::end_write) for a write that is in the log; to be called again until it is ready.
    pub(super) fn poll_write(&self, write: &mut Write, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<()> {
        let WriteState::Logged(applying) = &mut write.state else {
            unreachable!("only what is in the log is waited for like this");
        };
        let written = ready!(Pin::new(applying).poll(context));
        self.answer_write(write.stream, write.consistency, modify::logged(written), out);
        Poll::Ready(())
    }

    fn unpack<'b>(
        &self,
        header: &Header,
        body: &'b [u8],
        limit: usize,
        unpacked: &'b mut Vec<u8>,
    ) -> cql::frame::Result<&'b [u8]> {
        if !header.flags.compressed() {
            return Ok(body);
        }
        if !self.lz4.get() {
            return Err(cql::frame::Error::Malformed(
                "a compressed body, although no compression was agreed upon in STARTUP",
            ));
        }
        cql::frame::decompress(body, limit, unpacked)?;
        Ok(unpacked)
    }

    async fn execute(self: &Rc<Self>, header: &Header, request: &Request<'_>, out: &mut Vec<u8>) {
        let plain = Reply::to(header.stream);
        if !self.started.get() && !matches!(request, Request::Startup(_) | Request::Options) {
            let what = format!(
                "Unexpected message {}, expecting STARTUP or OPTIONS",
                opcode_name(request)
            );
            return plain.error(out, &what, &ErrorBody::Protocol);
        }
        let (kind, traced_text, consistency) = match request {
            Request::Query { text, parameters } => ("Execute CQL3 query", *text, parameters.consistency),
            Request::Execute { parameters, .. } => ("Execute CQL3 prepared query", "", parameters.consistency),
            Request::Batch(batch) => ("Execute batch of CQL3 queries", "", batch.consistency),
            Request::Prepare { text } => ("Preparing CQL3 query", *text, Consistency::One),
            _ => ("", "", Consistency::One),
        };
        let tracing = (header.flags.tracing() && !kind.is_empty()).then(|| Uuid::from_bytes(self.local.time_uuid()));
        let begun = self.local.now_micros();
        let mut warnings = Vec::new();
        let start = out.len();
        let done = match request {
            Request::Startup(startup) => {
                self.startup(startup, &plain, out);
                Ok(())
            }
            Request::Options => {
                self.supported(&plain, out);
                Ok(())
            }
            Request::AuthResponse(_) => {
                // Credentials that nobody asked for.
                plain.auth_success(out, None);
                Ok(())
            }
            Request::Register(events) => {
                self.local.subscribe(self.number, *events, Rc::clone(&self.push));
                plain.ready(out);
                Ok(())
            }
            Request::Prepare { text } => Box::pin(self.prepare(text, header.stream, tracing, out)).await,
            Request::Query { text, parameters } => {
                self.query(text, parameters, header.stream, tracing, &mut warnings, out)
                    .await
            }
            Request::Execute { id, parameters } => {
                self.execute_prepared(id, parameters, header.stream, tracing, &mut warnings, out)
                    .await
            }
            Request::Batch(batch) => Box::pin(self.batch(batch, header.stream, tracing, &mut warnings, out)).await,
        };
        if let Err(failure) = done {
            out.truncate(start);
            let reply = Reply {
                tracing,
                warnings: &warnings,
                ..plain
            };
            failure.reply(&reply, consistency, out);
        }
        if let Some(id) = tracing {
            let micros = i32::try_from(self.local.now_micros() - begun).unwrap_or(i32::MAX);
            let step = |activity: &str, micros_since| Step {
                id: self.local.time_uuid(),
                activity: activity.to_owned(),
                micros_since,
            };
            self.local.traces.add(Trace {
                id,
                started_micros: begun,
                micros,
                request: kind,
                query: traced_text.chars().take(TRACED_CHARS_MAX).collect(),
                steps: vec![step("Parsing and executing", 0), step("Request complete", micros)],
            });
        }
    }

    fn startup(&self, startup: &Startup<'_>, reply: &Reply<'_>, out: &mut Vec<u8>) {
        let refuse = |out: &mut Vec<u8>, what: &str| reply.error(out, what, &ErrorBody::Protocol);
        if self.started.get() {
            return refuse(
                out,
                "Invalid message of type STARTUP: the connection has been started already",
            );
        }
        let Some(version) = startup.cql_version() else {
            return refuse(out, "Missing value CQL_VERSION in STARTUP message");
        };
        let known = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if !known.is_some_and(|major| (3..=4).contains(&major)) {
            return refuse(
                out,
                &format!("CQL version {version} is not supported; supported are 3.0.0 to 4.0.0"),
            );
        }
        match startup.compression() {
            None => {}
            Some(name) if name.eq_ignore_ascii_case(LZ4) => self.lz4.set(true),
            Some(name) => return refuse(out, &format!("Unknown compression algorithm: {name}")),
        }
        self.started.set(true);
        reply.ready(out);
    }

    fn supported(&self, reply: &Reply<'_>, out: &mut Vec<u8>) {
        let identity = &self.local.node.identity;
        let mut options: Vec<(&str, Vec<String>)> = vec![
            ("CQL_VERSION", vec![CQL_VERSION.to_owned()]),
            ("COMPRESSION", vec![LZ4.to_owned()]),
            ("PROTOCOL_VERSIONS", vec!["4/v4".to_owned()]),
            ("SCYLLA_SHARD", vec![self.local.shard.id().0.to_string()]),
            ("SCYLLA_NR_SHARDS", vec![identity.shards.to_string()]),
            ("SCYLLA_PARTITIONER", vec![super::system::PARTITIONER.to_owned()]),
            ("SCYLLA_SHARDING_ALGORITHM", vec!["biased-token-round-robin".to_owned()]),
            ("SCYLLA_SHARDING_IGNORE_MSB", vec![model::IGNORE_MSB.to_string()]),
        ];
        if let Some(port) = identity.shard_aware_port {
            options.push(("SCYLLA_SHARD_AWARE_PORT", vec![port.to_string()]));
        }
        let options: Vec<(&str, &[String])> = options
            .iter()
            .map(|(name, values)| (*name, values.as_slice()))
            .collect();
        reply.supported(out, &options);
    }

    fn in_use(&self) -> Option<Arc<str>> {
        self.keyspace.borrow().clone()
    }

    /// Checks a text in the keyspace that is in use.
    fn check(&self, text: &str, keyspace: Option<&str>) -> Done<Statement> {
        let epoch = self.local.shard.schema_epoch();
        let id = id_of(keyspace, text);
        Ok(Statement::check(text, keyspace, &self.local.view(), id, epoch)?)
    }

    async fn prepare(&self, text: &str, stream: i16, tracing: Option<Uuid>, out: &mut Vec<u8>) -> Done<()> {
        let keyspace = self.in_use();
        let statement = self.check(text, keyspace.as_deref())?;
        if let Some(unsaved) = self.local.node.texts.remember(&statement, keyspace.as_deref())? {
            texts::save(&self.local, unsaved).await?;
        }
        let statement = self.local.keep(statement);
        let reply = Reply {
            tracing,
            ..Reply::to(stream)
        };
        reply.prepared(
            out,
            &Prepared {
                id: &statement.id,
                markers: &statement.markers,
                key: &statement.prepared.key_markers,
                result: statement.result.as_ref(),
                marks: 0,
            },
        );
        Ok(())
    }

    async fn query(
        self: &Rc<Self>,
        text: &str,
        parameters: &Parameters<'_>,
        stream: i16,
        tracing: Option<Uuid>,
        warnings: &mut Vec<String>,
        out: &mut Vec<u8>,
    ) -> Done<()> {
        let keyspace = self.in_use();
        let statement = self.check(text, keyspace.as_deref())?;
        let values = bound(&statement.prepared.markers, &parameters.values)?;
        let mut with = With::of(parameters);
        // The columns of a text are never known before.
        with.wanted.skip_metadata = false;
        self.run(
            &statement,
            &values,
            with,
            keyspace.as_deref(),
            stream,
            tracing,
            warnings,
            out,
        )
        .await
    }

    async fn execute_prepared(
        self: &Rc<Self>,
        id: &[u8],
        parameters: &Parameters<'_>,
        stream: i16,
        tracing: Option<Uuid>,
        warnings: &mut Vec<String>,
        out: &mut Vec<u8>,
    ) -> Done<()> {
        let statement = self.local.statement(id)?;
        let values = bound(&statement.prepared.markers, &parameters.values)?;
        let mut with = With::of(parameters);
        with.wanted.skip_metadata &= self.local.node.texts.has_one_result(&statement);
        let keyspace = self.in_use();
        self.run(
            &statement,
            &values,
            with,
            keyspace.as_deref(),
            stream,
            tracing,
            warnings,
            out,
        )
        .await
    }

    /// Runs a checked statement.
    #[expect(clippy::too_many_arguments, reason = "a request and where its answer goes")]
    async fn run(
        self: &Rc<Self>,
        statement: &Statement,
        values: &[Value<'_>],
        with: With<'_>,
        keyspace: Option<&str>,
        stream: i16,
        tracing: Option<Uuid>,
        warnings: &mut Vec<String>,
        out: &mut Vec<u8>,
    ) -> Done<()> {
        let local = &self.local;
        let prepared = &statement.prepared;
        let reply = Reply {
            tracing,
            ..Reply::to(stream)
        };
        match &prepared.statement {
            Checked::Select(select) => {
                check_read_consistency(with.consistency)?;
                let environment: &Local = local;
                let execution = Execution { values, environment };
                let query = select.bind(execution)?;
                let metadata = statement.result.as_ref().expect("a SELECT has columns");
                let start = out.len();
                let met = {
                    let read = pin!(select::execute(local, &query, metadata, with.wanted, &reply, out));
                    within(select.timeout.as_ref(), &execution, Doing::Read, read).await?
                };
                let limit = select.table.options.tombstone_warn_threshold;
                if met.tombstones > limit.map_or(TOMBSTONES_WARNED, u64::from) {
                    warnings.push(format!(
                        "Read {} live rows and {} tombstone cells for query {} (see tombstone_warn_threshold)",
                        met.rows, met.tombstones, statement.text
                    ));
                    add_warnings(out, start, warnings);
                }
                Ok(())
            }
            Checked::Modify(modification) => {
                must_be_writable(local, &modification.table)?;
                check_serial(with.serial_consistency)?;
                let environment: &Local = local;
                let execution = Execution { values, environment };
                let mut write = Box::pin(modify::execute(local, prepared, modification, values, with.timestamp));
                let doing = Doing::Write(cql::frame::WriteType::Simple);
                let modified = within(modification.timeout.as_ref(), &execution, doing, write.as_mut()).await?;
                answer_modified(&reply, &modification.table, modified, out);
                Ok(())
            }
            Checked::Batch(batch) => {
                for of in &batch.statements {
                    must_be_writable(local, &of.table)?;
                }
                let environment: &Local = local;
                let execution = Execution { values, environment };
                let own = match &batch.timestamp {
                    Some(expr) => cql::language::timestamp(expr, &execution)?,
                    None => None,
                };
                let values = Values::of(values);
                let items = (0..batch.statements.len()).map(|at| Item {
                    prepared: Arc::clone(prepared),
                    at,
                    values: values.clone(),
                });
                let batch_of = Batch {
                    kind: batch.kind,
                    items: items.collect(),
                    timestamp: own.or(with.timestamp),
                    has_own_timestamp: batch.timestamp.is_some(),
                };
                let table = batch.statements.first().map(|first| Arc::clone(&first.table));
                let modified = Box::pin(modify::execute_batch(local, batch_of, warnings)).await?;
                let reply = Reply { warnings, ..reply };
                match table {
                    Some(table) => answer_modified(&reply, &table, modified, out),
                    None => reply.void(out),
                }
                Ok(())
            }
            Checked::Use(name) => {
                let view = local.view();
                if cql::language::Catalog::keyspace(&view, name).is_none() {
                    return Err(Failure::invalid(format!("Keyspace '{name}' does not exist")));
                }
                *self.keyspace.borrow_mut() = Some(name.as_str().into());
                reply.set_keyspace(out, name);
                Ok(())
            }
            Checked::Truncate(table) => {
                Box::pin(schema::truncate(local, table)).await?;
                reply.void(out);
                Ok(())
            }
            Checked::Schema(change) => {
                let changed = Box::pin(schema::execute(local, change, keyspace)).await?;
                warnings.extend(changed.warnings);
                let reply = Reply { warnings, ..reply };
                match &changed.change {
                    Some((change, keyspace, of)) => {
                        let target = of.target();
                        let change = *change;
                        reply.schema_change(
                            out,
                            &SchemaChange {
                                change,
                                keyspace,
                                target,
                            },
                        );
                    }
                    None => reply.void(out),
                }
                Ok(())
            }
            Checked::Describe(what) => describe::execute(local, what, keyspace, &reply, out),
        }
    }

    async fn batch(
        self: &Rc<Self>,
        batch: &cql::frame::Batch<'_>,
        stream: i16,
        tracing: Option<Uuid>,
        warnings: &mut Vec<String>,
        out: &mut Vec<u8>,
    ) -> Done<()> {
        check_serial(batch.serial_consistency)?;
        let keyspace = self.in_use();
        let mut items = Vec::new();
        for (statement, values) in batch.statements() {
            let prepared = match statement {
                BatchStatement::Query(text) => self.check(text, keyspace.as_deref())?.prepared,
                BatchStatement::Prepared(id) => Arc::clone(&self.local.statement(id)?.prepared),
            };
            let Checked::Modify(modification) = &prepared.statement else {
                return Err(Failure::invalid(
                    "Invalid statement in batch: only UPDATE, INSERT and DELETE statements are allowed.",
                ));
            };
            must_be_writable(&self.local, &modification.table)?;
            let values = Values::of(&bound(&prepared.markers, &values)?);
            items.push(Item {
                prepared,
                at: 0,
                values,
            });
            runtime::breathe().await;
        }
        let kind = match batch.batch_type {
            BatchType::Logged => BatchKind::Logged,
            BatchType::Unlogged => BatchKind::Unlogged,
            BatchType::Counter => BatchKind::Counter,
        };
        let table = items.first().map(|first| Arc::clone(&first.modification().table));
        let of = Batch {
            kind,
            items,
            timestamp: batch.timestamp,
            has_own_timestamp: false,
        };
        let modified = modify::execute_batch(&self.local, of, warnings).await?;
        let reply = Reply {
            tracing,
            warnings,
            ..Reply::to(stream)
        };
        match table {
            Some(table) => answer_modified(&reply, &table, modified, out),
            None => reply.void(out),
        }
        Ok(())
    }
}

fn opcode_name(request: &Request<'_>) -> &'static str {
    match request {
        Request::Startup(_) => "STARTUP",
        Request::Options => "OPTIONS",
        Request::AuthResponse(_) => "AUTH_RESPONSE",
        Request::Register(_) => "REGISTER",
        Request::Query { .. } => "QUERY",
        Request::Prepare { .. } => "PREPARE",
        Request::Execute { .. } => "EXECUTE",
        Request::Batch(_) => "BATCH",
    }
}

/// The values of the markers, in their order.
fn bound<'a>(markers: &[Marker], values: &cql::frame::Values<'a>) -> Done<Vec<Value<'a>>> {
    let wrong = || {
        let (wanted, given) = (markers.len(), values.len());
        Failure::invalid(format!(
            "Invalid amount of bind variables: there were {wanted} markers(?) in CQL but {given} bound variables"
        ))
    };
    if !values.is_named() {
        if values.len() != markers.len() {
            return Err(wrong());
        }
        return Ok(values.iter().map(|(_, value)| value).collect());
    }
    let by_name: BTreeMap<&str, Value<'a>> = values
        .iter()
        .map(|(name, value)| (name.unwrap_or_default(), value))
        .collect();
    let value = |marker: &Marker| by_name.get(marker.name.as_str()).copied().ok_or_else(wrong);
    markers.iter().map(value).collect()
}

/// Bounds an execution by `USING TIMEOUT`.
async fn within<T>(
    timeout: Option<&cql::language::Expr>,
    execution: &Execution<'_>,
    doing: Doing,
    work: Pin<&mut impl Future<Output = Done<T>>>,
) -> Done<T> {
    let Some(expr) = timeout else { return work.await };
    let value = expr.evaluate(execution)?.value();
    let duration = value.and_then(|value| model::Duration::decode(&value));
    let nanos = duration.filter(|of| of.months == 0 && of.days == 0).map(|of| of.nanos);
    let Some(nanos) = nanos
        .and_then(|nanos| u64::try_from(nanos).ok())
        .filter(|nanos| nanos % 1_000_000 == 0)
    else {
        return Err(Failure::invalid("a timeout is whole milliseconds, and not negative"));
    };
    let done = runtime::time::timeout(Duration::from_nanos(nanos), work).await;
    done.unwrap_or(Err(Failure::TimedOut(doing)))
}

fn check_serial(serial: Option<Consistency>) -> Done<()> {
    match serial {
        None | Some(Consistency::Serial | Consistency::LocalSerial) => Ok(()),
        Some(_) => Err(Failure::invalid(
            "Invalid consistency for conditional update. Must be one of SERIAL or LOCAL_SERIAL",
        )),
    }
}

fn check_read_consistency(consistency: Consistency) -> Done<()> {
    match consistency {
        Consistency::Any => Err(Failure::invalid("ANY ConsistencyLevel is only supported for writes")),
        _ => Ok(()),
    }
}

fn must_be_writable(local: &Local, table: &model::Schema) -> Done<()> {
    let what = match ddl::is_system(&table.keyspace) {
        true => format!("{} keyspace is not user-modifiable.", table.keyspace),
        false if local.is_kept(table) => format!(
            "{} is kept by the store itself, which would no longer find its messages; read it, and write to messages.messages",
            table.qualified_name()
        ),
        false => return Ok(()),
    };
    Err(cql::language::Error::Unauthorized(what).into())
}

fn answer_modified(reply: &Reply<'_>, table: &model::Schema, modified: Modified, out: &mut Vec<u8>) {
    let Modified::Conditional(Outcome { applied, columns, rows }) = modified else {
        return reply.void(out);
    };
    let boolean = CqlType::Boolean;
    let column = |name, ty| Column {
        keyspace: &table.keyspace,
        table: &table.name,
        name,
        ty,
    };
    let mut all = vec![column("[applied]", &boolean)];
    all.extend(columns.iter().map(|(name, ty)| column(name.as_str(), ty)));
    let metadata = Metadata::new(all);
    let mut writer = reply.rows(out, &metadata, false);
    let applied = [u8::from(applied)];
    if rows.is_empty() {
        writer.value(Some(&applied));
    }
    for row in &rows {
        writer.value(Some(&applied));
        for value in row {
            writer.value(value.as_deref());
        }
    }
    writer.finish(None);
}
