//! What comes with a request, and what a statement asks of its surroundings.

use crate::frame::Value;
use std::borrow::Cow;

/// What a statement asks of its surroundings while it is executed.
pub trait Environment {
    /// Microseconds since the Unix epoch.
    fn now_micros(&self) -> i64;
    /// A new version 1 UUID, later than all before it.
    fn time_uuid(&self) -> [u8; 16];
    /// A new version 4 UUID.
    fn random_uuid(&self) -> [u8; 16];
}

/// One execution of a statement.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    /// The values of its markers, in order, as many as there are markers.
    pub values: &'a [Value<'a>],
    /// Its surroundings.
    pub environment: &'a dyn Environment,
}

impl Execution<'_> {
    /// Seconds since the Unix epoch.
    #[must_use]
    pub fn now_s(&self) -> u32 {
        u32::try_from(self.environment.now_micros().div_euclid(1_000_000)).unwrap_or(0)
    }
}

impl std::fmt::Debug for Execution<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Execution").field("values", &self.values).finish()
    }
}

/// What a term comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evaluated<'a> {
    /// Null.
    Null,
    /// Not set.
    Unset,
    /// Bytes of the term's type.
    Value(Cow<'a, [u8]>),
}

impl<'a> Evaluated<'a> {
    /// The bytes, if there are any.
    #[must_use]
    pub fn value(self) -> Option<Cow<'a, [u8]>> {
        match self {
            Evaluated::Value(value) => Some(value),
            _ => None,
        }
    }
}
