//! What this machine gives: CPU time of the process, and bare synchronous writes.

use crate::failure::{Done, Failure};
use runtime::time::Instant;
use std::{
    fs, io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

const BLOCK: usize = 4096;
const WRITES: u64 = 200;
const FILE_BYTES: u64 = 1 << 20;

/// CPU time of this process so far, user and system together.
pub fn cpu() -> Duration {
    // SAFETY: all bytes zero is a valid rusage, which the call fills.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec.unsigned_abs(), t.tv_usec.unsigned_abs() as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Mean of bare 4 KiB O_DSYNC writes into prepared files, by as many threads at once, microseconds.
pub fn odsync_mean_us(dir: &Path, threads: usize) -> Done<f64> {
    let probe = || -> io::Result<f64> {
        let times = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|n| scope.spawn(move || write_file(&dir.join(format!("probe-{n}")))))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("a probe does not panic"))
                .collect::<io::Result<Vec<_>>>()
        })?;
        let total: Duration = times.iter().sum();
        Ok(total.as_secs_f64() * 1e6 / (WRITES * threads as u64) as f64)
    };
    probe().map_err(|error| Failure::file(dir, "synchronous writes cannot be measured", error))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a thread of its own beside no shard: the store is closed"
)]
fn write_file(path: &Path) -> io::Result<Duration> {
    let memory = vec![0u8; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let block = &memory[start..start + BLOCK];
    let open = |flags| {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .open(path)
    };
    let prepared = open(libc::O_DIRECT)?;
    (0..FILE_BYTES / BLOCK as u64).try_for_each(|at| prepared.write_all_at(block, at * BLOCK as u64))?;
    prepared.sync_all()?;
    let file = open(libc::O_DIRECT | libc::O_DSYNC)?;
    let began = Instant::now();
    (0..WRITES).try_for_each(|n| file.write_all_at(block, n * BLOCK as u64 % FILE_BYTES))?;
    let took = began.elapsed();
    drop(file);
    fs::remove_file(path)?;
    Ok(took)
}
