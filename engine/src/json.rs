//! JSON as the store's socket tells it: objects on one line, written and never read.

use std::fmt::Write;

/// An object that is being written.
pub(crate) struct Object(String);

impl Object {
    pub fn new() -> Object {
        Object("{".to_owned())
    }

    /// A field that is JSON already.
    pub fn raw(mut self, name: &str, json: &str) -> Object {
        let comma = if self.0.len() > 1 { "," } else { "" };
        self.0.extend([comma, "\"", name, "\":", json]);
        self
    }

    pub fn number(self, name: &str, number: impl Into<i128>) -> Object {
        self.raw(name, &number.into().to_string())
    }

    /// A number, or null.
    pub fn number_or(self, name: &str, number: Option<impl Into<i128>>) -> Object {
        match number {
            Some(number) => self.number(name, number),
            None => self.raw(name, "null"),
        }
    }

    pub fn text(self, name: &str, text: &str) -> Object {
        self.raw(name, &quoted(text))
    }

    /// Bytes, as 0x and digits.
    pub fn bytes(self, name: &str, bytes: &[u8]) -> Object {
        let digits = bytes.iter().fold("0x".to_owned(), |mut digits, byte| {
            write!(digits, "{byte:02x}").expect("a text grows");
            digits
        });
        self.text(name, &digits)
    }

    pub fn list(self, name: &str, objects: impl Iterator<Item = String>) -> Object {
        let list = objects.collect::<Vec<_>>().join(",");
        self.raw(name, &format!("[{list}]"))
    }

    pub fn end(self) -> String {
        self.0 + "}"
    }
}

fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c)).expect("a text grows"),
            c => out.push(c),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_line_whatever_is_in_it() {
        let inner = Object::new().bytes("key", &[0, 255]).end();
        let object = Object::new()
            .text("a", "x\"\\\n\u{7}é")
            .number("b", -5_i64)
            .number_or("c", None::<u64>)
            .list("d", [inner.clone(), inner].into_iter())
            .list("e", std::iter::empty());
        assert_eq!(
            object.end(),
            "{\"a\":\"x\\\"\\\\\\u000a\\u0007é\",\"b\":-5,\"c\":null,\"d\":[{\"key\":\"0x00ff\"},{\"key\":\"0x00ff\"}],\"e\":[]}"
        );
        assert_eq!(Object::new().end(), "{}");
    }
}
