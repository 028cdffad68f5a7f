//! A world that tests are executed in.

use super::values::Environment;
use std::cell::Cell;

/// A clock that stands still, and numbers that count up.
#[derive(Default)]
pub(crate) struct World {
    pub now_micros: i64,
    pub count: Cell<u8>,
}

impl Environment for World {
    fn now_micros(&self) -> i64 {
        self.now_micros
    }

    fn time_uuid(&self) -> [u8; 16] {
        self.count.set(self.count.get() + 1);
        super::time::time_uuid(self.now_micros * 10 + i64::from(self.count.get()), [1; 8])
    }

    fn random_uuid(&self) -> [u8; 16] {
        self.count.set(self.count.get() + 1);
        let mut uuid = [self.count.get(); 16];
        (uuid[6], uuid[8]) = (0x40, 0x80);
        uuid
    }
}
