//! Text to syntax: what a statement says, not yet whether it makes sense.
//!
//! A hand-written lexer and a recursive-descent parser, after Cassandra's `Lexer.g` and `Parser.g` (5.0). Errors name the place.

pub mod ast;
pub mod duration;
pub mod lexer;
mod parser;

pub use lexer::Place;
pub(super) use parser::is_reserved;
pub use parser::parse;

use std::fmt;

/// A statement that is none; code 0x2000.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub what: String,
}

impl SyntaxError {
    pub(crate) fn new(place: Place, what: impl Into<String>) -> SyntaxError {
        let what = what.into();
        SyntaxError { place, what }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}:{} {}", self.place.line, self.place.column, self.what)
    }
}

impl std::error::Error for SyntaxError {}
