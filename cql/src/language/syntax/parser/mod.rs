//! The parser: one method for each rule of the grammar.
//!
//! Keywords are words; which of them may be names is Cassandra's list of unreserved ones.

mod schema;
mod statements;
mod terms;

use super::SyntaxError;
use super::ast::{Name, Parsed, Statement};
use super::lexer::{self, Kind, Token};

/// How deeply terms, types and selectors may be nested: more would be an attack on the stack.
const DEPTH_MAX: usize = 32;
/// The most markers of a statement: the protocol counts them in 16 bits.
const MARKERS_MAX: usize = u16::MAX as usize;

/// Words that are never names unless quoted: `ReservedKeywords.java`.
const RESERVED: &[&str] = &[
    "add",
    "allow",
    "alter",
    "and",
    "apply",
    "asc",
    "authorize",
    "batch",
    "begin",
    "by",
    "columnfamily",
    "create",
    "default",
    "delete",
    "desc",
    "describe",
    "drop",
    "entries",
    "execute",
    "from",
    "full",
    "grant",
    "if",
    "in",
    "index",
    "infinity",
    "insert",
    "into",
    "is",
    "keyspace",
    "limit",
    "materialized",
    "mbean",
    "mbeans",
    "modify",
    "nan",
    "norecursive",
    "not",
    "null",
    "of",
    "on",
    "or",
    "order",
    "primary",
    "rename",
    "replace",
    "revoke",
    "schema",
    "select",
    "set",
    "table",
    "to",
    "token",
    "truncate",
    "unlogged",
    "unset",
    "update",
    "use",
    "using",
    "view",
    "where",
    "with",
];

/// Whether a word is never a name unless quoted.
pub(in crate::language) fn is_reserved(word: &str) -> bool {
    RESERVED.binary_search(&word).is_ok()
}

/// Reads one statement; a semicolon may end it.
///
/// # Errors
/// [`SyntaxError`], with its place.
pub fn parse(text: &str) -> Result<Parsed, SyntaxError> {
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser {
        text,
        tokens,
        at: 0,
        depth: 0,
        markers: Vec::new(),
    };
    let statement = parser.statement()?;
    while parser.sign(";") {}
    if parser.peek() != &Kind::End {
        return Err(parser.unexpected(Some("EOF")));
    }
    let markers = parser.markers;
    Ok(Parsed { statement, markers })
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token<'t>>,
    at: usize,
    depth: usize,
    markers: Vec<Option<String>>,
}

type Result<T, E = SyntaxError> = std::result::Result<T, E>;

impl<'t> Parser<'t> {
    fn peek(&self) -> &Kind<'t> {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Kind<'t> {
        let last = self.tokens.len() - 1;
        &self.tokens[(self.at + ahead).min(last)].kind
    }

    fn take(&mut self) -> Kind<'t> {
        let kind = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        kind
    }

    /// The text of the token that comes.
    fn shown(&self) -> &'t str {
        let token = &self.tokens[self.at];
        match token.kind {
            Kind::End => "<EOF>",
            _ => &self.text[token.start..token.end],
        }
    }

    /// An error at the token that comes.
    fn error(&self, what: impl Into<String>) -> SyntaxError {
        SyntaxError::new(lexer::place_of(self.text, self.tokens[self.at].start), what)
    }

    /// What comes is not what may come.
    fn unexpected(&self, expected: Option<&str>) -> SyntaxError {
        let shown = self.shown();
        self.error(match expected {
            Some(expected) => format!("mismatched input '{shown}' expecting {expected}"),
            None => format!("no viable alternative at input '{shown}'"),
        })
    }

    /// Whether this keyword comes.
    fn is_word(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek_at(ahead), Kind::Word(found) if found.eq_ignore_ascii_case(word))
    }

    /// Takes this keyword if it comes.
    fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(0, word);
        self.at += usize::from(found);
        found
    }

    /// Takes these keywords if they come one after the other.
    fn words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(ahead, word)| self.is_word(ahead, word));
        self.at += if found { words.len() } else { 0 };
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        match self.word(word) {
            true => Ok(()),
            false => Err(self.unexpected(Some(&format!("K_{}", word.to_ascii_uppercase())))),
        }
    }

    fn is_sign(&self, ahead: usize, sign: &str) -> bool {
        matches!(self.peek_at(ahead), Kind::Sign(found) if *found == sign)
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(0, sign);
        self.at += usize::from(found);
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Result<()> {
        match self.sign(sign) {
            true => Ok(()),
            false => Err(self.unexpected(Some(&format!("'{sign}'")))),
        }
    }

    /// Goes one level deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self.error(format!("nested more than {DEPTH_MAX} levels deep")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Items between signs, separated by commas; none at all if `may_be_empty`.
    fn list<T>(
        &mut self,
        close: &str,
        may_be_empty: bool,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        if may_be_empty && self.sign(close) {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if !self.sign(",") {
                self.expect_sign(close)?;
                return Ok(items);
            }
        }
    }

    /// A name: folded to lower case unless quoted.
    fn identifier(&mut self) -> Result<String> {
        let name = match self.peek() {
            Kind::Word(word) => {
                let folded = word.to_ascii_lowercase();
                if RESERVED.binary_search(&folded.as_str()).is_ok() {
                    return Err(self.unexpected(None));
                }
                folded
            }
            Kind::Quoted(name) => {
                if name.is_empty() {
                    return Err(self.error("a name between quotes is empty"));
                }
                name.to_string()
            }
            _ => return Err(self.unexpected(None)),
        };
        self.take();
        Ok(name)
    }

    /// `[keyspace.]name`
    fn name(&mut self) -> Result<Name> {
        let first = self.identifier()?;
        Ok(match self.sign(".") {
            true => Name {
                keyspace: Some(first),
                name: self.identifier()?,
            },
            false => Name {
                keyspace: None,
                name: first,
            },
        })
    }

    fn if_not_exists(&mut self) -> Result<bool> {
        if !self.word("if") {
            return Ok(false);
        }
        self.expect_word("not")?;
        self.expect_word("exists")?;
        Ok(true)
    }

    fn if_exists(&mut self) -> Result<bool> {
        if !self.word("if") {
            return Ok(false);
        }
        self.expect_word("exists")?;
        Ok(true)
    }

    /// The marker of a `?` or `:name` that comes.
    fn marker(&mut self) -> Result<Option<u16>> {
        let name = if self.sign("?") {
            None
        } else if self.is_sign(0, ":") {
            self.take();
            Some(match self.peek() {
                // Any word may name a marker.
                Kind::Word(word) => {
                    let word = word.to_ascii_lowercase();
                    self.take();
                    word
                }
                _ => self.identifier()?,
            })
        } else {
            return Ok(None);
        };
        if self.markers.len() >= MARKERS_MAX {
            return Err(self.error(format!("more than {MARKERS_MAX} bind markers")));
        }
        self.markers.push(name);
        Ok(Some(u16::try_from(self.markers.len() - 1).expect("bounded above")))
    }

    fn statement(&mut self) -> Result<Statement> {
        let Kind::Word(word) = self.peek() else {
            return Err(self.unexpected(None));
        };
        match word.to_ascii_lowercase().as_str() {
            "select" => self.select(),
            "insert" => self.insert().map(modify),
            "update" => self.update().map(modify),
            "delete" => self.delete().map(modify),
            "begin" => self.batch(),
            "use" => {
                self.take();
                Ok(Statement::Use(self.identifier()?))
            }
            "truncate" => {
                self.take();
                let _word = self.word("table") || self.word("columnfamily");
                Ok(Statement::Truncate(self.name()?))
            }
            "create" => self.create(),
            "alter" => self.alter(),
            "drop" => self.drop_statement(),
            "desc" | "describe" => self.describe(),
            "grant" | "revoke" => self.unsupported("permissions"),
            "list" => self.unsupported("roles and permissions"),
            "add" => self.unsupported("identities"),
            _ => Err(self.unexpected(None)),
        }
    }

    /// A statement that is known and not served: its words do not matter.
    fn unsupported(&mut self, what: &'static str) -> Result<Statement> {
        self.at = self.tokens.len() - 1;
        Ok(Statement::Unsupported(what))
    }
}

fn modify(modify: super::ast::Modify) -> Statement {
    Statement::Modify(Box::new(modify))
}

#[cfg(test)]
mod tests;
