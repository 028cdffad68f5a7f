//! Text to tokens, each with its place.
//!
//! What counts as a word, a number, a duration, a string is Cassandra's `Lexer.g`. Nothing is copied but what has to be unescaped.

use super::SyntaxError;
use std::borrow::Cow;

/// Where a token begins: the line from 1, the character in it from 0, as Cassandra tells them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// Characters before it in the line.
    pub column: u32,
}

/// What a token is.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind<'t> {
    /// A name or a keyword, as it was written.
    Word(&'t str),
    /// A name between double quotes, unescaped.
    Quoted(Cow<'t, str>),
    /// A string, unescaped.
    String(Cow<'t, str>),
    /// Digits.
    Integer(&'t str),
    /// A number with a point or an exponent.
    Float(&'t str),
    /// A UUID.
    Uuid(&'t str),
    /// `0x` and hexadecimal digits, without the `0x`.
    Blob(&'t str),
    /// A duration, without its sign.
    Duration(&'t str),
    /// Anything else: `(`, `<=`, `?` …
    Sign(&'static str),
    /// The end of the text.
    End,
}

/// A token.
#[derive(Clone, PartialEq, Debug)]
pub struct Token<'t> {
    /// What it is.
    pub kind: Kind<'t>,
    /// Its first byte in the text.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
}

const SIGNS: &[&str] = &[
    "<=", ">=", "!=", "+=", "-=", "(", ")", "[", "]", "{", "}", ",", ";", ":", ".", "=", "<", ">", "+", "-", "*", "/",
    "%", "?",
];

/// The place of a byte of the text.
pub fn place_of(text: &str, at: usize) -> Place {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let lines = before.iter().filter(|&&byte| byte == b'\n').count();
    let line = String::from_utf8_lossy(&before[line_start..]);
    Place {
        line: u32::try_from(lines + 1).unwrap_or(u32::MAX),
        column: u32::try_from(line.chars().count()).unwrap_or(u32::MAX),
    }
}

/// A statement has no more tokens: each takes more memory than its text, and is looked at in one go.
const TOKENS_MAX: usize = 500_000;

/// All tokens of a text; the last is [`Kind::End`].
///
/// # Errors
/// A character that begins nothing, a string or a comment that does not end.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, SyntaxError> {
    let mut lexer = Lexer { text, at: 0 };
    // A token for each few bytes, as a first guess.
    let mut tokens = Vec::with_capacity((text.len() / 5 + 2).min(TOKENS_MAX));
    loop {
        let token = lexer.next()?;
        if tokens.len() >= TOKENS_MAX {
            return Err(lexer.error(
                token.start,
                format!("a statement of more than {TOKENS_MAX} words and signs; bind values instead"),
            ));
        }
        let is_end = token.kind == Kind::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn error(&self, at: usize, what: impl Into<String>) -> SyntaxError {
        SyntaxError::new(place_of(self.text, at), what)
    }

    fn next(&mut self) -> Result<Token<'t>, SyntaxError> {
        self.skip_blanks()?;
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Token {
                kind: Kind::End,
                start,
                end: start,
            });
        };
        let (kind, len) = match first {
            '\'' => self.quoted('\'').map(|(text, len)| (Kind::String(text), len))?,
            '"' => self.quoted('"').map(|(text, len)| (Kind::Quoted(text), len))?,
            '$' if rest.starts_with("$$") => {
                let Some(end) = rest[2..].find("$$") else {
                    return Err(self.error(start, "a string that begins with $$ does not end"));
                };
                (Kind::String(Cow::Borrowed(&rest[2..2 + end])), end + 4)
            }
            _ if first.is_ascii_alphanumeric() => word_or_number(rest),
            _ => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => (Kind::Sign(sign), sign.len()),
                None => return Err(self.error(start, format!("no viable alternative at character '{first}'"))),
            },
        };
        self.at = start + len;
        Ok(Token {
            kind,
            start,
            end: self.at,
        })
    }

    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            self.at += blanks;
            let rest = self.rest();
            if rest.starts_with("--") || rest.starts_with("//") {
                self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return Err(self.error(self.at, "a comment that begins with /* does not end")),
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Text between quotes, which stand for themselves when doubled.
    fn quoted(&self, quote: char) -> Result<(Cow<'t, str>, usize), SyntaxError> {
        let inside = &self.rest()[1..];
        let mut at = 0;
        let mut doubled = false;
        while let Some(next) = inside[at..].find(quote) {
            at += next + 1;
            if !inside[at..].starts_with(quote) {
                let raw = &inside[..at - 1];
                let text = match doubled {
                    true => Cow::Owned(raw.replace(&format!("{quote}{quote}"), &quote.to_string())),
                    false => Cow::Borrowed(raw),
                };
                return Ok((text, at + 1));
            }
            doubled = true;
            at += 1;
        }
        Err(self.error(self.at, format!("a text that begins with {quote} does not end")))
    }
}

/// A word, number, UUID, blob or duration at the beginning of `rest`: the longest one.
fn word_or_number(rest: &str) -> (Kind<'_>, usize) {
    if let Some(len) = uuid_len(rest) {
        return (Kind::Uuid(&rest[..len]), len);
    }
    let bytes = rest.as_bytes();
    let word = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
        .count();
    if bytes[0].is_ascii_alphabetic() {
        // An ISO 8601 duration has signs in its last form; the others are words.
        let iso = bytes
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':'))
            .count();
        for len in [iso, word] {
            if matches!(bytes[0], b'P' | b'p') && super::duration::parse_iso(&rest[..len]).is_some() {
                return (Kind::Duration(&rest[..len]), len);
            }
        }
        return (Kind::Word(&rest[..word]), word);
    }
    if bytes[0] == b'0' && matches!(bytes.get(1), Some(b'x' | b'X')) {
        let digits = bytes[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        return (Kind::Blob(&rest[2..2 + digits]), 2 + digits);
    }
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if let Some(len) = super::duration::units_len(rest) {
        return (Kind::Duration(&rest[..len]), len);
    }
    let mut len = digits;
    // A point belongs to the number, also the last character of it, but not where a range or a name goes on.
    if bytes.get(len) == Some(&b'.') && bytes.get(len + 1) != Some(&b'.') {
        len += 1;
        len += bytes[len..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = bytes[len + 1 + sign..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    match len == digits {
        true => (Kind::Integer(&rest[..len]), len),
        false => (Kind::Float(&rest[..len]), len),
    }
}

fn uuid_len(rest: &str) -> Option<usize> {
    const LEN: usize = 36;
    let bytes = rest.as_bytes().get(..LEN)?;
    let fits = bytes.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    fits.then_some(LEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<Kind<'_>> {
        let mut kinds: Vec<_> = tokens(text)
            .expect("tokens")
            .into_iter()
            .map(|token| token.kind)
            .collect();
        assert_eq!(kinds.pop(), Some(Kind::End));
        kinds
    }

    #[test]
    fn tells_words_numbers_and_signs_apart() {
        use Kind::*;
        assert_eq!(
            kinds("SELECT a, \"B\"\"c\" FROM t1 -- x\nWHERE c<=-1.5e3 /* y */;"),
            [
                Word("SELECT"),
                Word("a"),
                Sign(","),
                Quoted("B\"c".into()),
                Word("FROM"),
                Word("t1"),
                Word("WHERE"),
                Word("c"),
                Sign("<="),
                Sign("-"),
                Float("1.5e3"),
                Sign(";"),
            ]
        );
        assert_eq!(
            kinds("0xCaFe 12 1. 3e2"),
            [Blob("CaFe"), Integer("12"), Float("1."), Float("3e2")]
        );
        assert_eq!(kinds("'it''s' $$a'b$$"), [String("it's".into()), String("a'b".into())]);
        assert_eq!(
            kinds("1h30m P1Y2M p1 2000ms P0001-02-03T04:05:06"),
            [
                Duration("1h30m"),
                Duration("P1Y2M"),
                Word("p1"),
                Duration("2000ms"),
                Duration("P0001-02-03T04:05:06")
            ]
        );
        let id = "f47ac10b-58cc-1372-a567-0e02b2c3d479";
        assert_eq!(kinds(id), [Uuid(id)]);
        assert_eq!(kinds("?:a"), [Sign("?"), Sign(":"), Word("a")]);
    }

    #[test]
    fn what_is_no_token_is_refused_with_its_place() {
        let told = |text| tokens(text).expect_err("refused").to_string();
        assert_eq!(told("SELECT\n  ^"), "line 2:2 no viable alternative at character '^'");
        assert!(told("'abc").contains("line 1:0 "));
        assert!(told("a /* b").contains("line 1:2 "));
        assert!(told(&"1,".repeat(TOKENS_MAX)).contains("bind values instead"));
    }

    proptest::proptest! {
        #[test]
        fn prop_any_text_is_tokens_or_refused(text in "\\PC*") {
            drop(tokens(&text));
        }
    }
}
