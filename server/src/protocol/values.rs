//! Values of a request in memory of their own, so that they can be carried to another shard.

use cql::frame::Value;

/// Values of a request, in the order of the markers.
#[derive(Clone, Default, Debug)]
pub(super) struct Values {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
enum Span {
    Null,
    Unset,
    Bytes(usize, usize),
}

impl Values {
    pub fn of(values: &[Value<'_>]) -> Values {
        let mut of = Values::default();
        for value in values {
            of.spans.push(match value {
                Value::Null => Span::Null,
                Value::Unset => Span::Unset,
                Value::Bytes(bytes) => {
                    let start = of.bytes.len();
                    of.bytes.extend_from_slice(bytes);
                    Span::Bytes(start, of.bytes.len())
                }
            });
        }
        of
    }

    pub fn get(&self) -> Vec<Value<'_>> {
        let value = |span: &Span| match *span {
            Span::Null => Value::Null,
            Span::Unset => Value::Unset,
            Span::Bytes(start, end) => Value::Bytes(&self.bytes[start..end]),
        };
        self.spans.iter().map(value).collect()
    }
}
