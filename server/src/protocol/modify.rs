//! `INSERT`, `UPDATE`, `DELETE`, and batches of them.
//!
//! What is not conditional and has its timestamp is made into mutations here, and they go to the shards that own them. What is given its
//! timestamp by the node, or depends on what is there, is carried to the owner: so of two writes of a partition the one that is answered
//! first has the smaller timestamp, whichever connections they come by.

use super::fail::{Doing, Done, Failure};
use super::local::{Local, Scratch};
use super::node::Node;
use super::values::Values;
use cql::frame::{Value, WriteType};
use cql::language::syntax::ast::BatchKind;
use cql::language::{Execution, Modification, Prepared, Present, Statement, Unread, Write, check_batch};
use engine::{Read, Shard};
use messages::TableRole;
use model::{Mutation, RowRef, Slice, TableId};
use runtime::{Break, ShardId, TaskClass};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of a batch over several partitions from which on the client is warned, and from which on it is refused; as Cassandra.
const BATCH_WARN_BYTES: usize = 5 << 10;
const BATCH_FAIL_BYTES: usize = 50 << 10;

/// A modification with its values.
#[derive(Clone)]
pub(super) struct Item {
    pub prepared: Arc<Prepared>,
    /// Which statement of a batch that was prepared as one.
    pub at: usize,
    pub values: Values,
}

impl Item {
    pub fn modification(&self) -> &Modification {
        match &self.prepared.statement {
            Statement::Modify(modify) => modify,
            Statement::Batch(batch) => &batch.statements[self.at],
            _ => unreachable!("only modifications are made into items"),
        }
    }
}

/// What a conditional statement found.
pub(super) struct Outcome {
    pub applied: bool,
    /// The columns that are shown if it was not applied: names and types.
    pub columns: Vec<(String, model::CqlType)>,
    /// Their values, row by row.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
}

/// What a modification comes to.
pub(super) enum Modified {
    Void,
    Conditional(Outcome),
}

fn failed(write_type: WriteType) -> impl Fn(engine::Error) -> Failure {
    move |error| Failure::Engine(error, Doing::Write(write_type))
}

/// Executes one modification.
pub(super) async fn execute(
    local: &Rc<Local>,
    prepared: &Arc<Prepared>,
    modification: &Modification,
    values: &[Value<'_>],
    timestamp: Option<i64>,
) -> Done<Modified> {
    let environment: &Local = local;
    let execution = Execution { values, environment };
    let write = modification.bind(execution)?;
    let timestamp = write.timestamp.or(timestamp);
    if !modification.needs_read() {
        let mut mutations = Vec::new();
        let mut carried: BTreeMap<ShardId, Vec<Vec<u8>>> = BTreeMap::new();
        for key in write.keys() {
            let owner = local.shard.owner(model::token_of(key));
            let timestamp = match timestamp {
                Some(timestamp) => timestamp,
                None if owner == local.shard.id() => {
                    local.shard.timestamp().await.map_err(failed(WriteType::Simple))?
                }
                None => {
                    carried.entry(owner).or_default().push(key.clone());
                    continue;
                }
            };
            mutations.extend(mutation_of(local, &write, key, timestamp)?);
        }
        apply_all(local, mutations, WriteType::Simple).await?;
        // Each owner gives the timestamps of its own partitions. Their keys go along: evaluated once more they could be others.
        for (owner, keys) in carried {
            let item = Item {
                prepared: Arc::clone(prepared),
                at: 0,
                values: Values::of(values),
            };
            carry(local, owner, move |local| async move {
                at_owner(&local, &item, &keys).await
            })
            .await?;
        }
        return Ok(Modified::Void);
    }
    let item = Item {
        prepared: Arc::clone(prepared),
        at: 0,
        values: Values::of(values),
    };
    if modification.conditions.is_none() {
        for key in write.keys() {
            let owner = local.shard.owner(model::token_of(key));
            let (item, key) = (item.clone(), key.clone());
            carry(local, owner, move |local| async move {
                together(&local, &[item], &key, timestamp, WriteType::Simple).await
            })
            .await?;
        }
        return Ok(Modified::Void);
    }
    let key = write.keys().first().cloned();
    let key = key.ok_or_else(|| Failure::invalid("a conditional statement needs a partition"))?;
    let owner = local.shard.owner(model::token_of(&key));
    let outcome = carry(local, owner, move |local| async move {
        together(&local, &[item], &key, None, WriteType::Cas).await
    });
    Ok(Modified::Conditional(outcome.await?.expect("it has conditions")))
}

/// Runs something on the shard that owns what it is about.
async fn carry<R, F, Fut>(local: &Rc<Local>, owner: ShardId, f: F) -> Done<R>
where
    F: FnOnce(Rc<Local>) -> Fut + Send + 'static,
    Fut: Future<Output = Done<R>> + 'static,
    R: Send + 'static,
{
    if !local.hop(owner) {
        return f(Rc::clone(local)).await;
    }
    let node: Arc<Node> = Arc::clone(&local.node);
    let there = Shard::call(owner, move |shard| f(Local::of(&shard, &node)));
    there.await.map_err(failed(WriteType::Simple))?
}

/// The values of each item.
fn values_of(items: &[Item]) -> Vec<Vec<Value<'_>>> {
    items.iter().map(|item| item.values.get()).collect()
}

/// The items with their values: what a function makes is made once.
fn bind_all<'a>(local: &'a Local, items: &'a [Item], values: &'a [Vec<Value<'a>>]) -> Done<Vec<Write<'a>>> {
    let mut writes = Vec::with_capacity(items.len());
    for (item, values) in items.iter().zip(values) {
        writes.push(item.modification().bind(Execution {
            values,
            environment: local,
        })?);
    }
    Ok(writes)
}

/// Partitions of a statement that this shard owns, each with a timestamp of its own.
async fn at_owner(local: &Rc<Local>, item: &Item, keys: &[Vec<u8>]) -> Done<()> {
    let values = item.values.get();
    let environment: &Local = local;
    let write = item.modification().bind(Execution {
        values: &values,
        environment,
    })?;
    let mut mutations = Vec::new();
    for key in keys {
        let timestamp = local.shard.timestamp().await.map_err(failed(WriteType::Simple))?;
        mutations.extend(mutation_of(local, &write, key, timestamp)?);
    }
    apply_all(local, mutations, WriteType::Simple).await
}

/// What one partition gets; `None`: nothing.
pub(super) fn mutation_of(local: &Local, write: &Write<'_>, key: &[u8], timestamp: i64) -> Done<Option<Mutation>> {
    local.with_scratch(|Scratch { mutation, row }| {
        mutation.reset(write.modification().table.id, key);
        write.put(mutation, row, timestamp, &Unread)?;
        Ok((!mutation.is_empty()).then(|| mutation.build()))
    })
}

/// Sees to it that a mutation of the messages keeps their directory true.
async fn admit(local: &Rc<Local>, mutation: &Mutation) -> Done<()> {
    let Some(messages) = &local.node.messages else {
        return Ok(());
    };
    let mutation = mutation.as_ref();
    if messages.role_of(mutation.table()) != Some(TableRole::Messages) {
        return Ok(());
    }
    let definitions = local.shard.definitions();
    let Some(table) = definitions.table_of(mutation.table()) else {
        return Ok(());
    };
    let admitted = messages.on(Rc::clone(&local.shard)).admit(table, mutation).await;
    admitted.map_err(|error| match error {
        messages::Error::Engine(error) => Failure::Engine(error, Doing::Write(WriteType::Simple)),
        other => Failure::invalid(other.to_string()),
    })
}

/// Applies mutations side by side.
pub(super) async fn apply_all(local: &Rc<Local>, mut mutations: Vec<Mutation>, write_type: WriteType) -> Done<()> {
    for mutation in &mutations {
        admit(local, mutation).await?;
    }
    match mutations.len() {
        0 => Ok(()),
        1 => apply_to_owner(local, mutations.pop().expect("there is one"), write_type).await,
        _ => {
            let apply = |mutation: Mutation| {
                local.hop(local.shard.owner(mutation.as_ref().token()));
                let shard = Rc::clone(&local.shard);
                runtime::spawn(TaskClass::Request, "write of several", async move {
                    shard.apply(mutation).await
                })
            };
            let tasks: Vec<_> = mutations.into_iter().map(apply).collect();
            let mut first = Ok(());
            for task in tasks {
                first = first.and(task.await.map_err(failed(write_type)));
            }
            first
        }
    }
}

/// Applies the mutation of a single statement on a table that has no rules of its own.
pub(super) async fn apply_one(local: &Local, mutation: Mutation) -> Done<()> {
    apply_to_owner(local, mutation, WriteType::Simple).await
}

/// What became of a single statement's mutation that was in the log.
pub(super) fn logged(written: engine::Result<()>) -> Done<()> {
    written.map_err(failed(WriteType::Simple))
}

async fn apply_to_owner(local: &Local, mutation: Mutation, write_type: WriteType) -> Done<()> {
    let owner = local.shard.owner(mutation.as_ref().token());
    local.hop(owner);
    if runtime::broken(Break::AnswersBeforeApply) {
        let shard = Rc::clone(&local.shard);
        let apply = async move { shard.apply(mutation).await };
        drop(runtime::spawn(TaskClass::Request, "write that nobody waits for", apply));
        return Ok(());
    }
    local.shard.apply(mutation).await.map_err(failed(write_type))
}

/// Rows of one partition as they were read.
#[derive(Default)]
struct ReadRows {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    statics: Option<Vec<u8>>,
}

impl Present for ReadRows {
    fn row(&self, clustering: &[u8]) -> Option<RowRef<'_>> {
        self.rows.get(clustering).map(|row| RowRef::trusted(row))
    }

    fn statics(&self) -> Option<RowRef<'_>> {
        self.statics.as_deref().map(RowRef::trusted)
    }
}

impl ReadRows {
    async fn read(&mut self, local: &Rc<Local>, table: TableId, key: &[u8], rows: &[Vec<u8>]) -> Done<()> {
        // The static row comes with any slice; without rows an empty one would do, if there were such.
        let slices: Vec<Slice> = match rows {
            [] => vec![Slice::all()],
            rows => rows.iter().map(|row| Slice::prefix(row)).collect(),
        };
        for slice in slices {
            let read = Read {
                limit_rows: 1,
                ..Read::slice(table, key, slice)
            };
            let page = local.shard.read(read).await;
            let page = page.map_err(|error| Failure::Engine(error, Doing::Read))?;
            if let Some(statics) = page.static_row() {
                self.statics = Some(statics.bytes().to_vec());
            }
            for (clustering, row) in page.rows() {
                self.rows.insert(clustering.to_vec(), row.bytes().to_vec());
            }
        }
        Ok(())
    }

    /// A timestamp behind everything that was read.
    fn latest(&self) -> i64 {
        let rows = self.rows.values().chain(&self.statics);
        rows.map(|row| RowRef::trusted(row).max_timestamp())
            .max()
            .unwrap_or(i64::MIN)
    }
}

/// Reads a partition, looks at all conditions, and writes all or nothing, while nobody else does. On the shard that owns it.
pub(super) async fn together(
    local: &Rc<Local>,
    items: &[Item],
    key: &[u8],
    timestamp: Option<i64>,
    write_type: WriteType,
) -> Done<Option<Outcome>> {
    let table = Arc::clone(&items[0].modification().table);
    let values = values_of(items);
    let writes = bind_all(local, items, &values)?;
    let _turn = match runtime::broken(Break::ConditionsUnlocked) {
        true => None,
        false => {
            let turn = local.shard.lock_partition(table.id, key).await;
            Some(turn.map_err(failed(write_type))?)
        }
    };
    let mut present = ReadRows::default();
    for write in writes.iter().filter(|write| write.modification().needs_read()) {
        present.read(local, table.id, key, &write.rows()?).await?;
    }
    let conditional = items.iter().any(|item| !item.modification().conditions.is_none());
    let mut applied = true;
    for write in &writes {
        let rows = write.rows()?;
        // A statement of static columns alone is about the static row.
        let row = match rows.first() {
            Some(row) => present.row(row),
            None => present.statics(),
        };
        applied &= write.applies(row, present.statics())?;
    }
    if !applied {
        return super::outcome::of(&table, key, &writes, items.len() > 1, &present).map(Some);
    }
    let given = match timestamp {
        Some(timestamp) => timestamp,
        None => {
            let now = local.shard.timestamp().await.map_err(failed(write_type))?;
            match conditional {
                true => now.max(present.latest().saturating_add(1)),
                false => now,
            }
        }
    };
    let mutation = local.with_scratch(|Scratch { mutation, row }| -> Done<Option<Mutation>> {
        mutation.reset(table.id, key);
        for write in &writes {
            write.put(mutation, row, write.timestamp.unwrap_or(given), &present)?;
        }
        Ok((!mutation.is_empty()).then(|| mutation.build()))
    })?;
    if let Some(mutation) = mutation {
        admit(local, &mutation).await?;
        local.shard.apply(mutation).await.map_err(failed(write_type))?;
    }
    Ok(conditional.then(Outcome::applied))
}

impl Outcome {
    fn applied() -> Outcome {
        Outcome {
            applied: true,
            columns: Vec::new(),
            rows: Vec::new(),
        }
    }
}

/// A batch: from one text, or of statements that came one by one.
pub(super) struct Batch {
    pub kind: BatchKind,
    pub items: Vec<Item>,
    /// `USING TIMESTAMP`, or the client's.
    pub timestamp: Option<i64>,
    /// Whether the timestamp stands in the text.
    pub has_own_timestamp: bool,
}

/// Executes a batch; warnings are added to `warnings`.
pub(super) async fn execute_batch(local: &Rc<Local>, batch: Batch, warnings: &mut Vec<String>) -> Done<Modified> {
    let Batch {
        kind,
        items,
        timestamp,
        has_own_timestamp,
    } = batch;
    check_batch(kind, has_own_timestamp, items.iter().map(Item::modification))?;
    if items.is_empty() {
        return Ok(Modified::Void);
    }
    let conditional = items.iter().any(|item| !item.modification().conditions.is_none());
    // By table and key, in the order in which they first come.
    let mut keys: Vec<(TableId, Vec<u8>)> = Vec::new();
    let mut of_write: Vec<Vec<usize>> = Vec::new();
    let values = values_of(&items);
    let writes = bind_all(local, &items, &values)?;
    for write in &writes {
        let table = write.modification().table.id;
        let mut groups = Vec::new();
        for key in write.keys() {
            let at = keys.iter().position(|(of, present)| *of == table && present == key);
            groups.push(at.unwrap_or_else(|| {
                keys.push((table, key.clone()));
                keys.len() - 1
            }));
        }
        of_write.push(groups);
    }
    if keys.is_empty() {
        return Ok(Modified::Void);
    }
    if conditional && keys.len() > 1 {
        return Err(Failure::invalid(
            "Batch with conditions cannot span multiple partitions",
        ));
    }
    if let [(_, key)] = keys.as_slice() {
        let owner = local.shard.owner(model::token_of(key));
        let key = key.clone();
        let write_type = match (conditional, kind) {
            (true, _) => WriteType::Cas,
            (_, BatchKind::Unlogged) => WriteType::UnloggedBatch,
            _ => WriteType::Batch,
        };
        let timestamp = timestamp.filter(|_| !conditional);
        drop(writes);
        drop(values);
        let together = carry(local, owner, move |local| async move {
            together(&local, &items, &key, timestamp, write_type).await
        });
        return Ok(match together.await? {
            Some(outcome) => Modified::Conditional(outcome),
            None => Modified::Void,
        });
    }
    let given = match timestamp {
        Some(timestamp) => timestamp,
        None => latest_of_owners(local, &keys).await?,
    };
    let mut mutations = Vec::new();
    for (at, (table, key)) in keys.iter().enumerate() {
        let of_key = || {
            let of_key = writes.iter().zip(&of_write).filter(|(_, groups)| groups.contains(&at));
            of_key.map(|(write, _)| write)
        };
        // Elements of lists are named by their index as the list is now; nothing holds it still until the batch is written.
        let mut present = ReadRows::default();
        for write in of_key().filter(|write| write.modification().needs_read()) {
            present.read(local, *table, key, &write.rows()?).await?;
        }
        let mutation = local.with_scratch(|Scratch { mutation, row }| -> Done<Option<Mutation>> {
            mutation.reset(*table, key);
            for write in of_key() {
                write.put(mutation, row, write.timestamp.unwrap_or(given), &present)?;
            }
            Ok((!mutation.is_empty()).then(|| mutation.build()))
        })?;
        mutations.extend(mutation);
        runtime::breathe().await;
    }
    let bytes: usize = mutations.iter().map(|mutation| mutation.bytes().len()).sum();
    if bytes > BATCH_FAIL_BYTES {
        return Err(Failure::invalid("Batch too large"));
    }
    if bytes > BATCH_WARN_BYTES {
        warnings.push(format!(
            "Batch for {} partitions is of size {bytes}, exceeding specified threshold of {BATCH_WARN_BYTES} by {}.",
            keys.len(),
            bytes - BATCH_WARN_BYTES
        ));
    }
    // Before anything is written: what is refused must not be in the batch log.
    for mutation in &mutations {
        admit(local, mutation).await?;
    }
    match kind {
        BatchKind::Unlogged => apply_all(local, mutations, WriteType::UnloggedBatch).await?,
        _ => super::batch_log::apply(local, mutations).await?,
    }
    Ok(Modified::Void)
}

/// One timestamp that no owner of these partitions has given yet.
async fn latest_of_owners(local: &Rc<Local>, keys: &[(TableId, Vec<u8>)]) -> Done<i64> {
    let mut owners: Vec<ShardId> = keys
        .iter()
        .map(|(_, key)| local.shard.owner(model::token_of(key)))
        .collect();
    owners.sort_unstable();
    owners.dedup();
    let mut given = Vec::new();
    for &owner in &owners {
        let timestamp = carry(local, owner, |local| async move {
            local.shard.timestamp().await.map_err(failed(WriteType::Batch))
        });
        given.push(timestamp.await?);
    }
    let latest = given.iter().copied().max().unwrap_or(i64::MIN);
    for (owner, _) in owners.into_iter().zip(given).filter(|(_, given)| *given < latest) {
        // Else what it gives to a write that comes after the batch could be less than the batch's.
        carry(local, owner, move |local| async move {
            local.shard.go_on_after(latest);
            Ok(())
        })
        .await?;
    }
    Ok(latest)
}
