//! What a statement says, word for word: names as they count after folding, terms as they were written.

use model::Duration;

/// A name with its keyspace, if it was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// `None`: the keyspace in use.
    pub keyspace: Option<String>,
    /// The name itself.
    pub name: String,
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub enum Statement {
    /// `SELECT`
    Select(Box<Select>),
    /// `INSERT`, `UPDATE` or `DELETE`
    Modify(Box<Modify>),
    /// `BEGIN … APPLY BATCH`
    Batch(Batch),
    /// `USE`
    Use(String),
    /// `TRUNCATE`
    Truncate(Name),
    /// `CREATE`, `ALTER` or `DROP`
    Schema(Box<SchemaChange>),
    /// `DESCRIBE`
    Describe(Describe),
    /// A statement of the language that is not served: what it is about, in the plural.
    Unsupported(&'static str),
}

/// A term: what can stand for a value.
#[derive(Clone, PartialEq, Debug)]
pub enum Term {
    /// A bind marker: which of the statement's, from 0.
    Marker(u16),
    /// `null`
    Null,
    /// A constant.
    Constant(Constant),
    /// `[a, b]`
    List(Vec<Term>),
    /// `{a, b}`; `{}` may also be a map.
    Set(Vec<Term>),
    /// `{a: b}`
    Map(Vec<(Term, Term)>),
    /// `{field: a}`
    Fields(Vec<(String, Term)>),
    /// `(a, b)`
    Tuple(Vec<Term>),
    /// `f(a)`
    Call(String, Vec<Term>),
    /// `(type) a`
    Cast(Type, Box<Term>),
}

/// A constant as it was written.
#[derive(Clone, PartialEq, Debug)]
pub enum Constant {
    /// A string.
    String(String),
    /// Digits, perhaps with a sign.
    Integer(String),
    /// A number with a point or an exponent, `NaN`, `Infinity`, perhaps with a sign.
    Float(String),
    /// A UUID.
    Uuid(String),
    /// `true` or `false`
    Boolean(bool),
    /// Hexadecimal digits.
    Blob(String),
    /// A duration.
    Duration(Duration),
}

/// The name of a type, or one with parts.
#[derive(Clone, PartialEq, Debug)]
pub enum Type {
    /// A simple or user-defined type.
    Named(Name),
    /// `list<a>`
    List(Box<Type>),
    /// `set<a>`
    Set(Box<Type>),
    /// `map<a, b>`
    Map(Box<Type>, Box<Type>),
    /// `tuple<a, b>`
    Tuple(Vec<Type>),
    /// `frozen<a>`
    Frozen(Box<Type>),
    /// `vector<a, n>`, or a type in quotes: not served.
    Unsupported(String),
}

/// How a column and a term are compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operator {
    /// `=`
    Eq,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `!=`
    Ne,
}

impl Operator {
    /// As it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Operator::Eq => "=",
            Operator::Lt => "<",
            Operator::Le => "<=",
            Operator::Gt => ">",
            Operator::Ge => ">=",
            Operator::Ne => "!=",
        }
    }
}

/// The right side of `IN`.
#[derive(Clone, PartialEq, Debug)]
pub enum InValues {
    /// `IN (a, b)`
    Terms(Vec<Term>),
    /// `IN ?`
    Marker(u16),
}

/// A condition of `WHERE`.
#[derive(Clone, PartialEq, Debug)]
pub enum Relation {
    /// `a = b`
    Compare(String, Operator, Term),
    /// `a IN …`
    In(String, InValues),
    /// `(a, b) < (c, d)`, or `(a, b) < ?`
    Tuple(Vec<String>, Operator, Term),
    /// `(a, b) IN …`
    TupleIn(Vec<String>, InValues),
    /// `token(a, b) < c`
    Token(Vec<String>, Operator, Term),
    /// `a CONTAINS b`
    Contains(String, Term),
    /// `a CONTAINS KEY b`
    ContainsKey(String, Term),
    /// `a[b] = c`
    Element(String, Term, Operator, Term),
    /// `a IS NOT NULL`, `a LIKE b`: not served; how it is written.
    Unsupported(String, &'static str),
}

/// What `SELECT` gives.
#[derive(Clone, PartialEq, Debug)]
pub enum Selector {
    /// A column.
    Column(String),
    /// `f(a, b)`; `count(*)` has no arguments and is called `countrows`.
    Call(String, Vec<Selector>),
    /// `cast(a as type)`
    Cast(Box<Selector>, Type),
    /// `a.field`
    Field(Box<Selector>, String),
    /// `a[b]`
    Element(Box<Selector>, Term),
    /// `a[b..c]`
    Range(Box<Selector>, Option<Term>, Option<Term>),
    /// A constant, a marker, or something made of them.
    Term(Term),
}

/// `SELECT`.
#[derive(Clone, PartialEq, Debug)]
pub struct Select {
    /// Of which table.
    pub table: Name,
    /// `SELECT JSON`
    pub json: bool,
    /// `SELECT DISTINCT`
    pub distinct: bool,
    /// Each with its alias; empty: `*`.
    pub selectors: Vec<(Selector, Option<String>)>,
    /// `WHERE`
    pub relations: Vec<Relation>,
    /// `GROUP BY` was there.
    pub group_by: bool,
    /// `ORDER BY`: columns, and whether `DESC`.
    pub order: Vec<(String, bool)>,
    /// `PER PARTITION LIMIT`
    pub per_partition_limit: Option<Term>,
    /// `LIMIT`
    pub limit: Option<Term>,
    /// `ALLOW FILTERING`
    pub allow_filtering: bool,
    /// `USING TIMEOUT`
    pub timeout: Option<Term>,
}

/// Which statement a modification is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModifyKind {
    /// `INSERT`
    Insert,
    /// `UPDATE`
    Update,
    /// `DELETE`
    Delete,
}

/// What is done to a column.
#[derive(Clone, PartialEq, Debug)]
pub enum Operation {
    /// `a = b`
    Set(String, Term),
    /// `a = a + b`, `a += b`
    Add(String, Term),
    /// `a = a - b`, `a -= b`
    Subtract(String, Term),
    /// `a = b + a`
    Prepend(String, Term),
    /// `a[b] = c`
    SetElement(String, Term, Term),
    /// `a.b = c`
    SetField(String, String, Term),
    /// `DELETE a`
    Delete(String),
    /// `DELETE a[b]`
    DeleteElement(String, Term),
    /// `DELETE a.b`
    DeleteField(String, String),
}

impl Operation {
    /// The column.
    #[must_use]
    pub fn column(&self) -> &str {
        match self {
            Operation::Set(column, _)
            | Operation::Add(column, _)
            | Operation::Subtract(column, _)
            | Operation::Prepend(column, _)
            | Operation::SetElement(column, _, _)
            | Operation::SetField(column, _, _)
            | Operation::Delete(column)
            | Operation::DeleteElement(column, _)
            | Operation::DeleteField(column, _) => column,
        }
    }
}

/// `IF` of a modification.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Conditions {
    /// None.
    #[default]
    None,
    /// `IF NOT EXISTS`
    NotExists,
    /// `IF EXISTS`
    Exists,
    /// `IF a = b AND …`
    Columns(Vec<Condition>),
}

/// A condition of `IF`.
#[derive(Clone, PartialEq, Debug)]
pub struct Condition {
    /// The column.
    pub column: String,
    /// What of it.
    pub of: ConditionOf,
    /// How it is compared.
    pub test: ConditionTest,
}

/// What of a column a condition is about.
#[derive(Clone, PartialEq, Debug)]
pub enum ConditionOf {
    /// All of it.
    Whole,
    /// `a[b]`
    Element(Term),
    /// `a.b`
    Field(String),
}

/// How a condition compares.
#[derive(Clone, PartialEq, Debug)]
pub enum ConditionTest {
    /// `= b`
    Compare(Operator, Term),
    /// `IN …`
    In(InValues),
    /// `CONTAINS b`
    Contains(Term),
    /// `CONTAINS KEY b`
    ContainsKey(Term),
}

/// `INSERT`, `UPDATE` or `DELETE`.
#[derive(Clone, PartialEq, Debug)]
pub struct Modify {
    /// Which.
    pub kind: ModifyKind,
    /// Of which table.
    pub table: Name,
    /// `INSERT … JSON`
    pub json: bool,
    /// What is done; key columns of an `INSERT` are in `relations`.
    pub operations: Vec<Operation>,
    /// `WHERE`, or the columns of an `INSERT`, each equal to its value.
    pub relations: Vec<Relation>,
    /// `IF`
    pub conditions: Conditions,
    /// `USING TIMESTAMP`
    pub timestamp: Option<Term>,
    /// `USING TTL`
    pub ttl: Option<Term>,
    /// `USING TIMEOUT`
    pub timeout: Option<Term>,
}

/// The kind of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchKind {
    /// `BEGIN BATCH`
    Logged,
    /// `BEGIN UNLOGGED BATCH`
    Unlogged,
    /// `BEGIN COUNTER BATCH`
    Counter,
}

/// `BEGIN … APPLY BATCH`.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// Its kind.
    pub kind: BatchKind,
    /// `USING TIMESTAMP`
    pub timestamp: Option<Term>,
    /// `USING TTL`, which is refused.
    pub ttl: Option<Term>,
    /// In order.
    pub statements: Vec<Modify>,
}

/// The value of a property of `WITH`.
#[derive(Clone, PartialEq, Debug)]
pub enum Property {
    /// `a = 'text'`, `a = 1`: as text.
    Text(String),
    /// `a = {…}`: in order.
    Map(Vec<(String, String)>),
}

/// A column of `CREATE TABLE`.
#[derive(Clone, PartialEq, Debug)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// `STATIC`
    pub is_static: bool,
}

/// `CREATE TABLE`.
#[derive(Clone, PartialEq, Debug)]
pub struct CreateTable {
    /// Its name.
    pub table: Name,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// In order.
    pub columns: Vec<ColumnDefinition>,
    /// `PRIMARY KEY`, each time that it was there: partition key, clustering columns.
    pub keys: Vec<(Vec<String>, Vec<String>)>,
    /// `WITH`
    pub properties: Vec<(String, Property)>,
    /// `CLUSTERING ORDER BY`: columns, and whether `DESC`.
    pub order: Vec<(String, bool)>,
    /// `COMPACT STORAGE`
    pub compact_storage: bool,
    /// `ID = …`
    pub id: Option<String>,
}

/// What `ALTER TABLE` does.
#[derive(Clone, PartialEq, Debug)]
pub enum AlterTable {
    /// `ADD`, whether `IF NOT EXISTS`
    Add(Vec<ColumnDefinition>, bool),
    /// `DROP`, whether `IF EXISTS`
    Drop(Vec<String>, bool),
    /// `RENAME`, whether `IF EXISTS`
    Rename(Vec<(String, String)>, bool),
    /// `WITH`
    With(Vec<(String, Property)>),
    /// `ALTER a TYPE b`: refused.
    Retype,
    /// `DROP COMPACT STORAGE`: refused.
    DropCompactStorage,
}

/// What `ALTER TYPE` does.
#[derive(Clone, PartialEq, Debug)]
pub enum AlterType {
    /// `ADD`, whether `IF NOT EXISTS`
    Add(String, Type, bool),
    /// `RENAME`
    Rename(Vec<(String, String)>),
    /// `ALTER a TYPE b`: refused.
    Retype,
}

/// A statement that changes definitions.
#[derive(Clone, PartialEq, Debug)]
pub enum SchemaChange {
    /// `CREATE KEYSPACE`
    CreateKeyspace {
        /// Its name.
        name: String,
        /// `IF NOT EXISTS`
        if_not_exists: bool,
        /// `WITH`
        properties: Vec<(String, Property)>,
    },
    /// `ALTER KEYSPACE`
    AlterKeyspace {
        /// Its name.
        name: String,
        /// `IF EXISTS`
        if_exists: bool,
        /// `WITH`
        properties: Vec<(String, Property)>,
    },
    /// `DROP KEYSPACE`
    DropKeyspace {
        /// Its name.
        name: String,
        /// `IF EXISTS`
        if_exists: bool,
    },
    /// `CREATE TABLE`
    CreateTable(CreateTable),
    /// `ALTER TABLE`
    AlterTable {
        /// Its name.
        table: Name,
        /// `IF EXISTS`
        if_exists: bool,
        /// What it does.
        change: AlterTable,
    },
    /// `DROP TABLE`
    DropTable {
        /// Its name.
        table: Name,
        /// `IF EXISTS`
        if_exists: bool,
    },
    /// `CREATE TYPE`
    CreateType {
        /// Its name.
        name: Name,
        /// `IF NOT EXISTS`
        if_not_exists: bool,
        /// In order.
        fields: Vec<(String, Type)>,
    },
    /// `ALTER TYPE`
    AlterType {
        /// Its name.
        name: Name,
        /// `IF EXISTS`
        if_exists: bool,
        /// What it does.
        change: AlterType,
    },
    /// `DROP TYPE`
    DropType {
        /// Its name.
        name: Name,
        /// `IF EXISTS`
        if_exists: bool,
    },
}

/// `DESCRIBE`.
#[derive(Clone, PartialEq, Debug)]
pub struct Describe {
    /// What.
    pub what: Described,
    /// `WITH INTERNALS`
    pub internals: bool,
}

/// What `DESCRIBE` is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Described {
    /// `CLUSTER`
    Cluster,
    /// `SCHEMA`; `true`: `FULL`
    Schema(bool),
    /// `KEYSPACES`
    Keyspaces,
    /// `TABLES`
    Tables,
    /// `TYPES`
    Types,
    /// `FUNCTIONS`
    Functions,
    /// `AGGREGATES`
    Aggregates,
    /// `KEYSPACE [name]`; `true`: `ONLY`
    Keyspace(Option<String>, bool),
    /// `TABLE name`
    Table(Name),
    /// `TYPE name`
    Type(Name),
    /// `INDEX`, `MATERIALIZED VIEW`, `FUNCTION`, `AGGREGATE name`: the word and the name.
    Other(&'static str, Name),
    /// A name alone.
    Any(Name),
}

/// A statement and its bind markers.
#[derive(Clone, PartialEq, Debug)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// The names of its markers, where they have one, in order.
    pub markers: Vec<Option<String>>,
}
