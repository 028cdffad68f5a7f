//! Statements that change definitions, and `TRUNCATE`.

use super::catalog::View;
use super::fail::{Doing, Done, Failure};
use super::local::Local;
use cql::frame::{Change, Event, SchemaChange, Target};
use cql::language::ddl::{self, Action};
use cql::language::syntax::ast;
use engine::{DefinitionKind, Error, Shard};
use model::{Alteration, Schema};
use runtime::ShardId;
use std::rc::Rc;
use std::sync::Arc;

/// What a change of definitions came to.
pub(super) struct Changed {
    /// `None`: nothing was to be done.
    pub change: Option<(Change, String, Of)>,
    pub warnings: Vec<String>,
}

/// What was changed in a keyspace.
#[derive(Clone)]
pub(super) enum Of {
    Keyspace,
    Table(String),
    Type(String),
}

impl Of {
    pub fn target(&self) -> Target<'_> {
        match self {
            Of::Keyspace => Target::Keyspace,
            Of::Table(name) => Target::Table(name),
            Of::Type(name) => Target::Type(name),
        }
    }
}

/// What the engine says of a definition, in the words of the language.
fn of_engine(error: Error) -> Failure {
    use cql::language::Error as Language;
    match error {
        Error::AlreadyExists { what, keyspace, name } => match what {
            DefinitionKind::Keyspace => Language::AlreadyExists {
                what: format!("Cannot add existing keyspace \"{keyspace}\""),
                keyspace,
                table: String::new(),
            }
            .into(),
            DefinitionKind::Table => Language::AlreadyExists {
                what: format!("Cannot add already existing table \"{name}\" to keyspace \"{keyspace}\""),
                keyspace,
                table: name,
            }
            .into(),
            DefinitionKind::Type => Failure::invalid(format!("A user type with name '{name}' already exists")),
        },
        Error::NotFound { what, keyspace, name } => Failure::invalid(match what {
            DefinitionKind::Keyspace => format!("Keyspace '{keyspace}' doesn't exist"),
            DefinitionKind::Table => format!("Table '{keyspace}.{name}' doesn't exist"),
            DefinitionKind::Type => format!("Type '{keyspace}.{name}' doesn't exist"),
        }),
        // Options that the engine does not take are a matter of configuration.
        Error::Invalid { what } if what.starts_with("table ") => {
            let what = what.split_once(": ").map_or(what.as_str(), |(_, what)| what).to_owned();
            Language::Config(what).into()
        }
        other => Failure::Engine(other, Doing::Define),
    }
}

/// Executes a change of definitions. When this returns all shards have it, and those who want to know have been told.
pub(super) async fn execute(local: &Rc<Local>, statement: &ast::SchemaChange, keyspace: Option<&str>) -> Done<Changed> {
    let view = local.view();
    let plan = ddl::plan(statement, keyspace, &view, &local.node.identity.topology)?;
    spare_messages(local, &view, &plan.action)?;
    let gracious = plan.if_exists_or_not;
    let shard = &local.shard;
    let (change, keyspace, of) = match plan.action {
        Action::Nothing => {
            return Ok(Changed {
                change: None,
                warnings: plan.warnings,
            });
        }
        Action::CreateKeyspace(keyspace) => {
            let name = keyspace.name.clone();
            let created = shard.create_keyspace(keyspace, gracious).await.map_err(of_engine)?;
            if !created {
                return Ok(nothing(plan.warnings));
            }
            (Change::Created, name, Of::Keyspace)
        }
        Action::AlterKeyspace(keyspace) => {
            let name = keyspace.name.clone();
            shard.alter_keyspace(keyspace).await.map_err(of_engine)?;
            (Change::Updated, name, Of::Keyspace)
        }
        Action::DropKeyspace(name) => {
            if !shard.drop_keyspace(&name, gracious).await.map_err(of_engine)? {
                return Ok(nothing(plan.warnings));
            }
            (Change::Dropped, name, Of::Keyspace)
        }
        Action::CreateTable(schema) => {
            let (keyspace, name) = (schema.keyspace.clone(), schema.name.clone());
            shard.create_table(*schema, gracious).await.map_err(of_engine)?;
            (Change::Created, keyspace, Of::Table(name))
        }
        Action::AlterTable(keyspace, name, changes) => {
            shard.alter_table(&keyspace, &name, changes).await.map_err(of_engine)?;
            (Change::Updated, keyspace, Of::Table(name))
        }
        Action::DropTable(keyspace, name) => {
            if shard
                .drop_table(&keyspace, &name, gracious)
                .await
                .map_err(of_engine)?
                .is_none()
            {
                return Ok(nothing(plan.warnings));
            }
            (Change::Dropped, keyspace, Of::Table(name))
        }
        Action::CreateType(ty) => {
            let (keyspace, name) = (ty.keyspace.clone(), ty.name.clone());
            if !shard.create_type(ty, gracious).await.map_err(of_engine)? {
                return Ok(nothing(plan.warnings));
            }
            (Change::Created, keyspace, Of::Type(name))
        }
        Action::AlterType(keyspace, name, changes) => {
            shard.alter_type(&keyspace, &name, changes).await.map_err(of_engine)?;
            (Change::Updated, keyspace, Of::Type(name))
        }
        Action::DropType(keyspace, name) => {
            if !shard.drop_type(&keyspace, &name, gracious).await.map_err(of_engine)? {
                return Ok(nothing(plan.warnings));
            }
            (Change::Dropped, keyspace, Of::Type(name))
        }
    };
    tell(local, change, &keyspace, &of).await;
    Ok(Changed {
        change: Some((change, keyspace, of)),
        warnings: plan.warnings,
    })
}

/// Refuses what would take from the messages what they are made of.
fn spare_messages(local: &Local, view: &View, action: &Action) -> Done<()> {
    let of = |keyspace: &str, name: &str| {
        let table = cql::language::Catalog::table(view, keyspace, name);
        table.is_some_and(|table| local.is_of_messages(&table))
    };
    let (is_theirs, what) = match action {
        Action::DropKeyspace(name) => {
            let mut tables = view.definitions.tables_of(name);
            (tables.any(|table| local.is_of_messages(table)), name.clone())
        }
        Action::DropTable(keyspace, name) => (of(keyspace, name), format!("{keyspace}.{name}")),
        Action::AlterTable(keyspace, name, changes) => {
            let takes = |change: &Alteration| !matches!(change, Alteration::Add { .. } | Alteration::Options(_));
            (
                of(keyspace, name) && changes.iter().any(takes),
                format!("{keyspace}.{name}"),
            )
        }
        _ => return Ok(()),
    };
    match is_theirs {
        true => {
            let what = format!("{what} is what this node keeps messages in: it can be added to, and not be taken from");
            Err(cql::language::Error::Unauthorized(what).into())
        }
        false => Ok(()),
    }
}

fn nothing(warnings: Vec<String>) -> Changed {
    Changed { change: None, warnings }
}

/// Tells all connections that want to know.
async fn tell(local: &Rc<Local>, change: Change, keyspace: &str, of: &Of) {
    let mut bytes = Vec::new();
    let event = Event::SchemaChange(SchemaChange {
        change,
        keyspace,
        target: of.target(),
    });
    event.put(&mut bytes);
    let bytes: Arc<[u8]> = bytes.into();
    for shard in 0..local.node.identity.shards {
        let (node, bytes) = (Arc::clone(&local.node), Arc::clone(&bytes));
        let told = Shard::call(ShardId(shard), move |shard| async move {
            Local::of(&shard, &node).tell_schema_change(&bytes);
        });
        // The store is closing: nobody listens any more.
        let _closing = told.await;
    }
}

/// `TRUNCATE`
pub(super) async fn truncate(local: &Rc<Local>, table: &Schema) -> Done<()> {
    if ddl::is_system(&table.keyspace) {
        let what = format!("{} keyspace is not user-modifiable.", table.keyspace);
        return Err(cql::language::Error::Unauthorized(what).into());
    }
    if local.is_kept(table) {
        let what = format!(
            "{} is kept by the store itself, which would no longer find its messages",
            table.qualified_name()
        );
        return Err(cql::language::Error::Unauthorized(what).into());
    }
    let truncated = local.shard.truncate(table.id).await;
    truncated.map_err(|error| Failure::Engine(error, Doing::Truncate))
}
