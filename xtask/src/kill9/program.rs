//! The real `scrollback` program: built, run to its end, or started to be killed.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use scrollback_server::pipe::Pipe;
use serde::Deserialize;

use crate::clock::Stopwatch;
use crate::workspace;

/// A process that says nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(120);
const SIGKILL: i32 = 9;

/// Where the program is, and where it may put stores.
pub(crate) struct Program {
    path: PathBuf,
    /// It is this program.
    is_this: bool,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Program {
    /// Builds the program and takes its path from what cargo says.
    ///
    /// The profile and the packages are those that this very program was built with: nothing is compiled twice.
    pub(crate) fn build() -> Result<Self, String> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args([
                "build",
                "--quiet",
                "--package",
                "scrollback-server",
                "--bin",
                "scrollback",
            ])
            .args(["--profile", "checked", "--message-format", "json-render-diagnostics"])
            .current_dir(workspace::root())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        if cfg!(feature = "breaks") {
            command.args(["--package", "xtask", "--features", workspace::FEATURES]);
        }
        let output = command.output().map_err(|e| format!("cargo does not start: {e}"))?;
        if !output.status.success() {
            return Err(format!(
                "the program does not build: cargo ended with {}",
                output.status
            ));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Message>(line).ok());
        let mut programs = messages.filter_map(|message| {
            let target = message.target?;
            let is_program = message.reason == "compiler-artifact"
                && target.name == "scrollback"
                && target.kind.iter().any(|kind| kind == "bin");
            message.executable.filter(|_| is_program)
        });
        let path = programs
            .next()
            .ok_or("cargo has not said where the program scrollback is")?;
        Ok(Self { path, is_this: false })
    }

    /// This very program, for commands of its own that are to be killed.
    pub(crate) fn this() -> Result<Self, String> {
        let path = std::env::current_exe().map_err(|e| format!("where this program is cannot be told: {e}"))?;
        Ok(Self { path, is_this: true })
    }

    /// The program at `path`, built by somebody else.
    pub(crate) fn at(path: &Path) -> Result<Self, String> {
        let path = std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self { path, is_this: false })
    }

    /// An example of the program's crate, built as the program was; where it would lie, if somebody else built it.
    pub(crate) fn example(&self, name: &str, is_built: bool) -> Result<PathBuf, String> {
        if !is_built {
            let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            command
                .args(["build", "--quiet", "--workspace", "--example", name])
                .args(["--profile", "checked"])
                .current_dir(workspace::root())
                .stdin(Stdio::null());
            if cfg!(feature = "breaks") {
                command.args(["--package", "xtask", "--features", workspace::FEATURES]);
            }
            let status = command.status().map_err(|e| format!("cargo does not start: {e}"))?;
            if !status.success() {
                return Err(format!("the example {name} does not build: cargo ended with {status}"));
            }
        }
        Ok(self.path.with_file_name("examples").join(name))
    }

    /// A folder for stores, beside the program: where cargo builds there is a real file system.
    pub(crate) fn folder(&self) -> Result<tempfile::TempDir, String> {
        let beside = self.path.parent().unwrap_or(Path::new("."));
        let made = tempfile::Builder::new().prefix("kill9-").tempdir_in(beside);
        made.map_err(|e| format!("{}: no folder can be made here: {e}", beside.display()))
    }

    /// A folder that stays, in the one that cargo builds in.
    pub(crate) fn cache(&self, name: &str) -> Result<PathBuf, String> {
        let target = self.path.ancestors().nth(2).unwrap_or(Path::new("."));
        let path = target.join(name);
        #[expect(clippy::disallowed_methods, reason = "a folder for a check, off every shard")]
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// Starts it. What it says on standard error is ours to say too.
    pub(crate) fn start<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Process, String> {
        self.start_with(Stdio::null(), arguments)
    }

    /// Starts it, and has it listen ([`Process::say`]).
    pub(crate) fn start_to_listen<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<Process, String> {
        self.start_with(Stdio::piped(), arguments)
    }

    fn start_with<A: AsRef<OsStr>>(&self, input: Stdio, arguments: &[A]) -> Result<Process, String> {
        // Cargo may have put another one into its place meanwhile.
        let program = if self.is_this {
            Path::new("/proc/self/exe")
        } else {
            &self.path
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            // That a kill leaves orphans and torn tails is what is meant to happen.
            .env("SCROLLBACK_LOG", "error")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let what = arguments.first().map_or_else(String::new, |name| {
            format!("scrollback {}", name.as_ref().to_string_lossy())
        });
        Process::start(command, what)
    }

    /// Runs it to its good end and gives each line to `each`.
    pub(crate) fn run<A: AsRef<OsStr>>(
        &self,
        arguments: &[A],
        each: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        self.start(arguments)?.hear_out(each)
    }
}

/// A running program. It ends with whoever started it.
pub(crate) struct Process {
    child: Child,
    pipe: Pipe,
    what: String,
}

impl Process {
    /// Starts `command`, whose output is piped; `what` is its name where something is wrong with it.
    pub(crate) fn start(mut command: Command, what: String) -> Result<Self, String> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{what} ({}) cannot be started: {e}", command.get_program().display()))?;
        let stdout = child.stdout.take().ok_or("a child without its standard output")?;
        Ok(Self {
            child,
            pipe: Pipe::new(stdout),
            what,
        })
    }

    /// Reads what it says, waiting at most `wait`; false at the end.
    pub(crate) fn fill(&mut self, wait: Duration) -> Result<bool, String> {
        self.pipe
            .fill(wait)
            .map_err(|e| format!("the pipe from {}: {e}", self.what))
    }

    /// The next whole line.
    pub(crate) fn line(&mut self) -> Option<&str> {
        self.pipe.line()
    }

    /// Says a line to it, if it was started to listen.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), String> {
        let what = &self.what;
        let input = self.child.stdin.as_mut().ok_or("a child that does not listen")?;
        writeln!(input, "{line}").map_err(|e| format!("{what} does not listen: {e}"))
    }

    /// Says nothing more to it, waits for its good end, and gives each line to `each`.
    pub(crate) fn hear_out(mut self, mut each: impl FnMut(&str) -> Result<(), String>) -> Result<(), String> {
        drop(self.child.stdin.take());
        let mut heard = Stopwatch::start();
        loop {
            let open = self.fill(Duration::from_millis(200))?;
            while let Some(line) = self.line() {
                heard = Stopwatch::start();
                each(line)?;
            }
            if !open {
                break;
            }
            if heard.elapsed() > SILENCE_MAX {
                let (what, threads) = (&self.what, self.threads());
                return Err(format!("{what} does not end; its threads:\n{threads}"));
            }
        }
        let (status, what) = (self.end()?, &self.what);
        if status.success() {
            Ok(())
        } else {
            Err(format!("{what} ended with {status}"))
        }
    }

    /// Memory that is resident, bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib << 10).ok_or_else(|| format!("{path} does not tell"))
    }

    /// Goes on reading for `time`, or until it ends.
    pub(crate) fn listen(&mut self, time: Duration) -> Result<(), String> {
        let clock = Stopwatch::start();
        while let Some(left) = time.checked_sub(clock.elapsed()) {
            // The wait is told in whole milliseconds: what is left below one is spent awake.
            if !self.fill(left)? {
                break;
            }
        }
        Ok(())
    }

    /// Asks it to end, with SIGTERM, and waits for its good end.
    pub(crate) fn terminate(self) -> Result<(), String> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status();
        match status {
            Ok(status) if status.success() => self.hear_out(|_| Ok(())),
            Ok(status) => Err(format!("kill -TERM {pid} ended with {status}")),
            Err(e) => Err(format!("kill does not start: {e}")),
        }
    }

    /// The status with which it ended, if it has ended by itself within `wait`.
    pub(crate) fn ended_within(&mut self, wait: Duration) -> Result<Option<ExitStatus>, String> {
        let clock = Stopwatch::start();
        while self.fill(Duration::from_millis(50))? {
            if clock.elapsed() > wait {
                return Ok(None);
            }
        }
        // Its output has ended: so has it, or it does at once.
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(Some(status)),
                Ok(None) if clock.elapsed() > wait => return Ok(None),
                Ok(None) => self.listen(Duration::from_millis(5))?,
                Err(e) => return Err(format!("the end of {}: {e}", self.what)),
            }
        }
    }

    /// Sends SIGKILL, reads what it had still said, and tells whether that was what ended it.
    pub(crate) fn kill(&mut self) -> Result<bool, String> {
        // Fails only if it has ended already, which the status tells.
        let _ = self.child.kill();
        let clock = Stopwatch::start();
        while self.fill(Duration::from_millis(100))? {
            if clock.elapsed() > SILENCE_MAX {
                return Err(format!("{} does not die", self.what));
            }
        }
        let status = self.end()?;
        match status.signal() {
            Some(SIGKILL) => Ok(true),
            _ if status.success() => Ok(false),
            _ => Err(format!("{} ended with {status} before it was killed", self.what)),
        }
    }

    /// What each of its threads waits for, as far as the kernel tells.
    fn threads(&self) -> String {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        let told = |path: PathBuf| {
            let text = std::fs::read_to_string(path);
            text.map_or_else(|e| format!("({e})"), |text| text.trim().to_owned())
        };
        #[expect(clippy::disallowed_methods, reason = "looks at a process, off every shard")]
        let entries = std::fs::read_dir(tasks).into_iter().flatten().flatten();
        let threads = entries.map(|entry| {
            let of = |file: &str| told(entry.path().join(file));
            let status = of("status");
            let lines = status.lines().filter(|line| {
                ["Name:", "State:", "voluntary", "nonvoluntary"]
                    .iter()
                    .any(|name| line.starts_with(name))
            });
            let status: Vec<&str> = lines.collect();
            format!(
                "  {}, in {}, system call {}",
                status.join(" "),
                of("wchan"),
                of("syscall")
            )
        });
        threads.collect::<Vec<_>>().join("\n")
    }

    fn end(&mut self) -> Result<ExitStatus, String> {
        self.child.wait().map_err(|e| format!("the end of {}: {e}", self.what))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
