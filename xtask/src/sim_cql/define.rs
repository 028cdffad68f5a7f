//! Changes of definitions under load, flushes and compactions.

use std::rc::Rc;
use std::time::Duration;

use super::cas;
use super::client::{How, Said, Server, Statement, Why};
use super::truth::TABLES;
use super::work::descends;
use crate::rng::Rng;

/// The one who defines.
pub(super) struct Definer {
    pub server: Rc<Server>,
    pub rng: Rng,
}

type Done = Result<(), String>;

impl Definer {
    pub async fn work(mut self, steps: usize) {
        for _ in 0..steps {
            if self.server.truth.borrow().violation().is_some() {
                return;
            }
            runtime::sim::client_sleep(Duration::from_micros(self.rng.below(2_000) as u64)).await;
            let done = self.step().await;
            self.server.truth.borrow_mut().check(done);
        }
    }

    async fn step(&mut self) -> Done {
        let table = self.rng.below(TABLES.len());
        let (is, has_x) = {
            let truth = self.server.truth.borrow();
            (
                truth.tables[table].is == Some(true),
                truth.columns[table].is == Some(true),
            )
        };
        let failed = |error: engine::Error| format!("a flush or compaction: {error}");
        match self.rng.below(8) {
            0 => self.server.store.flush().await.map_err(failed),
            1 => self.server.store.compact(None).await.map_err(failed),
            _ if !is => self.create(table).await,
            2..5 => match has_x {
                true => self.drop_column(table).await,
                false => self.add_column(table).await,
            },
            // The first table stays.
            _ if table == 0 => Ok(()),
            5 => self.truncate(table).await,
            _ => self.drop_table(table).await,
        }
    }

    async fn ask(&mut self, text: &str) -> Result<Said, String> {
        let statement = Statement {
            text: text.to_owned(),
            values: vec![],
        };
        let how = How {
            prepared: self.rng.chance(1, 4),
            ..How::default()
        };
        let to = *self.rng.pick(&self.server.connections);
        let elsewhere = *self.rng.pick(&self.server.connections);
        self.server.truth.borrow_mut().counts.definitions += 1;
        self.server.execute(to, elsewhere, &statement, how, None).await
    }

    /// A statement that must be answered with a change, or with nothing.
    async fn change(&mut self, text: &str) -> Done {
        match self.ask(text).await? {
            Said::Changed | Said::Void => Ok(()),
            Said::Refused { why, message } => Err(format!("{text}: {why:?} {message}")),
            _ => Err(format!("{text}: is answered with something else")),
        }
    }

    /// Whether something had to be made; if not, it was there.
    async fn make(&mut self, text: &str) -> Result<bool, String> {
        match self.ask(text).await? {
            Said::Changed => Ok(true),
            Said::Refused {
                why: Why::AlreadyExists | Why::Invalid,
                ..
            } => Ok(false),
            Said::Refused { why, message } => Err(format!("{text}: {why:?} {message}")),
            _ => Err(format!("{text}: is answered with something else")),
        }
    }

    /// Makes the tables that are not there, and tells which were.
    pub async fn find_tables(&mut self) -> Done {
        for keyspace in ["first", "second"] {
            self.change(&keyspace_text(keyspace)).await?;
        }
        for (table, _) in TABLES.iter().enumerate() {
            let (was, had_x) = self.server.truth.borrow_mut().may_be_made(table);
            let made = self.make(&table_text(table)).await?;
            self.server.truth.borrow_mut().found(table, false, was, made);
            let added = !made && self.make(&format!("ALTER TABLE {} ADD x int", TABLES[table])).await?;
            let mut truth = self.server.truth.borrow_mut();
            match made {
                true => {
                    let now = truth.now();
                    truth.columns[table].has_come(now);
                }
                false => truth.found(table, true, had_x, added),
            }
            if let Some(what) = truth.violation() {
                return Err(what.clone());
            }
        }
        let columns = "k int, c int, n int, who int, PRIMARY KEY (k, c)";
        self.change(&format!("CREATE TABLE IF NOT EXISTS {} ({columns})", cas::TABLE))
            .await
    }

    async fn create(&mut self, table: usize) -> Done {
        self.server.truth.borrow_mut().may_be_made(table);
        self.change(&keyspace_text(keyspace_of(table))).await?;
        self.change(&table_text(table)).await?;
        let mut truth = self.server.truth.borrow_mut();
        let now = truth.now();
        truth.tables[table].has_come(now);
        truth.columns[table].has_come(now);
        Ok(())
    }

    async fn add_column(&mut self, table: usize) -> Done {
        self.server.truth.borrow_mut().columns[table].is = None;
        self.change(&format!("ALTER TABLE {} ADD x int", TABLES[table])).await?;
        let mut truth = self.server.truth.borrow_mut();
        let now = truth.now();
        truth.columns[table].has_come(now);
        Ok(())
    }

    async fn drop_column(&mut self, table: usize) -> Done {
        let wipe = {
            let mut truth = self.server.truth.borrow_mut();
            let now = truth.now();
            truth.columns[table].leaves(now);
            truth.wipes(table, true)
        };
        self.change(&format!("ALTER TABLE {} DROP x", TABLES[table])).await?;
        let mut truth = self.server.truth.borrow_mut();
        truth.is_wiped(wipe);
        let now = truth.now();
        truth.columns[table].is_gone(now);
        Ok(())
    }

    async fn truncate(&mut self, table: usize) -> Done {
        let wipe = self.server.truth.borrow_mut().wipes(table, false);
        self.change(&format!("TRUNCATE {}", TABLES[table])).await?;
        self.server.truth.borrow_mut().is_wiped(wipe);
        Ok(())
    }

    /// Drops a table, or the keyspace that it is alone in.
    async fn drop_table(&mut self, table: usize) -> Done {
        let wipe = {
            let mut truth = self.server.truth.borrow_mut();
            let now = truth.now();
            truth.tables[table].leaves(now);
            truth.wipes(table, false)
        };
        match keyspace_of(table) {
            "second" if self.rng.chance(1, 2) => self.change("DROP KEYSPACE second").await?,
            _ => self.change(&format!("DROP TABLE {}", TABLES[table])).await?,
        }
        let mut truth = self.server.truth.borrow_mut();
        truth.is_wiped(wipe);
        let now = truth.now();
        truth.tables[table].is_gone(now);
        Ok(())
    }
}

fn keyspace_of(table: usize) -> &'static str {
    TABLES[table].split_once('.').expect("a keyspace and a name").0
}

fn keyspace_text(keyspace: &str) -> String {
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
}

fn table_text(table: usize) -> String {
    let columns = "p int, c int, s int static, v int, x int, tags set<int>, PRIMARY KEY (p, c)";
    let order = if descends(table) {
        " WITH CLUSTERING ORDER BY (c DESC)"
    } else {
        ""
    };
    format!("CREATE TABLE {} ({columns}){order}", TABLES[table])
}
