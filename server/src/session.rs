//! Opening and closing the store of a command.

use crate::failure::Done;
use engine::Config;
use messages::{Messages, Options};
use std::{future::Future, path::Path};

/// Length of a log segment for commands: opening a store makes two of them for each shard, and most commands write little.
const LOG_SEGMENT_BYTES: u32 = 4 << 20;

/// The configuration of a command.
pub fn config(dir: &Path) -> Config {
    Config {
        log_segment_bytes: LOG_SEGMENT_BYTES,
        ..Config::new(dir)
    }
}

/// Runs `command` over the store in `dir`, which must be there, and closes the store, whatever comes of it.
pub fn with_store<T, F: Future<Output = Done<T>>>(dir: &Path, command: impl FnOnce(Messages) -> F) -> Done<T> {
    engine::must_be_store(dir)?;
    with_config(config(dir), Options::default(), command)
}

/// Runs `command` over the store of this configuration, which is created if it is not there, and closes the store.
pub fn with_config<T, F: Future<Output = Done<T>>>(
    config: Config,
    options: Options,
    command: impl FnOnce(Messages) -> F,
) -> Done<T> {
    runtime::block_on(async {
        let messages = Messages::open_with(config, options).await?;
        let done = command(messages.clone()).await;
        let closed = messages.close().await;
        let done = done?;
        closed?;
        Ok(done)
    })
}
