//! What the clients do: writes, batches, conditional writes and reads, drawn from the seed, several at once on each connection.

use std::rc::Rc;

use cql::frame::BatchType;

use super::cas::{COUNTERS, ONCE, Step, TABLE};
use super::client::{Connection, How, Page, Said, Server, Statement, Why, int, set_of};
use super::truth::{Asked, At, Col, Draft, FUTURE, PARTITIONS, Place, ROWS, Row, Scope, Stamp, TABLES};
use crate::rng::Rng;

/// One of those who work at once.
pub(super) struct Worker {
    pub server: Rc<Server>,
    pub rng: Rng,
}

/// Ends a step: something that no answer may be.
type Done = Result<(), String>;

impl Worker {
    /// Does so many things, until something is wrong.
    pub async fn work(mut self, steps: usize) {
        for _ in 0..steps {
            if self.server.truth.borrow().violation().is_some() {
                return;
            }
            let done = match self.rng.below(24) {
                0..8 => self.write().await,
                8..14 => self.batch().await,
                14..16 => self.step().await,
                16 => self.once().await,
                17..22 => self.read().await,
                22 => self.scan().await,
                _ => self.count().await,
            };
            self.server.truth.borrow_mut().check(done);
        }
    }

    fn connection(&mut self) -> Connection {
        *self.rng.pick(&self.server.connections)
    }

    fn how(&mut self) -> How {
        How {
            prepared: self.rng.chance(2, 3),
            prepare_again: self.rng.chance(1, 10),
            ..How::default()
        }
    }

    fn stamp(&mut self) -> Stamp {
        let of = 1 + (self.rng.below(1_000) as i64) * 1_000_000 + i64::from(self.server.truth.borrow_mut().new_id());
        match self.rng.below(24) {
            0 => Stamp::Future(FUTURE + of),
            1..8 => Stamp::Past(of),
            _ => Stamp::Server,
        }
    }

    async fn ask(&mut self, statement: &Statement, how: How) -> Result<Said, String> {
        let (to, elsewhere) = (self.connection(), self.connection());
        self.server.execute(to, elsewhere, statement, how, None).await
    }

    fn at(&mut self) -> At {
        (self.rng.below(TABLES.len()), self.rng.below(PARTITIONS as usize) as i32)
    }

    /// What a write was answered with: it stands, or it was refused because something was missing.
    fn answered(&self, said: &Said, tables: &[usize], names_x: bool, from: u64) -> Result<bool, String> {
        let mut truth = self.server.truth.borrow_mut();
        let to = truth.now();
        match said {
            Said::Void => Ok(true),
            Said::Refused {
                why: Why::Invalid | Why::Unprepared,
                ..
            } if truth.may_be_refused(tables, names_x, from, to) => {
                truth.counts.refused += 1;
                Ok(false)
            }
            Said::Refused { why, message } => Err(format!(
                "a write of {tables:?} is refused, {from}..{to}: {why:?} {message}"
            )),
            _ => Err("a write is answered with something else".to_owned()),
        }
    }

    async fn write(&mut self) -> Done {
        let (at, stamp) = (self.at(), self.stamp());
        let row = self.rng.below(ROWS as usize) as i32;
        let (mut statement, draft) = self.draw(at, row, false);
        let mut how = self.how();
        if let Stamp::Past(micros) | Stamp::Future(micros) = stamp {
            match self.rng.chance(1, 2) {
                true => how.timestamp = Some(micros),
                false => using(&mut statement, micros),
            }
        }
        let names_x = names_x(&draft);
        let written = self.server.truth.borrow_mut().begins(vec![draft], stamp, false);
        let said = self.ask(&statement, how).await?;
        let stands = self.answered(&said, &[at.0], names_x, written.began);
        self.server.truth.borrow_mut().ends(&written, stands == Ok(true));
        stands.map(drop)
    }

    /// A batch: of several rows of one partition, or of several partitions.
    async fn batch(&mut self) -> Done {
        let (stamp, count) = (self.stamp(), self.rng.within(2..5));
        let mut statements = Vec::new();
        let mut drafts: Vec<Draft> = Vec::new();
        let (one, first) = (self.rng.chance(1, 3), self.at());
        for nth in 0..count {
            let at = if one { first } else { self.at() };
            if !one && drafts.iter().any(|draft| draft.at == at) {
                continue;
            }
            let (statement, mut draft) = self.draw(at, nth as i32, one);
            if let Some(same) = drafts.first_mut().filter(|_| one) {
                // One part, one id.
                let (old, new) = (int(draft.id), int(same.id));
                let values = statement.values.iter();
                let values = values.map(|value| match () {
                    () if *value == old => new.clone(),
                    () if *value == set_of(draft.id) => set_of(same.id),
                    () => value.clone(),
                });
                statements.push(Statement {
                    values: values.collect(),
                    text: statement.text.clone(),
                });
                let renamed = |place: Place| match place {
                    Place::Cell(row, Col::Tag(_)) => Place::Cell(row, Col::Tag(same.id)),
                    other => other,
                };
                same.puts.extend(draft.puts.drain(..).map(renamed));
                same.kills.append(&mut draft.kills);
                continue;
            }
            statements.push(statement);
            drafts.push(draft);
        }
        let logged = self.rng.chance(3, 4);
        let mut how = self.how();
        if let Stamp::Past(micros) | Stamp::Future(micros) = stamp {
            how.timestamp = Some(micros);
        }
        let tables: Vec<usize> = drafts.iter().map(|draft| draft.at.0).collect();
        let names_x = drafts.iter().any(names_x);
        let written = {
            let mut truth = self.server.truth.borrow_mut();
            truth.counts.batches += 1;
            truth.begins(drafts, stamp, logged)
        };
        let said = if self.rng.chance(1, 3) {
            let kind = if logged { "" } else { "UNLOGGED " };
            let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
            let whole = Statement {
                text: format!("BEGIN {kind}BATCH {}; APPLY BATCH", texts.join("; ")),
                values: statements
                    .iter()
                    .flat_map(|statement| statement.values.clone())
                    .collect(),
            };
            self.ask(&whole, how).await?
        } else {
            let kind = if logged { BatchType::Logged } else { BatchType::Unlogged };
            let (to, elsewhere) = (self.connection(), self.connection());
            self.server.batch(to, elsewhere, kind, &statements, how).await?
        };
        let stands = self.answered(&said, &tables, names_x, written.began);
        self.server.truth.borrow_mut().ends(&written, stands == Ok(true));
        stands.map(drop)
    }

    /// A statement about a row, or more if not `narrow`.
    fn draw(&mut self, at: At, c: i32, narrow: bool) -> (Statement, Draft) {
        let id = self.server.truth.borrow_mut().new_id();
        let (table, p) = (TABLES[at.0], int(at.1));
        let (row, value) = (int(c), int(id));
        let v = Place::Cell(c, Col::V);
        let tag = Place::Cell(c, Col::Tag(id));
        let mut kills = Vec::new();
        let (text, values, puts) = match self.rng.below(if narrow { 12 } else { 20 }) {
            0..4 => (
                format!("INSERT INTO {table} (p, c, v) VALUES (?, ?, ?)"),
                vec![p, row, value],
                vec![Place::Live(c), v],
            ),
            4 => {
                kills.push(Scope::Tags(c));
                (
                    format!("INSERT INTO {table} (p, c, v, tags) VALUES (?, ?, ?, ?)"),
                    vec![p, row, value, set_of(id)],
                    vec![Place::Live(c), v, tag],
                )
            }
            5 => (
                format!("INSERT INTO {table} (p, c, x) VALUES (?, ?, ?)"),
                vec![p, row, value],
                vec![Place::Live(c), Place::Cell(c, Col::X)],
            ),
            6..8 => (
                format!("UPDATE {table} SET v = ? WHERE p = ? AND c = ?"),
                vec![value, p, row],
                vec![v],
            ),
            8 => (
                format!("UPDATE {table} SET x = ?, v = ? WHERE p = ? AND c = ?"),
                vec![value.clone(), value, p, row],
                vec![v, Place::Cell(c, Col::X)],
            ),
            9..11 => (
                format!("UPDATE {table} SET tags = tags + ? WHERE p = ? AND c = ?"),
                vec![set_of(id), p, row],
                vec![tag],
            ),
            11 => {
                kills.push(Scope::Rows(c, c + 1));
                (
                    format!("DELETE FROM {table} WHERE p = ? AND c = ?"),
                    vec![p, row],
                    vec![],
                )
            }
            12..14 => (
                format!("UPDATE {table} SET s = ? WHERE p = ?"),
                vec![value, p],
                vec![Place::Static],
            ),
            14 => {
                kills.push(Scope::Partition);
                (format!("DELETE FROM {table} WHERE p = ?"), vec![p], vec![])
            }
            15 => {
                let to = c + self.rng.within(1..ROWS as usize) as i32;
                kills.push(Scope::Rows(c, to));
                let text = format!("DELETE FROM {table} WHERE p = ? AND c >= ? AND c < ?");
                (text, vec![p, row, int(to)], vec![])
            }
            16 => {
                kills.push(Scope::One(v));
                kills.push(Scope::Tags(c));
                (
                    format!("DELETE v, tags FROM {table} WHERE p = ? AND c = ?"),
                    vec![p, row],
                    vec![],
                )
            }
            17 => {
                let ids = self.server.truth.borrow().ids_at(at);
                let of = if ids.is_empty() { 0 } else { *self.rng.pick(&ids) };
                kills.push(Scope::One(Place::Cell(c, Col::Tag(of))));
                let text = format!("UPDATE {table} SET tags = tags - ? WHERE p = ? AND c = ?");
                (text, vec![set_of(of), p, row], vec![])
            }
            18 => {
                kills.push(Scope::One(Place::Static));
                (format!("DELETE s FROM {table} WHERE p = ?"), vec![p], vec![])
            }
            _ => (
                format!("INSERT INTO {table} (p, c, s) VALUES (?, ?, ?)"),
                vec![p, row, value],
                vec![Place::Live(c), Place::Static],
            ),
        };
        (Statement { text, values }, Draft { at, id, puts, kills })
    }

    /// Reads a partition, or rows of it, in pages or at once.
    async fn read(&mut self) -> Done {
        if self.rng.chance(1, 4) {
            let key = self.rng.below(COUNTERS as usize) as i32;
            return self.look_at_counter(key).await;
        }
        let at = self.at();
        let rows = self.rng.chance(1, 3).then(|| {
            let low = self.rng.below(ROWS as usize) as i32;
            (low, low + self.rng.within(1..ROWS as usize) as i32)
        });
        let order = *self.rng.pick(&["", " ORDER BY c ASC", " ORDER BY c DESC"]);
        let page_size = self.rng.chance(2, 3).then(|| self.rng.within(1..5) as i32);
        match self.ask_for(at, rows, order, page_size).await? {
            Some((asked, read)) => self.server.truth.borrow_mut().judge(asked, &read),
            None => Ok(()),
        }
    }

    /// Reads a whole partition at once, and leaves it to the caller to judge it.
    pub async fn read_raw(&mut self, at: At) -> Result<(Asked, Vec<Row>), String> {
        let read = self.ask_for(at, None, "", None).await?;
        read.ok_or_else(|| format!("{} is missing", TABLES[at.0]))
    }

    /// Reads rows of a partition; `None` if that was refused because something was missing.
    async fn ask_for(
        &mut self,
        at: At,
        rows: Option<(i32, i32)>,
        order: &str,
        page_size: Option<i32>,
    ) -> Result<Option<(Asked, Vec<Row>)>, String> {
        let mut statement = Statement {
            text: format!("SELECT * FROM {} WHERE p = ?", TABLES[at.0]),
            values: vec![int(at.1)],
        };
        if let Some((low, high)) = rows {
            statement.text.push_str(" AND c >= ? AND c < ?");
            statement.values.extend([int(low), int(high)]);
        }
        statement.text.push_str(order);
        let from = self.server.truth.borrow_mut().now();
        let Some(read) = self.walk(&statement, at.0, page_size).await? else {
            return Ok(None);
        };
        let to = self.server.truth.borrow_mut().now();
        let asked = Asked { at, rows, from, to };
        let read: Vec<Row> = read.into_iter().map(|(_, row)| row).collect();
        let descending = order.ends_with("DESC") || (order.is_empty() && descends(at.0));
        must_be_in_order(&read, descending)?;
        Ok(Some((asked, read)))
    }

    /// Reads all pages of a statement; `None` if it was refused because something was missing.
    async fn walk(
        &mut self,
        statement: &Statement,
        table: usize,
        page_size: Option<i32>,
    ) -> Result<Option<Vec<(i32, Row)>>, String> {
        let (mut how, mut state) = (self.how(), None::<Vec<u8>>);
        how.page_size = page_size;
        let mut all = Vec::new();
        let from = self.server.truth.borrow_mut().now();
        loop {
            let asked = self.server.truth.borrow_mut().now();
            let (to, elsewhere) = (self.connection(), self.connection());
            let said = self
                .server
                .execute(to, elsewhere, statement, how, state.as_deref())
                .await?;
            let mut truth = self.server.truth.borrow_mut();
            let now = truth.now();
            let page = match said {
                Said::Rows { page, .. } => page,
                Said::Refused {
                    why: Why::Invalid | Why::Unprepared | Why::Protocol | Why::Other,
                    ..
                } if truth.may_be_refused(&[table], true, from, now) => {
                    truth.counts.refused += 1;
                    return Ok(None);
                }
                Said::Refused { why, message } => {
                    return Err(format!("{:?} is refused: {why:?} {message}", statement.text));
                }
                _ => return Err(format!("{:?} is answered with something else", statement.text)),
            };
            truth.counts.pages += 1;
            if page_size.is_some_and(|size| page.rows.len() > size as usize) {
                return Err(format!("{:?}: a page of {} rows", statement.text, page.rows.len()));
            }
            truth.judge_columns(table, page.has("x"), asked, now)?;
            all.extend(page.rows.iter().map(|row| read_row(&page, row, asked)));
            match page.next {
                Some(next) if all.len() < 10_000 => state = Some(next),
                Some(_) => return Err(format!("{:?} never ends", statement.text)),
                None => break,
            }
        }
        self.server.truth.borrow_mut().counts.walks += 1;
        Ok(Some(all))
    }

    /// Reads a whole table in pages.
    async fn scan(&mut self) -> Done {
        let table = self.rng.below(TABLES.len());
        let statement = Statement {
            text: format!("SELECT * FROM {}", TABLES[table]),
            values: vec![],
        };
        let page_size = self.rng.chance(3, 4).then(|| self.rng.within(1..8) as i32);
        let from = self.server.truth.borrow_mut().now();
        let Some(rows) = self.walk(&statement, table, page_size).await? else {
            return Ok(());
        };
        let mut truth = self.server.truth.borrow_mut();
        let to = truth.now();
        let mut partitions: Vec<(i32, Vec<Row>)> = Vec::new();
        for (p, row) in rows {
            match partitions.last_mut().filter(|(last, _)| *last == p) {
                Some((_, rows)) => rows.push(row),
                None => partitions.push((p, vec![row])),
            }
        }
        let tokens = partitions.iter().map(|(p, _)| model::token_of(&int(*p)));
        if !tokens.is_sorted_by(|a, b| a < b) {
            return Err(format!("{}: partitions out of order, or twice", TABLES[table]));
        }
        for p in 0..PARTITIONS {
            let rows = partitions
                .iter()
                .find(|(of, _)| *of == p)
                .map_or(&[][..], |(_, rows)| rows);
            must_be_in_order(rows, descends(table))?;
            let asked = Asked {
                at: (table, p),
                rows: None,
                from,
                to,
            };
            truth.judge(asked, rows)?;
        }
        Ok(())
    }

    async fn count(&mut self) -> Done {
        let at = self.at();
        let statement = Statement {
            text: format!("SELECT count(*) FROM {} WHERE p = ?", TABLES[at.0]),
            values: vec![int(at.1)],
        };
        let from = self.server.truth.borrow_mut().now();
        let how = self.how();
        let said = self.ask(&statement, how).await?;
        let mut truth = self.server.truth.borrow_mut();
        let to = truth.now();
        let counted = match said {
            Said::Rows { page, .. } => {
                let cell = page.rows.first().and_then(|row| row[0].clone());
                let bytes = cell.and_then(|cell| cell.try_into().ok());
                i64::from_be_bytes(bytes.ok_or("a count that is no bigint")?) as usize
            }
            Said::Refused { .. } if truth.may_be_refused(&[at.0], false, from, to) => return Ok(()),
            Said::Refused { why, message } => return Err(format!("a count is refused: {why:?} {message}")),
            _ => return Err("a count is answered with something else".to_owned()),
        };
        let rows: Vec<(bool, bool)> = (0..ROWS).map(|row| truth.presence(at, row, from, to)).collect();
        let least = rows.iter().filter(|(must, _)| *must).count();
        // The static row alone counts for one.
        let most = rows.iter().filter(|(_, may)| *may).count().max(1);
        match (least..=most).contains(&counted) {
            true => Ok(()),
            false => Err(format!(
                "{statement:?} gives {counted}, not {least}..={most}",
                statement = statement.text
            )),
        }
    }

    /// Advances a counter by one.
    async fn step(&mut self) -> Done {
        let key = self.rng.below(COUNTERS as usize) as i32;
        if self.rng.chance(1, 8) {
            self.look_at_counter(key).await?;
        }
        let (floor, id) = {
            let mut truth = self.server.truth.borrow_mut();
            let (floor, id) = (truth.counters.last(key), truth.new_id());
            truth.counters.attempt(key, floor + 1, id);
            (floor, id)
        };
        let update = match floor {
            0 => Statement {
                text: format!("UPDATE {TABLE} SET n = ?, who = ? WHERE k = ? AND c = 0 IF n = null"),
                values: vec![int(1), int(id), int(key)],
            },
            _ => Statement {
                text: format!("UPDATE {TABLE} SET n = ?, who = ? WHERE k = ? AND c = 0 IF n = ?"),
                values: vec![int(floor + 1), int(id), int(key), int(floor)],
            },
        };
        let how = self.how();
        let said = if has_rows(key) {
            let row = Statement {
                text: format!("INSERT INTO {TABLE} (k, c, who) VALUES (?, ?, ?)"),
                values: vec![int(key), int(floor + 1), int(id)],
            };
            let (to, elsewhere) = (self.connection(), self.connection());
            let kind = if self.rng.chance(1, 2) {
                BatchType::Logged
            } else {
                BatchType::Unlogged
            };
            self.server.batch(to, elsewhere, kind, &[update, row], how).await?
        } else {
            self.ask(&update, how).await?
        };
        let found = |page: &Page| Step {
            n: page.rows.first().and_then(|row| page.int(row, "n")).unwrap_or(0),
            by: None,
        };
        self.conditional(key, id, floor, said, found)
    }

    /// Inserts a row that is inserted once.
    async fn once(&mut self) -> Done {
        let key = ONCE + self.rng.below(6) as i32;
        let (floor, id) = {
            let mut truth = self.server.truth.borrow_mut();
            let (floor, id) = (truth.counters.last(key), truth.new_id());
            truth.counters.attempt(key, 1, id);
            (floor, id)
        };
        let statement = Statement {
            text: format!("INSERT INTO {TABLE} (k, c, n, who) VALUES (?, 0, 1, ?) IF NOT EXISTS"),
            values: vec![int(key), int(id)],
        };
        let how = self.how();
        let said = self.ask(&statement, how).await?;
        let found = |page: &Page| Step {
            n: page.rows.first().and_then(|row| page.int(row, "n")).unwrap_or(0),
            by: page.rows.first().and_then(|row| page.int(row, "who")),
        };
        self.conditional(key, id, floor, said, found)
    }

    fn conditional(&self, key: i32, id: i32, floor: i32, said: Said, found: impl Fn(&Page) -> Step) -> Done {
        let mut truth = self.server.truth.borrow_mut();
        match said {
            Said::Rows { page, .. } => match page.applied() {
                Some(true) => {
                    truth.counts.steps += 1;
                    truth.counters.applied(key, id, floor)
                }
                Some(false) => truth.counters.refused(key, id, found(&page), floor),
                None => Err("a conditional write without [applied]".to_owned()),
            },
            Said::Refused { why, message } => Err(format!("a conditional write is refused: {why:?} {message}")),
            _ => Err("a conditional write is answered with something else".to_owned()),
        }
    }

    /// Reads a conditional partition whole.
    pub async fn look_at_counter(&mut self, key: i32) -> Done {
        let statement = Statement {
            text: format!("SELECT c, n, who FROM {TABLE} WHERE k = ?"),
            values: vec![int(key)],
        };
        let floor = self.server.truth.borrow_mut().counters.last(key);
        let how = self.how();
        let page = match self.ask(&statement, how).await? {
            Said::Rows { page, .. } => page,
            Said::Refused { why, message } => return Err(format!("a read is refused: {why:?} {message}")),
            _ => return Err("a read is answered with something else".to_owned()),
        };
        let (mut now, mut steps) = (Step { n: 0, by: None }, Vec::new());
        for row in &page.rows {
            let (c, by) = (page.int(row, "c").unwrap_or(-1), page.int(row, "who"));
            match c {
                0 => {
                    now = Step {
                        n: page.int(row, "n").unwrap_or(0),
                        by,
                    }
                }
                n => steps.push(Step { n, by }),
            }
        }
        let mut truth = self.server.truth.borrow_mut();
        match has_rows(key) {
            true => truth.counters.sees_all(key, now, &steps, floor),
            false => truth.counters.sees(key, now, floor),
        }
    }
}

/// Whether each step of a counter has a row of its own.
fn has_rows(key: i32) -> bool {
    key < ONCE && key % 2 == 0
}

/// Whether a table has its rows from the last to the first.
pub(super) fn descends(table: usize) -> bool {
    table == 0
}

fn must_be_in_order(rows: &[Row], descending: bool) -> Done {
    let ordered = match descending {
        true => rows.iter().map(|row| row.clustering).is_sorted_by(|a, b| a > b),
        false => rows.iter().map(|row| row.clustering).is_sorted_by(|a, b| a < b),
    };
    match ordered {
        true => Ok(()),
        false => Err(format!("rows out of order, or twice: {rows:?}")),
    }
}

fn names_x(draft: &Draft) -> bool {
    draft.puts.iter().any(|place| matches!(place, Place::Cell(_, Col::X)))
}

/// Puts a timestamp into the text.
fn using(statement: &mut Statement, micros: i64) {
    let Statement { text, values } = statement;
    let clause = "USING TIMESTAMP ?";
    let before = match text.split(' ').next() {
        Some("INSERT") => {
            text.push(' ');
            text.push_str(clause);
            values.len()
        }
        Some("UPDATE") => {
            *text = text.replacen(" SET", &format!(" {clause} SET"), 1);
            0
        }
        _ => {
            *text = text.replacen(" WHERE", &format!(" {clause} WHERE"), 1);
            0
        }
    };
    values.insert(before, micros.to_be_bytes().to_vec());
}

fn read_row(page: &Page, row: &super::client::Cells, asked: u64) -> (i32, Row) {
    let read = Row {
        clustering: page.int(row, "c"),
        statics: page.int(row, "s"),
        v: page.int(row, "v"),
        x: page.has("x").then(|| page.int(row, "x")),
        tags: page.set(row, "tags"),
        asked,
    };
    (page.int(row, "p").unwrap_or(-1), read)
}
