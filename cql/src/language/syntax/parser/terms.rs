//! Terms, types, relations.

use super::super::ast::{Constant, InValues, Operator, Relation, Term, Type};
use super::super::duration;
use super::super::lexer::Kind;
use super::{Parser, Result};

impl Parser<'_> {
    pub(super) fn term(&mut self) -> Result<Term> {
        self.deeper(Self::term_inside)
    }

    fn term_inside(&mut self) -> Result<Term> {
        if let Some(marker) = self.marker()? {
            return Ok(Term::Marker(marker));
        }
        if let Some(constant) = self.constant()? {
            return Ok(Term::Constant(constant));
        }
        match self.peek().clone() {
            Kind::Sign("[") => {
                self.take();
                Ok(Term::List(self.list("]", true, Self::term)?))
            }
            Kind::Sign("{") => self.braces(),
            Kind::Sign("(") => self.parentheses(),
            Kind::Word(word) if word.eq_ignore_ascii_case("null") => {
                self.take();
                Ok(Term::Null)
            }
            Kind::Word(_) => {
                let token = self.is_word(0, "token");
                let mut name = match token {
                    true => {
                        self.take();
                        "token".to_owned()
                    }
                    false => self.identifier()?,
                };
                if !token && self.sign(".") {
                    name = format!("{name}.{}", self.identifier()?);
                }
                self.expect_sign("(")?;
                Ok(Term::Call(name, self.list(")", true, Self::term)?))
            }
            _ => Err(self.unexpected(None)),
        }
    }

    /// A constant, if one comes.
    pub(super) fn constant(&mut self) -> Result<Option<Constant>> {
        let negative = self.is_sign(0, "-");
        let sign = if negative { "-" } else { "" };
        let constant = match self.peek_at(usize::from(negative)).clone() {
            Kind::Integer(digits) => Constant::Integer(format!("{sign}{digits}")),
            Kind::Float(number) => Constant::Float(format!("{sign}{number}")),
            Kind::Word(word) if word.eq_ignore_ascii_case("nan") => Constant::Float("NaN".to_owned()),
            Kind::Word(word) if word.eq_ignore_ascii_case("infinity") => Constant::Float(format!("{sign}Infinity")),
            Kind::Duration(text) => match duration::parse(&format!("{sign}{text}")) {
                Some(duration) => Constant::Duration(duration),
                None => return Err(self.error(format!("the duration '{text}' is out of range"))),
            },
            _ if negative => return Err(self.unexpected(None)),
            Kind::String(text) => Constant::String(text.into_owned()),
            Kind::Uuid(text) => Constant::Uuid(text.to_owned()),
            Kind::Blob(digits) => Constant::Blob(digits.to_owned()),
            Kind::Word(word) if word.eq_ignore_ascii_case("true") && !self.is_sign(1, "(") => Constant::Boolean(true),
            Kind::Word(word) if word.eq_ignore_ascii_case("false") && !self.is_sign(1, "(") => Constant::Boolean(false),
            _ => return Ok(None),
        };
        self.at += 1 + usize::from(negative);
        Ok(Some(constant))
    }

    /// A set, a map, or fields of a user-defined type.
    fn braces(&mut self) -> Result<Term> {
        self.expect_sign("{")?;
        if self.sign("}") {
            return Ok(Term::Set(Vec::new()));
        }
        let is_field = matches!(self.peek(), Kind::Word(_) | Kind::Quoted(_)) && self.is_sign(1, ":");
        if is_field {
            let fields = self.list("}", false, |parser| {
                let name = parser.identifier()?;
                parser.expect_sign(":")?;
                Ok((name, parser.term()?))
            })?;
            return Ok(Term::Fields(fields));
        }
        let first = self.term()?;
        if !self.sign(":") {
            let mut elements = vec![first];
            if self.sign("}") {
                return Ok(Term::Set(elements));
            }
            self.expect_sign(",")?;
            elements.extend(self.list("}", false, Self::term)?);
            return Ok(Term::Set(elements));
        }
        let mut entries = vec![(first, self.term()?)];
        if !self.sign("}") {
            self.expect_sign(",")?;
            entries.extend(self.list("}", false, |parser| {
                let key = parser.term()?;
                parser.expect_sign(":")?;
                Ok((key, parser.term()?))
            })?);
        }
        Ok(Term::Map(entries))
    }

    /// A tuple, or a cast.
    fn parentheses(&mut self) -> Result<Term> {
        let (at, markers) = (self.at, self.markers.len());
        self.expect_sign("(")?;
        // `(type) term`: a type alone between parentheses, and something behind them that a tuple has not.
        if matches!(self.peek(), Kind::Word(_) | Kind::Quoted(_))
            && let Ok(ty) = self.type_name()
            && self.sign(")")
        {
            return Ok(Term::Cast(ty, Box::new(self.term()?)));
        }
        self.at = at + 1;
        self.markers.truncate(markers);
        Ok(Term::Tuple(self.list(")", false, Self::term)?))
    }

    pub(super) fn type_name(&mut self) -> Result<Type> {
        self.deeper(Self::type_inside)
    }

    fn type_inside(&mut self) -> Result<Type> {
        if let Kind::String(text) = self.peek() {
            let text = text.to_string();
            self.take();
            return Ok(Type::Unsupported(text));
        }
        let is_generic = self.is_sign(1, "<");
        let Kind::Word(word) = self.peek() else {
            return Ok(Type::Named(self.name()?));
        };
        let word = word.to_ascii_lowercase();
        if !is_generic {
            return Ok(Type::Named(self.name()?));
        }
        self.at += 2;
        let ty = match word.as_str() {
            "list" => Type::List(Box::new(self.type_name()?)),
            "set" => Type::Set(Box::new(self.type_name()?)),
            "frozen" => Type::Frozen(Box::new(self.type_name()?)),
            "map" => {
                let key = self.type_name()?;
                self.expect_sign(",")?;
                Type::Map(Box::new(key), Box::new(self.type_name()?))
            }
            "tuple" => {
                let mut types = vec![self.type_name()?];
                while self.sign(",") {
                    types.push(self.type_name()?);
                }
                Type::Tuple(types)
            }
            "vector" => {
                let of = self.type_name()?;
                self.expect_sign(",")?;
                self.take();
                Type::Unsupported(format!("vector<{of:?}>"))
            }
            _ => {
                self.at -= 1;
                return Err(self.unexpected(None));
            }
        };
        self.expect_sign(">")?;
        Ok(ty)
    }

    pub(super) fn operator(&mut self) -> Result<Operator> {
        let operator = match self.peek() {
            Kind::Sign("=") => Operator::Eq,
            Kind::Sign("<") => Operator::Lt,
            Kind::Sign("<=") => Operator::Le,
            Kind::Sign(">") => Operator::Gt,
            Kind::Sign(">=") => Operator::Ge,
            Kind::Sign("!=") => Operator::Ne,
            _ => return Err(self.unexpected(None)),
        };
        self.take();
        Ok(operator)
    }

    pub(super) fn in_values(&mut self) -> Result<InValues> {
        if let Some(marker) = self.marker()? {
            return Ok(InValues::Marker(marker));
        }
        self.expect_sign("(")?;
        Ok(InValues::Terms(self.list(")", true, Self::term)?))
    }

    pub(super) fn where_clause(&mut self) -> Result<Vec<Relation>> {
        let mut relations = Vec::new();
        if self.word("where") {
            loop {
                self.relation(&mut relations)?;
                if !self.word("and") {
                    break;
                }
            }
        }
        Ok(relations)
    }

    fn relation(&mut self, out: &mut Vec<Relation>) -> Result<()> {
        if self.is_word(0, "token") && self.is_sign(1, "(") {
            self.at += 2;
            let columns = self.list(")", false, Self::identifier)?;
            let operator = self.operator()?;
            out.push(Relation::Token(columns, operator, self.term()?));
            return Ok(());
        }
        if self.is_sign(0, "(") {
            return self.relation_in_parentheses(out);
        }
        let column = self.identifier()?;
        let relation = if self.word("in") {
            Relation::In(column, self.in_values()?)
        } else if self.word("contains") {
            match self.word("key") {
                true => Relation::ContainsKey(column, self.term()?),
                false => Relation::Contains(column, self.term()?),
            }
        } else if self.word("like") {
            self.term()?;
            Relation::Unsupported(column, "LIKE")
        } else if self.words(&["is", "not", "null"]) {
            Relation::Unsupported(column, "IS NOT NULL")
        } else if self.sign("[") {
            let key = self.term()?;
            self.expect_sign("]")?;
            let operator = self.operator()?;
            Relation::Element(column, key, operator, self.term()?)
        } else {
            let operator = self.operator()?;
            Relation::Compare(column, operator, self.term()?)
        };
        out.push(relation);
        Ok(())
    }

    /// A relation of several columns, or one between parentheses of its own.
    fn relation_in_parentheses(&mut self, out: &mut Vec<Relation>) -> Result<()> {
        self.deeper(|parser| {
            parser.expect_sign("(")?;
            let is_columns = matches!(parser.peek(), Kind::Word(_) | Kind::Quoted(_))
                && (parser.is_sign(1, ",") || parser.is_sign(1, ")"));
            if !is_columns {
                parser.relation(out)?;
                return parser.expect_sign(")");
            }
            let columns = parser.list(")", false, Self::identifier)?;
            out.push(match parser.word("in") {
                true => Relation::TupleIn(columns, parser.in_values()?),
                false => Relation::Tuple(columns, parser.operator()?, parser.term()?),
            });
            Ok(())
        })
    }
}
