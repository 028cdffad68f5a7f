//! The lines between the worker and whoever records it.

use super::Op;
use messages::MessageId;
use std::{fmt, str::FromStr};

/// One line of the worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// The store is open.
    Ready,
    /// An operation of this client was acknowledged; a send with its id.
    Done {
        /// The client's number.
        client: u32,
        /// What kind of operation.
        kind: char,
        /// The id of a message sent.
        id: Option<MessageId>,
    },
}

impl Told {
    /// The line for an operation that was acknowledged.
    pub fn done(client: u32, op: Op, id: Option<MessageId>) -> Told {
        let kind = match op {
            Op::Send { .. } => 's',
            Op::Edit { .. } | Op::Delete { .. } => 'c',
            Op::Scroll { .. } => 'p',
        };
        Told::Done { client, kind, id }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Told::Ready => f.write_str("ready"),
            Told::Done {
                client,
                kind,
                id: Some(id),
            } => write!(f, "{kind} {client} {id}"),
            Told::Done { client, kind, id: None } => write!(f, "{kind} {client}"),
        }
    }
}

impl FromStr for Told {
    type Err = String;

    fn from_str(line: &str) -> Result<Told, String> {
        let parse = || {
            let mut words = line.split(' ');
            let kind = words.next()?;
            if kind == "ready" {
                return words.next().is_none().then_some(Told::Ready);
            }
            let client = words.next()?.parse().ok()?;
            let id = words.next().map(str::parse).transpose().ok()?;
            let fits = match kind {
                "s" => id.is_some(),
                "c" | "p" => id.is_none(),
                _ => false,
            };
            let kind = kind.chars().next()?;
            (fits && words.next().is_none()).then_some(Told::Done { client, kind, id })
        };
        parse().ok_or_else(|| format!("the worker said {line:?}, which makes no sense"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_and_nonsense_is_refused() {
        let id = MessageId::new(77).unwrap();
        let delete = Op::Delete { channel: 1, id };
        let send = Op::Send { channel: 1, content: 2 };
        for told in [Told::Ready, Told::done(3, delete, None), Told::done(4, send, Some(id))] {
            assert_eq!(told.to_string().parse(), Ok(told));
        }
        for bad in [
            "", "s", "s 1", "s 1 0", "s 1 77 7", "c 1 77", "x 1", "c -1", "ready 1", "s 1 ",
        ] {
            assert!(bad.parse::<Told>().is_err(), "{bad:?}");
        }
    }
}
