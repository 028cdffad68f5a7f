//! Lines from another process, without waiting for them longer than one wants to.

use std::{
    io::{self, Read},
    os::fd::AsRawFd,
    process::ChildStdout,
    time::Duration,
};

/// The reading end of a process's standard output.
pub struct Pipe {
    pipe: ChildStdout,
    bytes: Vec<u8>,
    /// Bytes of `bytes` that were given as lines.
    taken: usize,
}

impl Pipe {
    /// Reads from `pipe`.
    pub fn new(pipe: ChildStdout) -> Pipe {
        Pipe {
            pipe,
            bytes: Vec::new(),
            taken: 0,
        }
    }

    /// Reads what there is, waiting at most `wait` for it; false at the end.
    pub fn fill(&mut self, wait: Duration) -> io::Result<bool> {
        let mut fds = libc::pollfd {
            fd: self.pipe.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one pollfd, which lives through the call.
        let ready = unsafe { libc::poll(&raw mut fds, 1, wait_ms) };
        if ready == 0 {
            return Ok(true);
        }
        if ready < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted {
                Ok(true)
            } else {
                Err(error)
            };
        }
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let start = self.bytes.len();
        self.bytes.resize(start + (64 << 10), 0);
        let len = self.pipe.read(&mut self.bytes[start..])?;
        self.bytes.truncate(start + len);
        Ok(len > 0)
    }

    /// The next whole line, without its end. A line that the process did not finish is none.
    pub fn line(&mut self) -> Option<&str> {
        let rest = &self.bytes[self.taken..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let start = self.taken;
        self.taken += end + 1;
        Some(std::str::from_utf8(&self.bytes[start..start + end]).unwrap_or("(not text)"))
    }
}
