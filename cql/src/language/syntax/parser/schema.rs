//! `CREATE`, `ALTER`, `DROP`, `DESCRIBE`.

use super::super::ast::{
    AlterTable, AlterType, ColumnDefinition, Constant, CreateTable, Describe, Described, Property, SchemaChange,
    Statement, Term,
};
use super::{Parser, Result};

fn change(change: SchemaChange) -> Statement {
    Statement::Schema(Box::new(change))
}

/// What stands behind `CREATE`, `ALTER` and `DROP`, is known, and is not served.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("index", "secondary indexes"),
    ("custom", "secondary indexes"),
    ("materialized", "materialized views"),
    ("function", "user-defined functions"),
    ("aggregate", "user-defined aggregates"),
    ("or", "user-defined functions"),
    ("trigger", "triggers"),
    ("role", "roles"),
    ("user", "roles"),
    ("identity", "identities"),
    ("service", "service levels"),
];

impl Parser<'_> {
    fn unsupported_schema(&mut self) -> Result<Statement> {
        match UNSUPPORTED.iter().find(|(word, _)| self.is_word(0, word)) {
            Some((_, what)) => self.unsupported(what),
            None => Err(self.unexpected(None)),
        }
    }

    pub(super) fn create(&mut self) -> Result<Statement> {
        self.expect_word("create")?;
        if self.word("keyspace") || self.word("schema") {
            let if_not_exists = self.if_not_exists()?;
            let name = self.identifier()?;
            self.expect_word("with")?;
            let properties = self.properties()?;
            return Ok(change(SchemaChange::CreateKeyspace {
                name,
                if_not_exists,
                properties,
            }));
        }
        if self.word("table") || self.word("columnfamily") {
            return self.create_table();
        }
        if self.word("type") {
            let if_not_exists = self.if_not_exists()?;
            let name = self.name()?;
            self.expect_sign("(")?;
            let fields = self.list(")", false, |parser| Ok((parser.identifier()?, parser.type_name()?)))?;
            return Ok(change(SchemaChange::CreateType {
                name,
                if_not_exists,
                fields,
            }));
        }
        self.unsupported_schema()
    }

    fn create_table(&mut self) -> Result<Statement> {
        let if_not_exists = self.if_not_exists()?;
        let table = self.name()?;
        let (mut columns, mut keys) = (Vec::new(), Vec::new());
        self.expect_sign("(")?;
        self.list(")", false, |parser| {
            if parser.is_word(0, "primary") && parser.is_word(1, "key") && parser.is_sign(2, "(") {
                parser.at += 2;
                keys.push(parser.primary_key()?);
                return Ok(());
            }
            let (name, ty) = (parser.identifier()?, parser.type_name()?);
            let is_static = parser.word("static");
            if parser.words(&["primary", "key"]) {
                keys.push((vec![name.clone()], Vec::new()));
            }
            columns.push(ColumnDefinition { name, ty, is_static });
            Ok(())
        })?;
        let mut create = CreateTable {
            table,
            if_not_exists,
            columns,
            keys,
            properties: Vec::new(),
            order: Vec::new(),
            compact_storage: false,
            id: None,
        };
        if self.word("with") {
            loop {
                if self.words(&["compact", "storage"]) {
                    create.compact_storage = true;
                } else if self.words(&["clustering", "order", "by"]) {
                    self.expect_sign("(")?;
                    create.order = self.order_columns()?;
                    self.expect_sign(")")?;
                } else {
                    match self.property()? {
                        (name, Property::Text(id)) if name == "id" => create.id = Some(id),
                        property => create.properties.push(property),
                    }
                }
                if !self.word("and") {
                    break;
                }
            }
        }
        Ok(change(SchemaChange::CreateTable(create)))
    }

    /// `((a, b), c)`, `(a, b)`
    fn primary_key(&mut self) -> Result<(Vec<String>, Vec<String>)> {
        self.expect_sign("(")?;
        let partition = match self.sign("(") {
            true => self.list(")", false, Self::identifier)?,
            false => vec![self.identifier()?],
        };
        let clustering = match self.sign(",") {
            true => self.list(")", false, Self::identifier)?,
            false => {
                self.expect_sign(")")?;
                Vec::new()
            }
        };
        Ok((partition, clustering))
    }

    fn properties(&mut self) -> Result<Vec<(String, Property)>> {
        let mut properties = Vec::new();
        loop {
            properties.push(self.property()?);
            if !self.word("and") {
                return Ok(properties);
            }
        }
    }

    fn property(&mut self) -> Result<(String, Property)> {
        let name = self.identifier()?;
        self.expect_sign("=")?;
        let property = match self.is_sign(0, "{") {
            true => {
                let at = self.at;
                let term = self.term()?;
                match map_of_texts(&term) {
                    Some(map) => Property::Map(map),
                    None => {
                        self.at = at;
                        return Err(self.error(format!("the value of {name} is no map of constants")));
                    }
                }
            }
            false => Property::Text(self.property_text()?),
        };
        Ok((name, property))
    }

    /// A constant, or a bare word, as text.
    fn property_text(&mut self) -> Result<String> {
        if let Some(constant) = self.constant()? {
            return Ok(text_of(&constant));
        }
        self.identifier()
    }

    pub(super) fn alter(&mut self) -> Result<Statement> {
        self.expect_word("alter")?;
        if self.word("keyspace") || self.word("schema") {
            let if_exists = self.if_exists()?;
            let name = self.identifier()?;
            self.expect_word("with")?;
            let properties = self.properties()?;
            return Ok(change(SchemaChange::AlterKeyspace {
                name,
                if_exists,
                properties,
            }));
        }
        if self.word("table") || self.word("columnfamily") {
            let if_exists = self.if_exists()?;
            let table = self.name()?;
            let what = self.alter_table()?;
            return Ok(change(SchemaChange::AlterTable {
                table,
                if_exists,
                change: what,
            }));
        }
        if self.word("type") {
            let if_exists = self.if_exists()?;
            let name = self.name()?;
            let what = self.alter_type()?;
            return Ok(change(SchemaChange::AlterType {
                name,
                if_exists,
                change: what,
            }));
        }
        self.unsupported_schema()
    }

    fn alter_table(&mut self) -> Result<AlterTable> {
        if self.word("alter") {
            self.identifier()?;
            self.expect_word("type")?;
            self.type_name()?;
            return Ok(AlterTable::Retype);
        }
        if self.word("add") {
            let if_not_exists = self.if_not_exists()?;
            let column = |parser: &mut Self| {
                Ok(ColumnDefinition {
                    name: parser.identifier()?,
                    ty: parser.type_name()?,
                    is_static: parser.word("static"),
                })
            };
            let columns = match self.sign("(") {
                true => self.list(")", false, column)?,
                false => {
                    let mut columns = vec![column(self)?];
                    while self.sign(",") {
                        columns.push(column(self)?);
                    }
                    columns
                }
            };
            return Ok(AlterTable::Add(columns, if_not_exists));
        }
        if self.word("drop") {
            if self.words(&["compact", "storage"]) {
                return Ok(AlterTable::DropCompactStorage);
            }
            let if_exists = self.if_exists()?;
            let columns = match self.sign("(") {
                true => self.list(")", false, Self::identifier)?,
                false => {
                    let mut columns = vec![self.identifier()?];
                    while self.sign(",") {
                        columns.push(self.identifier()?);
                    }
                    columns
                }
            };
            // A moment of dropping is what Cassandra's schema dumps give; ours come without.
            if self.word("using") {
                self.expect_word("timestamp")?;
                self.term()?;
            }
            return Ok(AlterTable::Drop(columns, if_exists));
        }
        if self.word("rename") {
            let if_exists = self.if_exists()?;
            return Ok(AlterTable::Rename(self.renames()?, if_exists));
        }
        self.expect_word("with")?;
        Ok(AlterTable::With(self.properties()?))
    }

    fn renames(&mut self) -> Result<Vec<(String, String)>> {
        let mut renames = Vec::new();
        loop {
            let from = self.identifier()?;
            self.expect_word("to")?;
            renames.push((from, self.identifier()?));
            if !self.word("and") {
                return Ok(renames);
            }
        }
    }

    fn alter_type(&mut self) -> Result<AlterType> {
        if self.word("add") {
            let if_not_exists = self.if_not_exists()?;
            return Ok(AlterType::Add(self.identifier()?, self.type_name()?, if_not_exists));
        }
        if self.word("rename") {
            let _fields = self.if_exists()?;
            return Ok(AlterType::Rename(self.renames()?));
        }
        self.expect_word("alter")?;
        self.identifier()?;
        self.expect_word("type")?;
        self.type_name()?;
        Ok(AlterType::Retype)
    }

    pub(super) fn drop_statement(&mut self) -> Result<Statement> {
        self.expect_word("drop")?;
        if self.word("keyspace") || self.word("schema") {
            let if_exists = self.if_exists()?;
            let name = self.identifier()?;
            return Ok(change(SchemaChange::DropKeyspace { name, if_exists }));
        }
        if self.word("table") || self.word("columnfamily") {
            let if_exists = self.if_exists()?;
            let table = self.name()?;
            return Ok(change(SchemaChange::DropTable { table, if_exists }));
        }
        if self.word("type") {
            let if_exists = self.if_exists()?;
            let name = self.name()?;
            return Ok(change(SchemaChange::DropType { name, if_exists }));
        }
        self.unsupported_schema()
    }

    pub(super) fn describe(&mut self) -> Result<Statement> {
        self.take();
        let what = if self.word("cluster") {
            Described::Cluster
        } else if self.words(&["full", "schema"]) {
            Described::Schema(true)
        } else if self.word("schema") {
            Described::Schema(false)
        } else if self.word("keyspaces") {
            Described::Keyspaces
        } else if self.word("tables") {
            Described::Tables
        } else if self.word("types") {
            Described::Types
        } else if self.word("functions") {
            Described::Functions
        } else if self.word("aggregates") {
            Described::Aggregates
        } else if self.is_word(0, "only") && self.is_word(1, "keyspace") {
            self.at += 2;
            Described::Keyspace(self.optional_identifier()?, true)
        } else if self.word("keyspace") {
            Described::Keyspace(self.optional_identifier()?, false)
        } else if self.word("table") {
            Described::Table(self.name()?)
        } else if self.word("type") {
            Described::Type(self.name()?)
        } else if self.word("index") {
            Described::Other("index", self.name()?)
        } else if self.words(&["materialized", "view"]) {
            Described::Other("materialized view", self.name()?)
        } else if self.word("function") {
            Described::Other("function", self.name()?)
        } else if self.word("aggregate") {
            Described::Other("aggregate", self.name()?)
        } else {
            Described::Any(self.name()?)
        };
        let internals = self.words(&["with", "internals"]);
        Ok(Statement::Describe(Describe { what, internals }))
    }

    fn optional_identifier(&mut self) -> Result<Option<String>> {
        let ends = self.is_sign(0, ";") || self.is_word(0, "with") || self.peek() == &super::Kind::End;
        match ends {
            true => Ok(None),
            false => self.identifier().map(Some),
        }
    }
}

fn text_of(constant: &Constant) -> String {
    match constant {
        Constant::String(text)
        | Constant::Integer(text)
        | Constant::Float(text)
        | Constant::Uuid(text)
        | Constant::Blob(text) => text.clone(),
        Constant::Boolean(value) => value.to_string(),
        Constant::Duration(value) => format!("{}mo{}d{}ns", value.months, value.days, value.nanos),
    }
}

fn map_of_texts(term: &Term) -> Option<Vec<(String, String)>> {
    let text = |term: &Term| match term {
        Term::Constant(constant) => Some(text_of(constant)),
        _ => None,
    };
    match term {
        Term::Set(elements) if elements.is_empty() => Some(Vec::new()),
        Term::Map(entries) => entries
            .iter()
            .map(|(key, value)| Some((text(key)?, text(value)?)))
            .collect(),
        _ => None,
    }
}
