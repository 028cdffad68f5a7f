//! Directories: which names there are, and which of them a crash cannot take.
//!
//! Paths are texts without a leading slash; `""` is the root, which always exists. Each directory has two maps: what a
//! reader sees and what is durable. In between stand the completed operations that are not durable, in order.
//!
//! 1. An operation sets or clears one name (create, link, remove, make a directory), or clears one and sets another (rename):
//!    its effects go together.
//! 2. It *depends* on each operation before it that touches one of its names, or that makes a directory it lies in.
//! 3. `sync_dir` marks the operations in that directory, and those that they share a name with, as synced. A synced operation
//!    becomes durable once everything it depends on is: an entry in a directory whose own entry was never synced is not safe.
//! 4. A crash keeps an operation only if it keeps everything that the operation depends on.
//! 5. A rename between two directories is synced with either of them, because it is one.

use std::collections::BTreeMap;
use std::rc::Rc;

use libc::{EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR};

use super::super::rng::Rng;
use super::super::stats::SimStats;
use super::Inode;
use super::fate::Mood;

#[derive(Clone)]
pub(super) enum Target {
    File(Rc<Inode>),
    Dir,
}

#[derive(Default)]
struct Dir {
    seen: BTreeMap<String, Target>,
    durable: BTreeMap<String, Target>,
}

struct Effect {
    dir: String,
    name: String,
    target: Option<Target>,
}

struct Operation {
    seq: u64,
    synced: bool,
    doubtful: bool,
    first: Effect,
    /// The other half of a rename.
    second: Option<Effect>,
}

pub(super) struct Names {
    dirs: BTreeMap<String, Dir>,
    pending: Vec<Operation>,
}

/// `path` as this module wants it; `None` if it climbs above the root or is not text.
pub(super) fn normal(path: &std::path::Path) -> Option<String> {
    use std::path::Component;
    let mut out = String::with_capacity(path.as_os_str().len());
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                if !out.is_empty() {
                    out.push('/');
                }
                out.push_str(name.to_str()?);
            }
            Component::ParentDir => {
                if out.is_empty() {
                    return None;
                }
                out.truncate(out.rfind('/').unwrap_or(0));
            }
            Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

/// Directory and name of a path that is not the root.
fn split(path: &str) -> Option<(&str, &str)> {
    match path.rsplit_once('/') {
        Some(parts) => Some(parts),
        None if path.is_empty() => None,
        None => Some(("", path)),
    }
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

/// Whether `dir` is `ancestor` or lies below it.
fn within(dir: &str, ancestor: &str) -> bool {
    dir.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Operation {
    fn effects(&self) -> impl Iterator<Item = &Effect> {
        std::iter::once(&self.first).chain(&self.second)
    }

    fn shares_name(&self, other: &Operation) -> bool {
        self.effects()
            .any(|a| other.effects().any(|b| a.name == b.name && a.dir == b.dir))
    }

    fn depends_on(&self, before: &Operation) -> bool {
        if self.shares_name(before) {
            return true;
        }
        if !matches!(before.first.target, Some(Target::Dir)) {
            return false;
        }
        let made = join(&before.first.dir, &before.first.name);
        self.effects().any(|effect| within(&effect.dir, &made))
    }
}

impl Names {
    pub(super) fn new() -> Self {
        Names {
            dirs: BTreeMap::from([(String::new(), Dir::default())]),
            pending: Vec::new(),
        }
    }

    /// What `path` names, as readers see it.
    pub(super) fn find(&self, path: &str) -> Option<&Target> {
        let Some((dir, name)) = split(path) else {
            return Some(&Target::Dir);
        };
        self.dirs.get(dir)?.seen.get(name)
    }

    pub(super) fn file(&self, path: &str) -> Result<&Rc<Inode>, i32> {
        match self.find(path) {
            Some(Target::File(inode)) => Ok(inode),
            Some(Target::Dir) => Err(EISDIR),
            None => Err(self.why_missing(path)),
        }
    }

    /// Not there, or below something that is a file.
    fn why_missing(&self, path: &str) -> i32 {
        let mut above = path;
        while let Some((dir, _)) = split(above) {
            if matches!(self.find(dir), Some(Target::File(_))) {
                return ENOTDIR;
            }
            above = dir;
        }
        ENOENT
    }

    fn parent<'p>(&self, path: &'p str) -> Result<(&'p str, &'p str), i32> {
        let (dir, name) = split(path).ok_or(EISDIR)?;
        if self.dirs.contains_key(dir) {
            Ok((dir, name))
        } else {
            Err(self.why_missing(path))
        }
    }

    /// Checks that a file can be made at `path`.
    pub(super) fn check_new(&self, path: &str) -> Result<(), i32> {
        self.parent(path)?;
        if self.find(path).is_some() { Err(EEXIST) } else { Ok(()) }
    }

    /// Enters `inode` as `path`, which [`check_new`](Self::check_new) has admitted.
    pub(super) fn create(&mut self, seq: u64, path: &str, inode: Rc<Inode>, doubtful: bool) -> Result<(), i32> {
        self.check_new(path)?;
        let (dir, name) = self.parent(path)?;
        self.push(seq, doubtful, effect(dir, name, Some(Target::File(inode))), None);
        Ok(())
    }

    pub(super) fn link(&mut self, seq: u64, from: &str, to: &str, doubtful: bool) -> Result<(), i32> {
        let inode = Rc::clone(self.file(from)?);
        self.create(seq, to, inode, doubtful)
    }

    pub(super) fn rename(&mut self, seq: u64, from: &str, to: &str, doubtful: bool) -> Result<(), i32> {
        // Directories are not renamed by this engine; the model stays small without it.
        let inode = match self.file(from) {
            Ok(inode) => Rc::clone(inode),
            Err(EISDIR) => return Err(EINVAL),
            Err(errno) => return Err(errno),
        };
        let (to_dir, to_name) = self.parent(to)?;
        match self.find(to) {
            Some(Target::Dir) => return Err(EISDIR),
            // Two names of one file: nothing happens, says POSIX.
            Some(Target::File(old)) if Rc::ptr_eq(old, &inode) => return Ok(()),
            _ => {}
        }
        let (from_dir, from_name) = self.parent(from)?;
        let cleared = effect(from_dir, from_name, None);
        let set = effect(to_dir, to_name, Some(Target::File(inode)));
        self.push(seq, doubtful, cleared, Some(set));
        Ok(())
    }

    pub(super) fn remove(&mut self, seq: u64, path: &str, doubtful: bool) -> Result<(), i32> {
        self.file(path)?;
        let (dir, name) = self.parent(path)?;
        self.push(seq, doubtful, effect(dir, name, None), None);
        Ok(())
    }

    /// Makes `path` and the directories above it that are not there.
    pub(super) fn create_dirs(&mut self, next_seq: &mut u64, path: &str, doubtful: bool) -> Result<(), i32> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let path = &path[..end];
            match self.find(path) {
                Some(Target::Dir) => {}
                Some(Target::File(_)) => return Err(if end == path.len() { EEXIST } else { ENOTDIR }),
                None => {
                    let (dir, name) = self.parent(path)?;
                    *next_seq += 1;
                    self.push(*next_seq, doubtful, effect(dir, name, Some(Target::Dir)), None);
                    self.dirs.insert(path.to_owned(), Dir::default());
                }
            }
        }
        Ok(())
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<(String, Target)>, i32> {
        let Some(dir) = self.dirs.get(path) else {
            return Err(if self.find(path).is_some() {
                ENOTDIR
            } else {
                self.why_missing(path)
            });
        };
        Ok(dir
            .seen
            .iter()
            .map(|(name, target)| (name.clone(), target.clone()))
            .collect())
    }

    fn push(&mut self, seq: u64, doubtful: bool, first: Effect, second: Option<Effect>) {
        let operation = Operation {
            seq,
            synced: false,
            doubtful,
            first,
            second,
        };
        for effect in operation.effects() {
            let dir = self
                .dirs
                .get_mut(&effect.dir)
                .expect("operations are made in directories that are there");
            set(&mut dir.seen, effect);
        }
        self.pending.push(operation);
    }

    /// A sync of directory `path` completed that was issued when `upto` was the last operation.
    pub(super) fn sync(&mut self, path: &str, upto: u64) -> Result<(), i32> {
        self.list_check(path)?;
        for at in (0..self.pending.len()).rev() {
            let (before, rest) = self.pending.split_at_mut(at);
            let operation = &mut rest[0];
            let in_dir = operation.seq <= upto && operation.effects().any(|effect| effect.dir == path);
            operation.synced |= in_dir && !operation.doubtful;
            if operation.synced {
                for earlier in before.iter_mut().filter(|earlier| earlier.shares_name(operation)) {
                    earlier.synced = true;
                }
            }
        }
        self.settle();
        Ok(())
    }

    /// A sync of directory `path` failed: what it should have covered is never sure again.
    pub(super) fn doubt(&mut self, path: &str, upto: u64) {
        for operation in self
            .pending
            .iter_mut()
            .filter(|operation| operation.seq <= upto && !operation.synced)
        {
            let in_dir = operation.effects().any(|effect| effect.dir == path);
            operation.doubtful |= in_dir;
        }
    }

    /// That `path` is a directory.
    pub(super) fn list_check(&self, path: &str) -> Result<(), i32> {
        if self.dirs.contains_key(path) {
            Ok(())
        } else {
            self.list(path).map(drop)
        }
    }

    /// Makes durable what is synced and depends on nothing that is not.
    fn settle(&mut self) {
        let mut left: Vec<Operation> = Vec::new();
        for operation in std::mem::take(&mut self.pending) {
            if operation.synced && !left.iter().any(|before| operation.depends_on(before)) {
                self.fold(&operation);
            } else {
                left.push(operation);
            }
        }
        self.pending = left;
    }

    fn fold(&mut self, operation: &Operation) {
        for effect in operation.effects() {
            let dir = self.dirs.get_mut(&effect.dir).expect("directories stay until a crash");
            set(&mut dir.durable, effect);
        }
    }

    /// Decides which operations were on the device when the power went, and forgets what cannot be reached any more.
    pub(super) fn crash(&mut self, mood: &Mood, rng: &Rng, counts: &mut SimStats) {
        let mut dropped: Vec<Operation> = Vec::new();
        for operation in std::mem::take(&mut self.pending) {
            let lost = dropped.iter().any(|before| operation.depends_on(before));
            if !lost && (operation.synced || mood.keeps_entry(operation.doubtful, rng)) {
                counts.entries_kept += u64::from(!operation.synced);
                self.fold(&operation);
            } else {
                counts.entries_dropped += 1;
                dropped.push(operation);
            }
        }
        let mut reached = vec![String::new()];
        let mut next = 0;
        while let Some(path) = reached.get(next).cloned() {
            let dir = &self.dirs[&path];
            let below = dir.durable.iter().filter(|(_, target)| matches!(target, Target::Dir));
            reached.extend(below.map(|(name, _)| join(&path, name)));
            next += 1;
        }
        reached.sort_unstable();
        self.dirs.retain(|path, _| reached.binary_search(path).is_ok());
        for dir in self.dirs.values_mut() {
            dir.seen = dir.durable.clone();
        }
    }

    /// Enters a file and the directories above it as durable.
    pub(super) fn place(&mut self, path: &str, inode: Rc<Inode>) {
        let (dir, name) = split(path).expect("the root is no file");
        self.place_dirs(dir);
        let entry = effect(dir, name, Some(Target::File(inode)));
        self.place_effect(&entry);
    }

    /// Makes directories that are durable at once.
    pub(super) fn place_dirs(&mut self, path: &str) {
        if let Some((above, name)) = split(path) {
            self.place_dirs(above);
            self.place_effect(&effect(above, name, Some(Target::Dir)));
            self.dirs.entry(path.to_owned()).or_default();
        }
    }

    /// Takes a file away for good. False if there is none.
    pub(super) fn take(&mut self, path: &str) -> bool {
        if self.file(path).is_err() {
            return false;
        }
        let (dir, name) = split(path).expect("the root is no file");
        self.place_effect(&effect(dir, name, None));
        true
    }

    fn place_effect(&mut self, placed: &Effect) {
        // An older operation on the name that has yet to become durable must not undo this.
        self.pending.retain(|operation| {
            !operation
                .effects()
                .any(|e| e.dir == placed.dir && e.name == placed.name)
        });
        let dir = self.dirs.get_mut(&placed.dir).expect("made before");
        set(&mut dir.seen, placed);
        set(&mut dir.durable, placed);
    }

    /// All files that readers see, in order of their paths, and those that only a crash would bring back (without a path).
    pub(super) fn files(&self) -> Vec<(String, Rc<Inode>)> {
        let mut out = Vec::new();
        for (path, dir) in &self.dirs {
            for (name, target) in &dir.seen {
                if let Target::File(inode) = target {
                    out.push((join(path, name), Rc::clone(inode)));
                }
            }
        }
        out.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        out
    }

    /// Every file that has a durable name.
    pub(super) fn durable_files(&self) -> impl Iterator<Item = &Rc<Inode>> {
        self.dirs
            .values()
            .flat_map(|dir| dir.durable.values())
            .filter_map(|target| match target {
                Target::File(inode) => Some(inode),
                Target::Dir => None,
            })
    }
}

fn effect(dir: &str, name: &str, target: Option<Target>) -> Effect {
    Effect {
        dir: dir.to_owned(),
        name: name.to_owned(),
        target,
    }
}

fn set(map: &mut BTreeMap<String, Target>, effect: &Effect) {
    match &effect.target {
        Some(target) => drop(map.insert(effect.name.clone(), target.clone())),
        None => drop(map.remove(&effect.name)),
    }
}
