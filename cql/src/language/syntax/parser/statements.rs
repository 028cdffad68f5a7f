//! `SELECT`, `INSERT`, `UPDATE`, `DELETE`, batches.

use super::super::ast::{
    Batch, BatchKind, Condition, ConditionOf, ConditionTest, Conditions, Constant, Modify, ModifyKind, Operation,
    Operator, Relation, Select, Selector, Statement, Term,
};
use super::super::lexer::Kind;
use super::{Parser, Result};

/// `USING`.
#[derive(Default)]
struct Using {
    timestamp: Option<Term>,
    ttl: Option<Term>,
    timeout: Option<Term>,
}

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Result<Statement> {
        self.expect_word("select")?;
        // A column may be called json or distinct.
        let follows = |parser: &Self| {
            !matches!(parser.peek_at(1), Kind::Sign("," | "." | "(" | "[") | Kind::End)
                && !parser.is_word(1, "from")
                && !parser.is_word(1, "as")
        };
        let json = self.is_word(0, "json") && follows(self) && self.word("json");
        let distinct = self.is_word(0, "distinct") && follows(self) && self.word("distinct");
        let mut selectors = Vec::new();
        if !self.sign("*") {
            loop {
                let selector = self.selector()?;
                let alias = match self.word("as") {
                    true => Some(self.identifier()?),
                    false => None,
                };
                selectors.push((selector, alias));
                if !self.sign(",") {
                    break;
                }
            }
        }
        self.expect_word("from")?;
        let table = self.name()?;
        let relations = self.where_clause()?;
        let group_by = self.word("group");
        if group_by {
            self.expect_word("by")?;
            self.selector()?;
            while self.sign(",") {
                self.selector()?;
            }
        }
        let mut order = Vec::new();
        if self.word("order") {
            self.expect_word("by")?;
            order = self.order_columns()?;
        }
        let mut per_partition_limit = None;
        if self.word("per") {
            self.expect_word("partition")?;
            self.expect_word("limit")?;
            per_partition_limit = Some(self.int_value()?);
        }
        let limit = match self.word("limit") {
            true => Some(self.int_value()?),
            false => None,
        };
        let allow_filtering = self.word("allow");
        if allow_filtering {
            self.expect_word("filtering")?;
        }
        let _ = self.words(&["bypass", "cache"]);
        let mut timeout = None;
        if self.word("using") {
            self.expect_word("timeout")?;
            timeout = Some(self.term()?);
        }
        Ok(Statement::Select(Box::new(Select {
            table,
            json,
            distinct,
            selectors,
            relations,
            group_by,
            order,
            per_partition_limit,
            limit,
            allow_filtering,
            timeout,
        })))
    }

    pub(super) fn order_columns(&mut self) -> Result<Vec<(String, bool)>> {
        let mut order = Vec::new();
        loop {
            let column = self.identifier()?;
            let descending = !self.word("asc") && self.word("desc");
            order.push((column, descending));
            if !self.sign(",") {
                return Ok(order);
            }
        }
    }

    fn selector(&mut self) -> Result<Selector> {
        self.deeper(Self::selector_inside)
    }

    fn selector_inside(&mut self) -> Result<Selector> {
        let mut selector = self.simple_selector()?;
        loop {
            if self.sign(".") {
                selector = Selector::Field(Box::new(selector), self.identifier()?);
            } else if self.sign("[") {
                let (from, to, is_range) = self.range()?;
                selector = match (from, to) {
                    (Some(key), None) if !is_range => Selector::Element(Box::new(selector), key),
                    (from, to) => Selector::Range(Box::new(selector), from, to),
                };
            } else {
                return Ok(selector);
            }
        }
    }

    /// What stands between `[` and `]`: a key, or bounds.
    fn range(&mut self) -> Result<(Option<Term>, Option<Term>, bool)> {
        let dots = |parser: &mut Self| parser.is_sign(0, ".") && parser.is_sign(1, ".");
        let from = match dots(self) {
            true => None,
            false => Some(self.term()?),
        };
        let is_range = dots(self);
        let mut to = None;
        if is_range {
            self.at += 2;
            if !self.is_sign(0, "]") {
                to = Some(self.term()?);
            }
        }
        self.expect_sign("]")?;
        Ok((from, to, is_range))
    }

    fn simple_selector(&mut self) -> Result<Selector> {
        let is_call = self.is_sign(1, "(");
        if is_call
            && self.is_word(0, "count")
            && (self.is_sign(2, "*") || matches!(self.peek_at(2), Kind::Integer("1")))
            && self.is_sign(3, ")")
        {
            self.at += 4;
            return Ok(Selector::Call("countrows".to_owned(), Vec::new()));
        }
        if is_call && self.is_word(0, "cast") {
            self.at += 2;
            let of = self.selector()?;
            self.expect_word("as")?;
            let ty = self.type_name()?;
            self.expect_sign(")")?;
            return Ok(Selector::Cast(Box::new(of), ty));
        }
        match self.peek() {
            Kind::Word(word) => {
                let is_constant = ["null", "true", "false", "nan", "infinity"]
                    .iter()
                    .any(|constant| word.eq_ignore_ascii_case(constant));
                if is_constant && !is_call {
                    return Ok(Selector::Term(self.term()?));
                }
                let name = match is_call && self.is_word(0, "token") {
                    true => {
                        self.take();
                        "token".to_owned()
                    }
                    false => self.identifier()?,
                };
                if self.sign("(") {
                    return Ok(Selector::Call(name, self.list(")", true, Self::selector)?));
                }
                // keyspace.function(…)
                if self.is_sign(0, ".") && self.is_sign(2, "(") {
                    self.take();
                    let function = self.identifier()?;
                    self.expect_sign("(")?;
                    let arguments = self.list(")", true, Self::selector)?;
                    return Ok(Selector::Call(format!("{name}.{function}"), arguments));
                }
                Ok(Selector::Column(name))
            }
            Kind::Quoted(_) => Ok(Selector::Column(self.identifier()?)),
            _ => Ok(Selector::Term(self.term()?)),
        }
    }

    /// `intValue` of `Parser.g`: digits, or a marker.
    fn int_value(&mut self) -> Result<Term> {
        let unexpected = self.unexpected(None);
        match self.term()? {
            term @ (Term::Marker(_) | Term::Constant(Constant::Integer(_))) => Ok(term),
            _ => Err(unexpected),
        }
    }

    fn using(&mut self) -> Result<Using> {
        let mut using = Using::default();
        if !self.word("using") {
            return Ok(using);
        }
        loop {
            let (name, is_given) = if self.word("timestamp") {
                ("TIMESTAMP", using.timestamp.is_some())
            } else if self.word("ttl") {
                ("TTL", using.ttl.is_some())
            } else if self.word("timeout") {
                ("TIMEOUT", using.timeout.is_some())
            } else {
                return Err(self.unexpected(None));
            };
            if is_given {
                return Err(self.error(format!("{name} is given twice")));
            }
            let term = Some(match name {
                "TIMEOUT" => self.term()?,
                _ => self.int_value()?,
            });
            match name {
                "TIMESTAMP" => using.timestamp = term,
                "TTL" => using.ttl = term,
                _ => using.timeout = term,
            }
            if !self.word("and") {
                return Ok(using);
            }
        }
    }

    pub(super) fn insert(&mut self) -> Result<Modify> {
        self.expect_word("insert")?;
        self.expect_word("into")?;
        let table = self.name()?;
        let json = self.word("json");
        let (mut relations, mut operations) = (Vec::new(), Vec::new());
        if json {
            self.term()?;
            if self.word("default") {
                let _what = self.word("null") || self.word("unset");
            }
        } else {
            self.expect_sign("(")?;
            let columns = self.list(")", false, Self::identifier)?;
            self.expect_word("values")?;
            self.expect_sign("(")?;
            let values = self.list(")", false, Self::term)?;
            // The numbers are compared where the columns are known: it is no error of syntax.
            let missing = columns.len().saturating_sub(values.len());
            let values = values.into_iter().map(Some).chain(std::iter::repeat_n(None, missing));
            for (at, value) in values.enumerate() {
                match (columns.get(at), value) {
                    (Some(column), Some(value)) => operations.push(Operation::Set(column.clone(), value)),
                    _ => relations.push(Relation::Unsupported(String::new(), "VALUES")),
                }
            }
        }
        let mut conditions = Conditions::None;
        if self.if_not_exists()? {
            conditions = Conditions::NotExists;
        }
        let using = self.using()?;
        Ok(Modify {
            kind: ModifyKind::Insert,
            table,
            json,
            operations,
            relations,
            conditions,
            timestamp: using.timestamp,
            ttl: using.ttl,
            timeout: using.timeout,
        })
    }

    pub(super) fn update(&mut self) -> Result<Modify> {
        self.expect_word("update")?;
        let table = self.name()?;
        let using = self.using()?;
        self.expect_word("set")?;
        let mut operations = Vec::new();
        loop {
            operations.push(self.assignment()?);
            if !self.sign(",") {
                break;
            }
        }
        if !self.is_word(0, "where") {
            return Err(self.unexpected(Some("K_WHERE")));
        }
        let relations = self.where_clause()?;
        let conditions = self.conditions()?;
        Ok(Modify {
            kind: ModifyKind::Update,
            table,
            json: false,
            operations,
            relations,
            conditions,
            timestamp: using.timestamp,
            ttl: using.ttl,
            timeout: using.timeout,
        })
    }

    fn assignment(&mut self) -> Result<Operation> {
        let column = self.identifier()?;
        if self.sign("[") {
            let key = self.term()?;
            self.expect_sign("]")?;
            self.expect_sign("=")?;
            return Ok(Operation::SetElement(column, key, self.term()?));
        }
        if self.sign(".") {
            let field = self.identifier()?;
            self.expect_sign("=")?;
            return Ok(Operation::SetField(column, field, self.term()?));
        }
        if self.sign("+=") {
            return Ok(Operation::Add(column, self.term()?));
        }
        if self.sign("-=") {
            return Ok(Operation::Subtract(column, self.term()?));
        }
        self.expect_sign("=")?;
        // `a = a + b`, `a = a - b`, `a = b + a`, `a = b`; for counters also `a = a -1`.
        let is_name = matches!(self.peek(), Kind::Word(_) | Kind::Quoted(_)) && !self.is_sign(1, "(");
        let is_sum = matches!(self.peek_at(1), Kind::Sign("+" | "-"));
        if is_name && is_sum {
            let of = self.identifier()?;
            let plus = self.sign("+");
            let _minus = !plus && self.sign("-");
            if of != column {
                return Err(self.error("Only expressions of the form X = X +<value> are supported."));
            }
            let term = self.term()?;
            return Ok(match plus {
                true => Operation::Add(column, term),
                false => Operation::Subtract(column, term),
            });
        }
        let term = self.term()?;
        if self.sign("+") {
            let of = self.identifier()?;
            if of != column {
                return Err(self.error("Only expressions of the form X = <value> + X are supported."));
            }
            return Ok(Operation::Prepend(column, term));
        }
        Ok(Operation::Set(column, term))
    }

    pub(super) fn delete(&mut self) -> Result<Modify> {
        self.expect_word("delete")?;
        let mut operations = Vec::new();
        if !self.is_word(0, "from") {
            loop {
                let column = self.identifier()?;
                operations.push(if self.sign("[") {
                    let key = self.term()?;
                    self.expect_sign("]")?;
                    Operation::DeleteElement(column, key)
                } else if self.sign(".") {
                    Operation::DeleteField(column, self.identifier()?)
                } else {
                    Operation::Delete(column)
                });
                if !self.sign(",") {
                    break;
                }
            }
        }
        self.expect_word("from")?;
        let table = self.name()?;
        let using = self.using()?;
        if !self.is_word(0, "where") {
            return Err(self.unexpected(Some("K_WHERE")));
        }
        let relations = self.where_clause()?;
        let conditions = self.conditions()?;
        if using.ttl.is_some() {
            return Err(self.error("a DELETE has no TTL"));
        }
        Ok(Modify {
            kind: ModifyKind::Delete,
            table,
            json: false,
            operations,
            relations,
            conditions,
            timestamp: using.timestamp,
            ttl: None,
            timeout: using.timeout,
        })
    }

    fn conditions(&mut self) -> Result<Conditions> {
        if !self.word("if") {
            return Ok(Conditions::None);
        }
        if self.word("exists") {
            return Ok(Conditions::Exists);
        }
        let mut conditions = Vec::new();
        loop {
            conditions.push(self.condition()?);
            if !self.word("and") {
                return Ok(Conditions::Columns(conditions));
            }
        }
    }

    fn condition(&mut self) -> Result<Condition> {
        let column = self.identifier()?;
        let of = if self.sign("[") {
            let key = self.term()?;
            self.expect_sign("]")?;
            ConditionOf::Element(key)
        } else if self.sign(".") {
            ConditionOf::Field(self.identifier()?)
        } else {
            ConditionOf::Whole
        };
        let test = if self.word("in") {
            ConditionTest::In(self.in_values()?)
        } else if self.word("contains") {
            match self.word("key") {
                true => ConditionTest::ContainsKey(self.term()?),
                false => ConditionTest::Contains(self.term()?),
            }
        } else {
            let operator: Operator = self.operator()?;
            ConditionTest::Compare(operator, self.term()?)
        };
        Ok(Condition { column, of, test })
    }

    pub(super) fn batch(&mut self) -> Result<Statement> {
        self.expect_word("begin")?;
        let kind = if self.word("unlogged") {
            BatchKind::Unlogged
        } else if self.word("counter") {
            BatchKind::Counter
        } else {
            BatchKind::Logged
        };
        self.expect_word("batch")?;
        let using = self.using()?;
        let mut statements = Vec::new();
        loop {
            statements.push(if self.is_word(0, "insert") {
                self.insert()?
            } else if self.is_word(0, "update") {
                self.update()?
            } else if self.is_word(0, "delete") {
                self.delete()?
            } else {
                break;
            });
            let _end = self.sign(";");
        }
        self.expect_word("apply")?;
        self.expect_word("batch")?;
        Ok(Statement::Batch(Batch {
            kind,
            timestamp: using.timestamp,
            ttl: using.ttl,
            statements,
        }))
    }
}
