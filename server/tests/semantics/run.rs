//! Asking, and comparing what is answered.

use crate::file::{Case, File, Statement as Asked};
use crate::node;
use crate::text::{self, Bound};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError};
use scylla::frame::types::{Consistency, SerialConsistency};
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::unprepared::Statement;
use scylla::value::Row;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How statements are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Query,
    Prepared,
}

/// An answer that is not the one expected.
pub struct Wrong {
    pub path: PathBuf,
    pub line: usize,
    mode: Mode,
    again: bool,
    asked: String,
    expected: Vec<String>,
    pub got: Vec<String>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.path.file_name().unwrap().to_string_lossy();
        let again = if self.again { ", after a restart" } else { "" };
        writeln!(
            f,
            "\n{file}:{}: ({:?}{again})\n  {}",
            self.line,
            self.mode,
            self.asked.replace('\n', "\n  ")
        )?;
        for line in &self.expected {
            writeln!(f, "  expected  {line}")?;
        }
        for line in &self.got {
            writeln!(f, "  got       {line}")?;
        }
        Ok(())
    }
}

/// What came back.
#[derive(Default)]
struct Answer {
    lines: Vec<String>,
    names: Option<String>,
    warnings: Vec<String>,
}

pub struct Runner {
    session: Arc<Session>,
    /// The directory of the server's store.
    data: PathBuf,
    keyspace: String,
    mode: Mode,
    again: bool,
}

impl Runner {
    /// A session with a keyspace for a file; it is new, unless this is the second run.
    pub async fn connect((address, data): (SocketAddr, PathBuf), file: &File, mode: Mode, again: bool) -> Runner {
        let profile = ExecutionProfile::builder()
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .request_timeout(Some(Duration::from_secs(20)))
            .build();
        let session = SessionBuilder::new()
            .known_node_addr(address)
            .default_execution_profile_handle(profile.into_handle())
            .fetch_schema_metadata(false)
            .auto_await_schema_agreement(false)
            .refresh_metadata_on_auto_schema_agreement(false)
            .build()
            .await
            .unwrap();
        let suffix = if mode == Mode::Query { "q" } else { "p" };
        let keyspace = format!("s{}_{suffix}", file.name());
        if !again {
            let create = format!(
                "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
            );
            session.query_unpaged(create, ()).await.unwrap();
        }
        session.use_keyspace(&keyspace, false).await.unwrap();
        Runner {
            session: Arc::new(session),
            data,
            keyspace,
            mode,
            again,
        }
    }

    pub async fn run(&mut self, file: &File) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for case in &file.cases {
            let is_now = if self.again { case.again } else { !case.after };
            if !is_now || case.only.is_some_and(|only| only != self.mode) {
                continue;
            }
            if let Some(wait) = case.wait {
                tokio::time::sleep(wait).await;
            }
            if let Some(table) = &case.compact {
                let (data, table) = (self.data.clone(), format!("{}.{table}", self.keyspace));
                let compacted = tokio::task::spawn_blocking(move || node::compact(&data, &table));
                compacted.await.unwrap();
            }
            let answer = self.ask(case).await;
            if !is_as_expected(&case.answer, &answer, &self.keyspace) {
                let asked: Vec<String> = case.statements.iter().map(|of| of.text.clone()).collect();
                let mut got = answer.lines;
                if case.answer.iter().any(|line| line.starts_with("=#")) {
                    got.insert(0, format!("# {}", answer.names.unwrap_or_default()));
                }
                got.extend(answer.warnings.iter().map(|warning| format!("! {warning}")));
                wrong.push(Wrong {
                    path: file.path.clone(),
                    line: case.line,
                    mode: self.mode,
                    again: self.again,
                    asked: asked.join(";\n"),
                    expected: case.answer.clone(),
                    got,
                });
            }
        }
        wrong
    }

    async fn ask(&self, case: &Case) -> Answer {
        let Some(times) = case.times else {
            return ask(&self.session, case, self.mode, &self.keyspace).await;
        };
        let mut tasks = Vec::new();
        for _ in 0..times {
            let (session, case) = (Arc::clone(&self.session), case.clone());
            let (mode, keyspace) = (self.mode, self.keyspace.clone());
            tasks.push(tokio::spawn(async move { ask(&session, &case, mode, &keyspace).await }));
        }
        let mut counted = BTreeMap::new();
        for task in tasks {
            let answer = task.await.unwrap();
            *counted.entry(answer.lines.join("; ")).or_insert(0) += 1;
        }
        let lines = counted
            .into_iter()
            .map(|(answer, count)| format!("{count} times {answer}"));
        Answer {
            lines: lines.collect(),
            ..Answer::default()
        }
    }
}

async fn ask(session: &Session, case: &Case, mode: Mode, keyspace: &str) -> Answer {
    let mut answer = Answer::default();
    let asked = match &case.frame {
        Some(kind) => ask_frame(session, case, kind, mode, keyspace, &mut answer).await,
        None => ask_one(session, case, mode, keyspace, &mut answer).await,
    };
    if let Err(error) = asked {
        answer.lines.push(error);
    }
    answer
}

fn consistency_of(name: &str) -> Consistency {
    match name {
        "ANY" => Consistency::Any,
        "ONE" => Consistency::One,
        "ALL" => Consistency::All,
        "QUORUM" => Consistency::Quorum,
        "SERIAL" => Consistency::Serial,
        _ => panic!("no such consistency: {name}"),
    }
}

fn serial_of(name: &str) -> SerialConsistency {
    match name {
        "SERIAL" => SerialConsistency::Serial,
        "LOCAL_SERIAL" => SerialConsistency::LocalSerial,
        _ => panic!("no such consistency: {name}"),
    }
}

async fn ask_one(
    session: &Session,
    case: &Case,
    mode: Mode,
    keyspace: &str,
    answer: &mut Answer,
) -> Result<(), String> {
    let Asked { text, values } = &case.statements[0];
    let statement = statement_of(case, text, keyspace);
    let prepared = match mode == Mode::Prepared || !values.is_empty() {
        true => Some(session.prepare(statement.clone()).await.map_err(of_prepare)?),
        false => None,
    };
    let values = match &prepared {
        Some(prepared) => bound(prepared, values)?,
        None => Vec::new(),
    };
    let mut state = PagingState::start();
    loop {
        let page = match &prepared {
            Some(prepared) => session.execute_single_page(prepared, &values, state).await,
            None => session.query_single_page(statement.clone(), (), state).await,
        };
        let (result, next) = page.map_err(of_execution)?;
        add(result, answer)?;
        match next {
            PagingStateResponse::HasMorePages { state: next } => {
                answer.lines.push("--".to_owned());
                state = next;
            }
            PagingStateResponse::NoMorePages => break,
        }
    }
    // A last page without rows is as good as none.
    while answer.lines.last().is_some_and(|line| line == "--") {
        answer.lines.pop();
    }
    if answer.lines.is_empty() {
        answer.lines.push("none".to_owned());
    }
    Ok(())
}

fn statement_of(case: &Case, text: &str, keyspace: &str) -> Statement {
    let mut statement = Statement::new(text.replace("$KS", keyspace));
    if let Some(page) = case.page {
        statement.set_page_size(page);
    }
    if let Some(consistency) = &case.consistency {
        statement.set_consistency(consistency_of(consistency));
    }
    if let Some(serial) = &case.serial {
        statement.set_serial_consistency(Some(serial_of(serial)));
    }
    statement.set_timestamp(case.timestamp);
    statement
}

async fn ask_frame(
    session: &Session,
    case: &Case,
    kind: &str,
    mode: Mode,
    keyspace: &str,
    answer: &mut Answer,
) -> Result<(), String> {
    let mut batch = Batch::new(match kind {
        "logged" => BatchType::Logged,
        "unlogged" => BatchType::Unlogged,
        "counter" => BatchType::Counter,
        _ => panic!("no such kind of batch: {kind}"),
    });
    let mut all = Vec::new();
    for Asked { text, values } in &case.statements {
        let statement = statement_of(case, text, keyspace);
        if mode == Mode::Prepared || !values.is_empty() {
            let prepared = session.prepare(statement).await.map_err(of_prepare)?;
            all.push(bound(&prepared, values)?);
            batch.append_statement(prepared);
        } else {
            batch.append_statement(statement);
            all.push(Vec::new());
        }
    }
    if let Some(consistency) = &case.consistency {
        batch.set_consistency(consistency_of(consistency));
    }
    batch.set_timestamp(case.timestamp);
    let result = session.batch(&batch, &all).await.map_err(of_execution)?;
    add(result, answer)
}

fn bound(prepared: &PreparedStatement, values: &[String]) -> Result<Vec<Bound>, String> {
    let specs = prepared.get_variable_col_specs();
    if specs.len() != values.len() {
        return Err(format!("{} values for {} markers", values.len(), specs.len()));
    }
    Ok(specs
        .iter()
        .zip(values)
        .map(|(spec, value)| text::bound(value, spec.typ()))
        .collect())
}

/// Adds the rows of a page, or that there are none.
fn add(result: QueryResult, answer: &mut Answer) -> Result<(), String> {
    answer.warnings.extend(result.warnings().map(str::to_owned));
    if !result.is_rows() {
        answer.lines.push("void".to_owned());
        return Ok(());
    }
    let rows = result.into_rows_result().map_err(|error| error.to_string())?;
    let names: Vec<&str> = rows.column_specs().iter().map(|spec| spec.name()).collect();
    answer.names = Some(names.join(" | "));
    for row in rows.rows::<Row>().map_err(|error| format!("rows: {error}"))? {
        let row = row.map_err(|error| format!("a row: {error}"))?;
        let values: Vec<String> = row.columns.iter().map(|value| text::shown(value.as_ref())).collect();
        answer.lines.push(values.join(" | "));
    }
    Ok(())
}

fn code_of(error: &DbError) -> i32 {
    match error {
        DbError::RateLimitReached { .. } => 0,
        error => error.code(&scylla::frame::protocol_features::ProtocolFeatures::default()),
    }
}

fn of_attempt(error: &RequestAttemptError) -> String {
    match error {
        RequestAttemptError::DbError(error, message) => format!("error 0x{:04X} {message}", code_of(error)),
        other => format!("error {other}"),
    }
}

fn of_prepare(error: PrepareError) -> String {
    match &error {
        PrepareError::AllAttemptsFailed { first_attempt } => of_attempt(first_attempt),
        other => format!("error {other}"),
    }
}

fn of_execution(error: ExecutionError) -> String {
    match error {
        ExecutionError::LastAttemptError(error) => of_attempt(&error),
        ExecutionError::PrepareError(error) => of_prepare(error),
        other => format!("error {other}"),
    }
}

fn is_as_expected(expected: &[String], answer: &Answer, keyspace: &str) -> bool {
    if expected.is_empty() {
        return !answer.lines.iter().any(|line| line.starts_with("error"));
    }
    let mut lines = answer.lines.iter();
    for line in expected {
        let (sign, rest) = line.split_at(2);
        let rest = rest.trim().replace("$KS", keyspace);
        let holds = match sign {
            "=#" => answer.names.as_ref() == Some(&rest),
            "=!" => answer.warnings.iter().any(|warning| warning.contains(&rest)),
            _ => lines.next().is_some_and(|line| matches(&rest, line)),
        };
        if !holds {
            return false;
        }
    }
    lines.next().is_none()
}

fn matches(expected: &str, got: &str) -> bool {
    if let Some(error) = expected.strip_prefix("error ") {
        let (code, part) = error.split_once(' ').unwrap_or((error, ""));
        return got
            .strip_prefix("error ")
            .and_then(|got| got.strip_prefix(code))
            .is_some_and(|message| message.contains(part.trim()));
    }
    let (expected, got) = (expected.split(" | "), got.split(" | "));
    let (expected, got): (Vec<&str>, Vec<&str>) = (expected.collect(), got.collect());
    expected.len() == got.len()
        && expected
            .iter()
            .zip(&got)
            .all(|(expected, got)| expected == got || (*expected == "*" && *got != "null"))
}
