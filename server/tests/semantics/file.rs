//! How cases are written.
//!
//! ```text
//! -- A comment: the rule.
//! CREATE TABLE t (k int PRIMARY KEY, v text);
//!
//! INSERT INTO t (k, v) VALUES (?, ?);
//! ? 1, 'a'
//! => void
//!
//! @page 2
//! SELECT * FROM t;
//! =# k | v
//! => 1 | 'a'
//! ```
//!
//! A statement ends with a semicolon at the end of a line. What follows it is about it:
//! - `? …`: its values, as literals, `null` or `unset`; `0x…` is taken for the bytes of any type.
//! - `=> …`: its answer. A row; `void`; `none`: no rows; `--` between two pages; `error 0x2200 part of the message`. Of a row, `*` is any
//!   value that is not null.
//! - `=# …`: the names of its columns. `=! …`: a part of a warning.
//!
//! A statement without answer prepares others, and must succeed. `$KS` is the keyspace. Lines before a statement that begin with `@`:
//! - `@page N`: rows of a page. `@timestamp N`: the client's. `@consistency X`, `@serial X`.
//! - `@query`, `@prepared`: only so. `@wait S`: seconds before it.
//! - `@compact TABLE`: flushes and compacts all of a table before it, and waits for the end.
//! - `@times N`: sent N times at once; the answers are counted, `=> 2 times …`, sorted.
//! - `@again`: it is asked again when the server was killed and started again. `@after`: it is asked only then.
//! - `@frame KIND`: the statements up to `@send` go in one `BATCH` frame; the answer stands behind `@send`.

use crate::run::Wrong;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A statement with its values.
#[derive(Clone, Default, Debug)]
pub struct Statement {
    pub text: String,
    pub values: Vec<String>,
}

/// What is asked, and how.
#[derive(Clone, Default, Debug)]
pub struct Case {
    /// Where the last line of it is.
    pub line: usize,
    pub statements: Vec<Statement>,
    /// The kind of a `BATCH` frame.
    pub frame: Option<String>,
    pub page: Option<i32>,
    pub timestamp: Option<i64>,
    pub consistency: Option<String>,
    pub serial: Option<String>,
    pub only: Option<crate::run::Mode>,
    pub wait: Option<Duration>,
    /// The table that is compacted before it.
    pub compact: Option<String>,
    pub times: Option<usize>,
    pub again: bool,
    /// Not before the restart.
    pub after: bool,
    /// The lines of the answer; none: it prepares others.
    pub answer: Vec<String>,
}

/// A file of cases.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    pub lines: Vec<String>,
    pub cases: Vec<Case>,
}

impl File {
    pub fn read(path: &Path) -> File {
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut file = File {
            path: path.to_owned(),
            cases: Vec::new(),
            lines,
        };
        file.parse();
        file
    }

    pub fn name(&self) -> String {
        let name = self.path.file_stem().unwrap().to_string_lossy();
        name.replace('-', "_")
    }

    pub fn case_count(&self) -> usize {
        self.cases.iter().filter(|case| !case.answer.is_empty()).count()
    }

    pub fn has_again(&self) -> bool {
        self.cases.iter().any(|case| case.again)
    }

    fn parse(&mut self) {
        let mut case = Case::default();
        let mut text = String::new();
        // Whether the case is complete but for its answer.
        let mut asked = false;
        for (at, line) in self.lines.iter().enumerate() {
            let wrong = |what: &str| -> ! { panic!("{}:{}: {what}: {line}", self.path.display(), at + 1) };
            let trimmed = line.trim();
            let in_text = !text.is_empty();
            if !in_text && (trimmed.is_empty() || trimmed.starts_with("-- ") || trimmed == "--") {
                if asked {
                    self.cases.push(std::mem::take(&mut case));
                    asked = false;
                }
                continue;
            }
            if !in_text && ["=>", "=#", "=!"].iter().any(|sign| trimmed.starts_with(sign)) {
                if !asked {
                    wrong("an answer to nothing");
                }
                case.answer.push(trimmed.to_owned());
                continue;
            }
            if !in_text && let Some(values) = trimmed.strip_prefix("? ") {
                let statement = case.statements.last_mut().unwrap_or_else(|| wrong("values of nothing"));
                statement.values = crate::text::split(values, ',');
                case.line = at + 1;
                continue;
            }
            if asked {
                self.cases.push(std::mem::take(&mut case));
                asked = false;
            }
            if !in_text && let Some(directive) = trimmed.strip_prefix('@') {
                let (name, argument) = directive.split_once(' ').unwrap_or((directive, ""));
                match name {
                    "page" => case.page = Some(argument.parse().unwrap()),
                    "timestamp" => case.timestamp = Some(argument.parse().unwrap()),
                    "consistency" => case.consistency = Some(argument.to_owned()),
                    "serial" => case.serial = Some(argument.to_owned()),
                    "query" => case.only = Some(crate::run::Mode::Query),
                    "prepared" => case.only = Some(crate::run::Mode::Prepared),
                    "wait" => case.wait = Some(Duration::from_secs_f64(argument.parse().unwrap())),
                    "compact" => case.compact = Some(argument.to_owned()),
                    "times" => case.times = Some(argument.parse().unwrap()),
                    "again" => case.again = true,
                    "after" => (case.again, case.after) = (true, true),
                    "frame" => case.frame = Some(argument.to_owned()),
                    "send" => {
                        case.line = at + 1;
                        asked = true;
                    }
                    _ => wrong("no such directive"),
                }
                continue;
            }
            if in_text {
                text.push('\n');
            }
            text.push_str(line);
            let is_batch = text.trim_start().to_uppercase().starts_with("BEGIN");
            let ends = trimmed.ends_with(';') && (!is_batch || trimmed.to_uppercase().ends_with("APPLY BATCH;"));
            if ends {
                let text = std::mem::take(&mut text);
                let text = text.trim_end().strip_suffix(';').unwrap().to_owned();
                case.statements.push(Statement {
                    text,
                    values: Vec::new(),
                });
                case.line = at + 1;
                asked = case.frame.is_none();
            }
        }
        assert!(
            text.is_empty(),
            "{}: a statement does not end: {text}",
            self.path.display()
        );
        if asked {
            self.cases.push(case);
        }
    }

    /// Puts what was answered in the place of what was expected.
    pub fn rewrite<'w>(&self, wrong: impl Iterator<Item = &'w Wrong>) {
        let wrong: Vec<&Wrong> = wrong.collect();
        let mut out = String::new();
        let mut skipping = false;
        for (at, line) in self.lines.iter().enumerate() {
            let is_answer = line.trim().starts_with("=>");
            if skipping && is_answer {
                continue;
            }
            skipping = false;
            writeln!(out, "{line}").unwrap();
            if let Some(wrong) = wrong.iter().find(|wrong| wrong.line == at + 1) {
                for line in &wrong.got {
                    writeln!(out, "=> {line}").unwrap();
                }
                skipping = true;
            }
        }
        std::fs::write(&self.path, out).unwrap();
    }
}
