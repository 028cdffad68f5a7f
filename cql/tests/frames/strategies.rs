//! Requests and answers of every kind.

use model::{CqlType, UserType};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use scrollback_cql::frame::client::{self, Send};
use scrollback_cql::frame::{
    BatchStatement, BatchType, Change, Column, Consistency, ErrorBody, Event, Events, Metadata, Parameters, Prepared,
    Reply, Request, SchemaChange, Target, Value, Values, WriteType,
};

pub fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(if cfg!(debug_assertions) { 500 } else { 10_000 })
}

pub fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

pub type Bytes = Vec<u8>;

/// A value that owns its bytes.
#[derive(Clone, PartialEq, Debug)]
pub enum Bound {
    Null,
    Unset,
    Bytes(Bytes),
}

impl Bound {
    pub fn value(&self) -> Value<'_> {
        match self {
            Bound::Null => Value::Null,
            Bound::Unset => Value::Unset,
            Bound::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

/// What a statement is run with.
#[derive(Clone, Debug)]
pub struct Run {
    pub consistency: Consistency,
    pub names: Option<Vec<String>>,
    pub values: Vec<Bound>,
    pub skip_metadata: bool,
    pub page_size: Option<i32>,
    pub paging_state: Option<Bytes>,
    pub serial: Option<Consistency>,
    pub timestamp: Option<i64>,
}

impl Run {
    fn with(&self, send: impl FnOnce(&client::Parameters<'_>)) {
        let values: Vec<_> = self.values.iter().map(Bound::value).collect();
        let names = self.names.iter().flatten().map(String::as_str);
        let named: Vec<_> = names.zip(values.iter().copied()).collect();
        send(&client::Parameters {
            consistency: self.consistency,
            values: match self.names {
                Some(_) => client::Values::Named(&named),
                None => client::Values::Positional(&values),
            },
            skip_metadata: self.skip_metadata,
            page_size: self.page_size,
            paging_state: self.paging_state.as_deref(),
            serial_consistency: self.serial,
            timestamp: self.timestamp,
        });
    }

    fn assert_is(&self, found: &Parameters<'_>) {
        assert_eq!(found.consistency, self.consistency);
        assert_eq!(found.skip_metadata, self.skip_metadata);
        assert_eq!(
            found.page_size,
            self.page_size.and_then(|rows| u32::try_from(rows).ok())
        );
        assert_eq!(found.paging_state, self.paging_state.as_deref());
        assert_eq!(found.serial_consistency, self.serial);
        assert_eq!(found.timestamp, self.timestamp);
        assert_bound(&found.values, &self.values);
        if let Some(names) = &self.names {
            let found = found.values.iter().map(|(name, _)| name.expect("has a name"));
            assert_eq!(found.collect::<Vec<_>>(), *names);
        }
    }
}

fn assert_bound(found: &Values<'_>, sent: &[Bound]) {
    let found: Vec<_> = found.iter().map(|(_, value)| value).collect();
    assert_eq!(found, sent.iter().map(Bound::value).collect::<Vec<_>>());
}

/// A statement of a batch.
#[derive(Clone, Debug)]
pub enum Statement {
    Query(String),
    Prepared(Bytes),
}

impl Statement {
    fn of(&self) -> BatchStatement<'_> {
        match self {
            Statement::Query(text) => BatchStatement::Query(text),
            Statement::Prepared(id) => BatchStatement::Prepared(id),
        }
    }
}

/// A request that owns its bytes.
#[derive(Clone, Debug)]
pub enum Sent {
    Startup(Vec<(String, String)>),
    Options,
    AuthResponse(Option<Bytes>),
    Register(Events),
    Query(String, Run),
    Prepare(String),
    Execute(Bytes, Run),
    Batch(BatchType, Vec<(Statement, Vec<Bound>)>, client::BatchParameters),
}

impl Sent {
    pub fn bytes(&self, send: &Send<'_>) -> Bytes {
        written(|out| match self {
            Sent::Startup(options) => {
                let options: Vec<_> = options.iter().map(|(key, value)| (&**key, &**value)).collect();
                send.startup(out, &options);
            }
            Sent::Options => send.options(out),
            Sent::AuthResponse(token) => send.auth_response(out, token.as_deref()),
            Sent::Register(events) => send.register(out, *events),
            Sent::Query(text, run) => run.with(|parameters| send.query(out, text, parameters)),
            Sent::Prepare(text) => send.prepare(out, text),
            Sent::Execute(id, run) => run.with(|parameters| send.execute(out, id, parameters)),
            Sent::Batch(batch_type, statements, parameters) => {
                let values = statements
                    .iter()
                    .map(|(_, values)| values.iter().map(Bound::value).collect());
                let values: Vec<Vec<_>> = values.collect();
                let statements = statements.iter().zip(&values);
                let statements = statements.map(|((statement, _), values)| (statement.of(), &values[..]));
                send.batch(out, *batch_type, statements, parameters);
            }
        })
    }

    pub fn assert_is(&self, found: &Request<'_>) {
        match (self, found) {
            (Sent::Startup(sent), Request::Startup(found)) => {
                let found = found.options().map(|(key, value)| (key.to_owned(), value.to_owned()));
                assert_eq!(found.collect::<Vec<_>>(), *sent);
            }
            (Sent::Options, Request::Options) => {}
            (Sent::AuthResponse(sent), Request::AuthResponse(found)) => assert_eq!(*found, sent.as_deref()),
            (Sent::Register(sent), Request::Register(found)) => assert_eq!(found, sent),
            (Sent::Prepare(sent), Request::Prepare { text }) => assert_eq!(text, sent),
            (Sent::Query(sent, run), Request::Query { text, parameters }) => {
                assert_eq!(text, sent);
                run.assert_is(parameters);
            }
            (Sent::Execute(sent, run), Request::Execute { id, parameters }) => {
                assert_eq!(id, sent);
                run.assert_is(parameters);
            }
            (Sent::Batch(batch_type, statements, parameters), Request::Batch(found)) => {
                assert_eq!(found.batch_type, *batch_type);
                assert_eq!(found.consistency, parameters.consistency);
                assert_eq!(found.serial_consistency, parameters.serial_consistency);
                assert_eq!(found.timestamp, parameters.timestamp);
                assert_eq!(found.statements().count(), statements.len());
                for ((found, values), (statement, bound)) in found.statements().zip(statements) {
                    assert_eq!(found, statement.of());
                    assert_bound(&values, bound);
                }
            }
            (sent, found) => panic!("{sent:?} came as {found:?}"),
        }
    }
}

fn bytes(len: usize) -> impl Strategy<Value = Bytes> + Clone {
    vec(any::<u8>(), 0..len)
}

fn word() -> impl Strategy<Value = String> + Clone {
    "[a-zA-Zé_ ]{0,12}"
}

fn consistency() -> impl Strategy<Value = Consistency> + Clone {
    select(&Consistency::ALL[..])
}

fn serial() -> impl Strategy<Value = Option<Consistency>> + Clone {
    option::of(select(&[Consistency::Serial, Consistency::LocalSerial][..]))
}

fn timestamp() -> impl Strategy<Value = Option<i64>> + Clone {
    option::of(any::<i64>().prop_filter("not a timestamp", |of| *of != i64::MIN))
}

fn bound() -> impl Strategy<Value = Bound> + Clone {
    prop_oneof![
        1 => Just(Bound::Null),
        1 => Just(Bound::Unset),
        4 => bytes(20).prop_map(Bound::Bytes),
    ]
}

fn run() -> impl Strategy<Value = Run> {
    let page_size = option::of(any::<i32>().prop_filter("not a page size", |of| *of != 0));
    let start = (
        consistency(),
        any::<bool>(),
        vec((word(), bound()), 0..6),
        any::<bool>(),
    );
    (start, page_size, option::of(bytes(20)), serial(), timestamp()).prop_map(
        |((consistency, named, values, skip_metadata), page_size, paging_state, serial, timestamp)| {
            let (names, values) = values.into_iter().unzip();
            Run {
                consistency,
                names: named.then_some(names),
                values,
                skip_metadata,
                page_size,
                paging_state,
                serial,
                timestamp,
            }
        },
    )
}

fn events() -> impl Strategy<Value = Events> {
    any::<[bool; 3]>().prop_map(|[topology_change, status_change, schema_change]| Events {
        topology_change,
        status_change,
        schema_change,
        trace_complete: false,
    })
}

pub fn sent() -> impl Strategy<Value = Sent> {
    let statement = prop_oneof![
        word().prop_map(Statement::Query),
        bytes(17).prop_map(Statement::Prepared)
    ];
    let statements = vec((statement, vec(bound(), 0..4)), 0..5);
    let batch_types = select(&[BatchType::Logged, BatchType::Unlogged, BatchType::Counter][..]);
    let batch = (batch_types, statements, consistency(), serial(), timestamp()).prop_map(
        |(batch_type, statements, consistency, serial_consistency, timestamp)| {
            let parameters = client::BatchParameters {
                consistency,
                serial_consistency,
                timestamp,
            };
            Sent::Batch(batch_type, statements, parameters)
        },
    );
    prop_oneof![
        1 => vec((word(), word()), 0..4).prop_map(Sent::Startup),
        1 => Just(Sent::Options),
        1 => option::of(bytes(20)).prop_map(Sent::AuthResponse),
        1 => events().prop_map(Sent::Register),
        3 => (word(), run()).prop_map(|(text, run)| Sent::Query(text, run)),
        1 => word().prop_map(Sent::Prepare),
        3 => (bytes(17), run()).prop_map(|(id, run)| Sent::Execute(id, run)),
        3 => batch,
    ]
}

/// All types that are not made of others.
pub const SIMPLE: [CqlType; 19] = [
    CqlType::BigInt,
    CqlType::Int,
    CqlType::SmallInt,
    CqlType::TinyInt,
    CqlType::Boolean,
    CqlType::Float,
    CqlType::Double,
    CqlType::Text,
    CqlType::Ascii,
    CqlType::Blob,
    CqlType::Uuid,
    CqlType::TimeUuid,
    CqlType::Timestamp,
    CqlType::Date,
    CqlType::Time,
    CqlType::Inet,
    CqlType::Varint,
    CqlType::Decimal,
    CqlType::Duration,
];

pub fn ty() -> impl Strategy<Value = CqlType> {
    select(&SIMPLE[..]).prop_recursive(3, 12, 3, |inner| {
        let fields = vec((word(), inner.clone()), 1..4);
        prop_oneof![
            inner.clone().prop_map(CqlType::list),
            inner.clone().prop_map(CqlType::set),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| key.map(value)),
            vec(inner, 1..4).prop_map(CqlType::Tuple),
            (word(), word(), fields).prop_map(|(keyspace, name, fields)| {
                let fields = fields.iter().map(|(name, ty)| (&**name, ty.clone()));
                CqlType::udt(UserType::new(&keyspace, &name, fields))
            }),
        ]
    })
}

/// A column that owns its names.
#[derive(Clone, PartialEq, Debug)]
pub struct OwnColumn {
    pub keyspace: String,
    pub table: String,
    pub name: String,
    pub ty: CqlType,
}

pub fn metadata(columns: &[OwnColumn]) -> Metadata {
    Metadata::new(columns.iter().map(|of| Column {
        keyspace: &of.keyspace,
        table: &of.table,
        name: &of.name,
        ty: &of.ty,
    }))
}

/// Columns, of one table or of several.
pub fn columns(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<OwnColumn>> {
    let places = prop_oneof![Just(vec!["t"]), Just(vec!["t", "u"])];
    (places, vec((word(), ty(), any::<prop::sample::Index>()), len)).prop_map(|(places, columns)| {
        let column = |(name, ty, table): (_, _, prop::sample::Index)| OwnColumn {
            keyspace: "ks".to_owned(),
            table: (*table.get(&places)).to_owned(),
            name,
            ty,
        };
        columns.into_iter().map(column).collect()
    })
}

/// An answer that owns its bytes.
#[derive(Clone, Debug)]
pub enum Answered {
    Error(String, ErrorBody<'static>),
    Ready,
    Supported(Vec<(String, Vec<String>)>),
    Authenticate(String),
    AuthChallenge(Option<Bytes>),
    AuthSuccess(Option<Bytes>),
    Void,
    SetKeyspace(String),
    SchemaChange(SchemaChange<'static>),
    Prepared(Bytes, Vec<OwnColumn>, Vec<u16>, Option<Vec<OwnColumn>>),
    Rows(Page),
    Event(Event<'static>),
}

/// A page of rows.
#[derive(Clone, Debug)]
pub struct Page {
    pub columns: Vec<OwnColumn>,
    pub cells: Vec<Vec<Option<Bytes>>>,
    pub skip: bool,
    pub more: Option<Bytes>,
}

impl Page {
    pub fn put(&self, reply: &Reply<'_>, out: &mut Vec<u8>) {
        let metadata = metadata(&self.columns);
        let mut rows = reply.rows(out, &metadata, self.skip);
        for row in &self.cells {
            row.iter().for_each(|cell| rows.value(cell.as_deref()));
        }
        rows.finish(self.more.as_deref());
    }
}

impl Answered {
    /// The frame; an event has no stream, and nothing before its message.
    pub fn bytes(&self, reply: &Reply<'_>) -> Bytes {
        written(|out| match self {
            Answered::Error(message, body) => reply.error(out, message, body),
            Answered::Ready => reply.ready(out),
            Answered::Supported(options) => {
                let options: Vec<_> = options.iter().map(|(key, values)| (key, &values[..])).collect();
                reply.supported(out, &options);
            }
            Answered::Authenticate(class) => reply.authenticate(out, class),
            Answered::AuthChallenge(token) => reply.auth_challenge(out, token.as_deref()),
            Answered::AuthSuccess(token) => reply.auth_success(out, token.as_deref()),
            Answered::Void => reply.void(out),
            Answered::SetKeyspace(keyspace) => reply.set_keyspace(out, keyspace),
            Answered::SchemaChange(change) => reply.schema_change(out, change),
            Answered::Prepared(id, markers, key, result) => {
                let result = result.as_deref().map(metadata);
                let prepared = Prepared {
                    id,
                    markers: &metadata(markers),
                    key,
                    result: result.as_ref(),
                    marks: 0,
                };
                reply.prepared(out, &prepared);
            }
            Answered::Rows(page) => page.put(reply, out),
            Answered::Event(event) => event.put(out),
        })
    }
}

fn write_type() -> impl Strategy<Value = WriteType> {
    select(&WriteType::ALL[..])
}

fn error_body() -> impl Strategy<Value = ErrorBody<'static>> {
    let plain = select(vec![
        ErrorBody::Server,
        ErrorBody::Protocol,
        ErrorBody::BadCredentials,
        ErrorBody::Overloaded,
        ErrorBody::IsBootstrapping,
        ErrorBody::Truncate,
        ErrorBody::Syntax,
        ErrorBody::Unauthorized,
        ErrorBody::Invalid,
        ErrorBody::Config,
        ErrorBody::AlreadyExists {
            keyspace: "ks",
            table: "",
        },
        ErrorBody::AlreadyExists {
            keyspace: "ks",
            table: "t",
        },
        ErrorBody::Unprepared {
            id: b"0123456789abcdef",
        },
        ErrorBody::FunctionFailure {
            keyspace: "ks",
            function: "f",
            arguments: vec!["int", "list<text>"],
        },
    ]);
    let numbers = (consistency(), any::<[i32; 3]>(), any::<bool>(), write_type());
    prop_oneof![
        plain,
        (numbers, 0..5).prop_map(
            |((consistency, [received, block_for, failures], data_present, write_type), of)| {
                match of {
                    0 => ErrorBody::Unavailable {
                        consistency,
                        required: received,
                        alive: block_for,
                    },
                    1 => ErrorBody::WriteTimeout {
                        consistency,
                        received,
                        block_for,
                        write_type,
                    },
                    2 => ErrorBody::ReadTimeout {
                        consistency,
                        received,
                        block_for,
                        data_present,
                    },
                    3 => ErrorBody::ReadFailure {
                        consistency,
                        received,
                        block_for,
                        failures,
                        data_present,
                    },
                    _ => ErrorBody::WriteFailure {
                        consistency,
                        received,
                        block_for,
                        failures,
                        write_type,
                    },
                }
            }
        ),
    ]
}

fn schema_change() -> impl Strategy<Value = SchemaChange<'static>> {
    let targets = vec![
        Target::Keyspace,
        Target::Table("t"),
        Target::Type("ty"),
        Target::Function("f", vec!["int", "text"]),
        Target::Aggregate("a", Vec::new()),
    ];
    let changes = select(&[Change::Created, Change::Updated, Change::Dropped][..]);
    (changes, select(targets)).prop_map(|(change, target)| SchemaChange {
        change,
        keyspace: "ks",
        target,
    })
}

fn event() -> impl Strategy<Value = Event<'static>> {
    prop_oneof![
        schema_change().prop_map(Event::SchemaChange),
        (any::<std::net::IpAddr>(), any::<u16>(), 0..4).prop_map(|(ip, port, of)| {
            let address = std::net::SocketAddr::new(ip, port);
            match of {
                0 => Event::NewNode(address),
                1 => Event::RemovedNode(address),
                2 => Event::Up(address),
                _ => Event::Down(address),
            }
        }),
    ]
}

pub fn page() -> impl Strategy<Value = Page> {
    columns(1..5).prop_flat_map(|columns| {
        let row = vec(option::of(bytes(12)), columns.len());
        (Just(columns), vec(row, 0..6), any::<bool>(), option::of(bytes(12))).prop_map(
            |(columns, cells, skip, more)| Page {
                columns,
                cells,
                skip,
                more,
            },
        )
    })
}

pub fn answered() -> impl Strategy<Value = Answered> {
    let prepared = (
        bytes(17),
        columns(0..4),
        vec(any::<u16>(), 0..3),
        option::of(columns(1..4)),
    );
    prop_oneof![
        3 => (word(), error_body()).prop_map(|(message, body)| Answered::Error(message, body)),
        1 => Just(Answered::Ready),
        1 => vec((word(), vec(word(), 0..3)), 0..3).prop_map(Answered::Supported),
        1 => word().prop_map(Answered::Authenticate),
        1 => option::of(bytes(12)).prop_map(Answered::AuthChallenge),
        1 => option::of(bytes(12)).prop_map(Answered::AuthSuccess),
        1 => Just(Answered::Void),
        1 => word().prop_map(Answered::SetKeyspace),
        1 => schema_change().prop_map(Answered::SchemaChange),
        2 => prepared.prop_map(|(id, markers, key, result)| Answered::Prepared(id, markers, key, result)),
        3 => page().prop_map(Answered::Rows),
        2 => event().prop_map(Answered::Event),
    ]
}

/// How valid bytes are damaged.
#[derive(Clone, Debug)]
pub enum Damage {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index),
}

pub fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let byte = prop_oneof![any::<u8>(), select(&[0x00, 0x01, 0x7f, 0x80, 0xfd, 0xfe, 0xff][..])];
    let at = || any::<prop::sample::Index>();
    let one = prop_oneof![
        4 => (at(), byte.clone()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => (at(), byte).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        1 => at().prop_map(Damage::Cut),
        1 => at().prop_map(Damage::Remove),
    ];
    vec(one, 1..4)
}

pub fn damaged(mut bytes: Bytes, damage: &[Damage]) -> Bytes {
    for one in damage {
        if bytes.is_empty() {
            break;
        }
        match one {
            Damage::Set(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Damage::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Damage::Remove(at) => {
                bytes.remove(at.index(bytes.len()));
            }
        }
    }
    bytes
}
