//! `CREATE` and `ALTER KEYSPACE`: the rules of `KeyspaceParams` and of the replication strategies.

use super::super::catalog::Catalog;
use super::super::error::{Error, Result};
use super::super::syntax::SyntaxError;
use super::super::syntax::ast::Property;
use super::{Action, Plan, Topology, check_name, not_system};
use model::Keyspace;
use std::collections::BTreeMap;

const PACKAGE: &str = "org.apache.cassandra.locator.";
const SIMPLE: &str = "SimpleStrategy";
const NETWORK: &str = "NetworkTopologyStrategy";
const FACTOR: &str = "replication_factor";
/// This node is all there is.
const NODES: u32 = 1;

pub(super) fn create(
    name: &str,
    if_not_exists: bool,
    properties: &[(String, Property)],
    catalog: &dyn Catalog,
    topology: &Topology,
) -> Result<Plan> {
    not_system(name)?;
    check_name("Keyspace", name)?;
    let mut keyspace = Keyspace::new(name);
    keyspace.replication.clear();
    let warnings = set(&mut keyspace, properties, topology)?;
    if keyspace.replication.is_empty() {
        return Err(Error::Config("Missing mandatory option 'replication'".to_owned()));
    }
    if catalog.keyspace(name).is_some() {
        return match if_not_exists {
            true => Ok(Plan::nothing()),
            false => Err(Error::AlreadyExists {
                keyspace: name.to_owned(),
                table: String::new(),
                what: format!("Cannot add existing keyspace \"{name}\""),
            }),
        };
    }
    Ok(Plan {
        warnings,
        ..Plan::of(Action::CreateKeyspace(keyspace), if_not_exists)
    })
}

pub(super) fn alter(
    name: &str,
    if_exists: bool,
    properties: &[(String, Property)],
    catalog: &dyn Catalog,
    topology: &Topology,
) -> Result<Plan> {
    not_system(name)?;
    let Some(present) = catalog.keyspace(name) else {
        return match if_exists {
            true => Ok(Plan::nothing()),
            false => Err(Error::invalid(format!("Keyspace '{name}' doesn't exist"))),
        };
    };
    let mut keyspace = (*present).clone();
    let warnings = set(&mut keyspace, properties, topology)?;
    Ok(Plan {
        warnings,
        ..Plan::of(Action::AlterKeyspace(keyspace), if_exists)
    })
}

/// Sets what the properties say; gives what the client should know.
fn set(keyspace: &mut Keyspace, properties: &[(String, Property)], topology: &Topology) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let syntax = |what: String| Error::Syntax(SyntaxError::new(Default::default(), what));
    for (at, (name, property)) in properties.iter().enumerate() {
        if properties[..at].iter().any(|(before, _)| before == name) {
            return Err(syntax(format!("Multiple definition for property '{name}'")));
        }
        match (name.as_str(), property) {
            ("replication", Property::Map(map)) => {
                let mut given: BTreeMap<String, String> = map.iter().cloned().collect();
                let class = given
                    .remove("class")
                    .ok_or_else(|| Error::Config("Missing replication strategy class".to_owned()))?;
                let replication = replication(&keyspace.name, &class, given, topology, &mut warnings)?;
                keyspace.replication = replication;
            }
            ("durable_writes", Property::Text(text)) => match text.to_lowercase().as_str() {
                "true" | "1" | "yes" => keyspace.durable_writes = true,
                "false" | "0" | "no" => {
                    keyspace.durable_writes = false;
                    warnings.push(
                        "durable_writes = false is kept and shown; every write is logged all the same".to_owned(),
                    );
                }
                _ => return Err(syntax(format!("Invalid boolean value {text} for 'durable_writes'"))),
            },
            ("replication" | "durable_writes", _) => {
                return Err(syntax(format!("Invalid value for property '{name}'")));
            }
            // Of ScyllaDB: accepted by its name, and nothing comes of it here.
            ("tablets" | "storage" | "consistency", _) => {
                warnings.push(format!("the property '{name}' has no meaning here and is not kept"));
            }
            _ => return Err(syntax(format!("Unknown property '{name}'"))),
        }
    }
    Ok(warnings)
}

/// The replication as it is kept: the class with its package.
fn replication(
    keyspace: &str,
    class: &str,
    options: BTreeMap<String, String>,
    topology: &Topology,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, String>> {
    let short = class.strip_prefix(PACKAGE).unwrap_or(class);
    let unrecognised = |option: &str| {
        Error::Config(format!(
            "Unrecognized strategy option {{{option}}} passed to {short} for keyspace {keyspace}"
        ))
    };
    let mut kept = BTreeMap::new();
    match short {
        SIMPLE => {
            if let Some(option) = options.keys().find(|option| *option != FACTOR) {
                return Err(unrecognised(option));
            }
            let factor = options.get(FACTOR).ok_or_else(|| {
                Error::Config("SimpleStrategy requires a replication_factor strategy option.".to_owned())
            })?;
            let count = replication_factor(factor)?;
            if count > NODES {
                warnings.push(format!(
                    "Your replication factor {count} for keyspace {keyspace} is higher than the number of nodes {NODES}"
                ));
            }
            kept.insert(FACTOR.to_owned(), factor.clone());
        }
        NETWORK => {
            let default = options.get(FACTOR).cloned();
            let mut factors: BTreeMap<String, String> =
                options.into_iter().filter(|(name, _)| name != FACTOR).collect();
            if let Some(option) = factors.keys().find(|name| !topology.datacenters.contains(name)) {
                return Err(unrecognised(option));
            }
            if let Some(default) = default {
                for datacenter in &topology.datacenters {
                    factors.entry(datacenter.clone()).or_insert_with(|| default.clone());
                }
            }
            if factors.is_empty() {
                return Err(Error::Config(
                    "Configuration for at least one datacenter must be present".to_owned(),
                ));
            }
            for (datacenter, factor) in &factors {
                let count = replication_factor(factor)?;
                let nodes = if topology.datacenters.first() == Some(datacenter) {
                    NODES
                } else {
                    0
                };
                if count > nodes {
                    warnings.push(format!(
                        "Your replication factor {count} for keyspace {keyspace} is higher than the number of nodes {nodes} for \
                         datacenter {datacenter}"
                    ));
                }
            }
            kept = factors;
        }
        "LocalStrategy" => {
            return Err(Error::Config(
                "Unable to use given strategy class: LocalStrategy is reserved for internal use.".to_owned(),
            ));
        }
        _ => {
            return Err(Error::Config(format!(
                "Unable to find replication strategy class '{PACKAGE}{short}'"
            )));
        }
    }
    kept.insert("class".to_owned(), format!("{PACKAGE}{short}"));
    Ok(kept)
}

fn replication_factor(text: &str) -> Result<u32> {
    match text.parse::<i64>() {
        Ok(count) if count < 0 => Err(Error::Config(format!(
            "Replication factor must be non-negative; found {text}"
        ))),
        Ok(count) => {
            u32::try_from(count).map_err(|_| Error::Config(format!("Replication factor must be numeric; found {text}")))
        }
        Err(_) => Err(Error::Config(format!(
            "Replication factor must be numeric; found {text}"
        ))),
    }
}
