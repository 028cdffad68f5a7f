//! One line of chat: `{"ts_ms","channel","author","content"}`, and what can be wrong with it.

use messages::{CONTENT_BYTES_MAX, NAME_BYTES_MAX};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// A good line.
#[derive(Deserialize, Debug, PartialEq, Eq)]
pub struct ChatLine<'a> {
    /// Unix milliseconds.
    pub ts_ms: i64,
    /// The channel's name, not empty.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// The author's name, not empty.
    #[serde(borrow)]
    pub author: Cow<'a, str>,
    /// The text, perhaps empty.
    #[serde(borrow)]
    pub content: Cow<'a, str>,
}

/// Why a line is bad; and its time, if that could be read: it keeps its place within its millisecond, so that the line,
/// once repaired, is all that a further import adds.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The reason, to follow "line 7: ".
    pub reason: String,
    /// Unix milliseconds.
    pub ts_ms: Option<i64>,
}

impl BadLine {
    fn new(reason: impl Into<String>) -> BadLine {
        BadLine {
            reason: reason.into(),
            ts_ms: None,
        }
    }
}

impl<'a> ChatLine<'a> {
    /// Reads one line.
    pub fn parse(line: &'a [u8]) -> Result<ChatLine<'a>, BadLine> {
        let text = std::str::from_utf8(line)
            .map_err(|error| BadLine::new(format!("not UTF-8 from its byte {} on", error.valid_up_to() + 1)))?;
        let chat = match serde_json::from_str::<ChatLine<'a>>(text) {
            // Four values in a row are taken for the four fields as well.
            Ok(_) if !text.trim_start().starts_with('{') => return Err(BadLine::new("not a JSON object")),
            Ok(chat) => chat,
            Err(error) => return Err(explain(text, &error)),
        };
        let reason =
            if let Some(reason) = bad_name("channel", &chat.channel).or_else(|| bad_name("author", &chat.author)) {
                reason
            } else if chat.content.len() > CONTENT_BYTES_MAX {
                format!("\"content\" is {} bytes long, more than 1 MiB", chat.content.len())
            } else {
                return Ok(chat);
            };
        Err(BadLine {
            reason,
            ts_ms: Some(chat.ts_ms),
        })
    }
}

fn bad_name(field: &str, name: &str) -> Option<String> {
    match name.len() {
        0 => Some(format!("\"{field}\" is empty")),
        len if len > NAME_BYTES_MAX => Some(format!("\"{field}\" is {len} bytes long, more than {NAME_BYTES_MAX}")),
        _ => None,
    }
}

/// Looks again, slowly, at a line that could not be read as chat.
fn explain(text: &str, error: &serde_json::Error) -> BadLine {
    if text.trim().is_empty() {
        return BadLine::new("empty");
    }
    let object = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return BadLine::new("not a JSON object"),
        Err(error) if error.is_eof() => return BadLine::new(format!("JSON cut short at column {}", error.column())),
        Err(error) => return BadLine::new(format!("malformed JSON ({})", in_one_line(&error))),
    };
    let ts_ms = object.get("ts_ms").and_then(Value::as_i64);
    let reason = match object.get("ts_ms") {
        None => Some("\"ts_ms\" is missing".to_owned()),
        Some(value) if !value.is_i64() => Some("\"ts_ms\" is not a whole number of milliseconds".to_owned()),
        Some(_) => ["channel", "author", "content"]
            .iter()
            .find_map(|field| match object.get(*field) {
                None => Some(format!("\"{field}\" is missing")),
                Some(Value::String(_)) => None,
                Some(_) => Some(format!("\"{field}\" is not a string")),
            }),
    };
    BadLine {
        reason: reason.unwrap_or_else(|| in_one_line(error)),
        ts_ms,
    }
}

/// The parser counts lines within its text, which is always one.
fn in_one_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(line: &str) -> String {
        ChatLine::parse(line.as_bytes()).unwrap_err().reason
    }

    #[test]
    fn reads_good_lines() {
        let line =
            r#"{"author":"tab\tbed","ts_ms":1100521080000,"extra":[1,{}],"content":"","channel":"é\ud83d\ude00"}"#
                .as_bytes();
        let chat = ChatLine::parse(line).unwrap();
        assert_eq!(
            (chat.ts_ms, &*chat.channel, &*chat.author, &*chat.content),
            (1_100_521_080_000, "é😀", "tab\tbed", "")
        );
        let crlf = b" {\"ts_ms\": -5, \"channel\": \"c\", \"author\": \"a\", \"content\": \"x\"} \r";
        assert!(matches!(ChatLine::parse(crlf).unwrap().content, Cow::Borrowed("x")));
        let longest = format!(
            r#"{{"ts_ms":1,"channel":"c","author":"a","content":"{}"}}"#,
            "x".repeat(CONTENT_BYTES_MAX)
        );
        assert!(ChatLine::parse(longest.as_bytes()).is_ok());
    }

    #[test]
    fn says_what_is_wrong_with_the_others() {
        for (line, expected) in [
            ("", "empty"),
            (" \r", "empty"),
            ("{", "JSON cut short at column 1"),
            (
                r#"{"ts_ms":1,"channel":"c","author":"a","content":"x"#,
                "JSON cut short at column 50",
            ),
            (
                r#"{"ts_ms":1,"channel":"c","author":"a","content":"x"}}"#,
                "malformed JSON (trailing characters at column 53)",
            ),
            ("hello", "malformed JSON (expected value at column 1)"),
            ("[1]", "not a JSON object"),
            (r##"[1600000000000,"#c","a","x"]"##, "not a JSON object"),
            ("12", "not a JSON object"),
            (r#"{"channel":"c","author":"a","content":"x"}"#, "\"ts_ms\" is missing"),
            (r#"{"ts_ms":1,"author":"a","content":"x"}"#, "\"channel\" is missing"),
            (r#"{"ts_ms":1,"channel":"c","content":"x"}"#, "\"author\" is missing"),
            (r#"{"ts_ms":1,"channel":"c","author":"a"}"#, "\"content\" is missing"),
            (
                r#"{"ts_ms":"1","channel":"c","author":"a","content":"x"}"#,
                "\"ts_ms\" is not a whole number of milliseconds",
            ),
            (
                r#"{"ts_ms":1.5,"channel":"c","author":"a","content":"x"}"#,
                "\"ts_ms\" is not a whole number of milliseconds",
            ),
            (
                r#"{"ts_ms":9223372036854775808,"channel":"c","author":"a","content":"x"}"#,
                "\"ts_ms\" is not a whole number of milliseconds",
            ),
            (
                r#"{"ts_ms":1,"channel":null,"author":"a","content":"x"}"#,
                "\"channel\" is not a string",
            ),
            (
                r#"{"ts_ms":1,"channel":"c","author":3,"content":"x"}"#,
                "\"author\" is not a string",
            ),
            (
                r#"{"ts_ms":1,"channel":"c","author":"a","content":["x"]}"#,
                "\"content\" is not a string",
            ),
            (
                r#"{"ts_ms":1,"channel":"","author":"a","content":"x"}"#,
                "\"channel\" is empty",
            ),
            (
                r#"{"ts_ms":1,"channel":"c","author":"","content":"x"}"#,
                "\"author\" is empty",
            ),
            (
                r#"{"ts_ms":1,"ts_ms":2,"channel":"c","author":"a","content":"x"}"#,
                "duplicate field `ts_ms` at column 18",
            ),
            (
                r#"{"ts_ms":1,"channel":"c","author":"a","content":"\ud800"}"#,
                "malformed JSON (unexpected end of hex escape at column 56)",
            ),
        ] {
            assert_eq!(reason(line), expected, "{line}");
        }
        assert!(reason(&"[".repeat(100_000)).starts_with("malformed JSON (recursion limit exceeded"));
        assert_eq!(
            ChatLine::parse(b"ab\xffc").unwrap_err().reason,
            "not UTF-8 from its byte 3 on"
        );
        let long = format!(
            r#"{{"ts_ms":7,"channel":"c","author":"a","content":"{}"}}"#,
            "x".repeat(CONTENT_BYTES_MAX + 1)
        );
        let bad = ChatLine::parse(long.as_bytes()).unwrap_err();
        assert_eq!(
            bad,
            BadLine {
                reason: "\"content\" is 1048577 bytes long, more than 1 MiB".to_owned(),
                ts_ms: Some(7)
            }
        );
        let name = format!(
            r#"{{"ts_ms":7,"channel":"{}","author":"a","content":""}}"#,
            "x".repeat(NAME_BYTES_MAX + 1)
        );
        assert_eq!(reason(&name), "\"channel\" is 1025 bytes long, more than 1024");
        assert_eq!(
            ChatLine::parse(br#"{"ts_ms":7,"channel":"c"}"#).unwrap_err().ts_ms,
            Some(7)
        );
    }
}
