//! What a simulation has met: without these figures nobody knows whether a test of crashes saw any.

/// Counts of one simulation since [`Sim::new`](super::Sim::new), over all its crashes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SimStats {
    /// Files created.
    pub creates: u64,
    /// Files opened.
    pub opens: u64,
    /// Reads issued.
    pub reads: u64,
    /// Bytes they asked for.
    pub read_bytes: u64,
    /// Writes issued.
    pub writes: u64,
    /// Bytes they carried.
    pub written_bytes: u64,
    /// Syncs of files issued.
    pub syncs: u64,
    /// Changes of a file's size issued.
    pub set_lens: u64,
    /// Renames issued.
    pub renames: u64,
    /// Links issued.
    pub links: u64,
    /// Removals issued.
    pub removes: u64,
    /// Directories asked to be made.
    pub create_dirs: u64,
    /// Syncs of directories issued.
    pub dir_syncs: u64,
    /// Questions for names: exists and list.
    pub lookups: u64,

    /// Power cuts.
    pub crashes: u64,
    /// Processes that ended or were killed, with what they wrote left in the page cache.
    pub stops: u64,
    /// Boots of the node.
    pub starts: u64,
    /// Writes that were not durable at a crash and survived whole.
    pub writes_kept: u64,
    /// Writes that a crash took.
    pub writes_dropped: u64,
    /// Writes of which a crash left some sectors.
    pub writes_torn: u64,
    /// Changes of a file's size that a crash took.
    pub sizes_dropped: u64,
    /// Directory operations that were not durable at a crash and survived.
    pub entries_kept: u64,
    /// Directory operations that a crash took.
    pub entries_dropped: u64,
    /// Operations in flight at a crash or kill.
    pub in_flight_at_crash: u64,

    /// Reads that failed by injection.
    pub read_errors: u64,
    /// Writes that failed by injection, other than for lack of space.
    pub write_errors: u64,
    /// Syncs, of files and directories, that failed by injection.
    pub sync_errors: u64,
    /// Other operations that failed by injection.
    pub other_errors: u64,
    /// Operations that found no space: by injection or by the capacity.
    pub no_space_errors: u64,
    /// Operations that took many times as long as usual.
    pub delays: u64,

    /// Polls of tasks and clients.
    pub polls: u64,
    /// Everything the scheduler picked: polls, completions, deliveries, timers.
    pub steps: u64,
    /// Messages from shard to shard.
    pub messages: u64,
    /// Tasks and clients that were spawned.
    pub spawned: u64,
    /// Virtual time that went by, in nanoseconds.
    pub virtual_ns: u64,
}

impl SimStats {
    /// Disk operations of all kinds.
    pub fn operations(&self) -> u64 {
        self.creates
            + self.opens
            + self.reads
            + self.writes
            + self.syncs
            + self.set_lens
            + self.renames
            + self.links
            + self.removes
            + self.create_dirs
            + self.dir_syncs
            + self.lookups
    }

    /// Injected errors of all kinds.
    pub fn errors(&self) -> u64 {
        self.read_errors + self.write_errors + self.sync_errors + self.other_errors + self.no_space_errors
    }

    /// Adds the counts of another simulation, so that a loop over seeds can report its sum.
    pub fn add(&mut self, other: &SimStats) {
        let SimStats {
            creates,
            opens,
            reads,
            read_bytes,
            writes,
            written_bytes,
            syncs,
            set_lens,
            renames,
            links,
            removes,
            create_dirs,
            dir_syncs,
            lookups,
            crashes,
            stops,
            starts,
            writes_kept,
            writes_dropped,
            writes_torn,
            sizes_dropped,
            entries_kept,
            entries_dropped,
            in_flight_at_crash,
            read_errors,
            write_errors,
            sync_errors,
            other_errors,
            no_space_errors,
            delays,
            polls,
            steps,
            messages,
            spawned,
            virtual_ns,
        } = self;
        let pairs = [
            (creates, other.creates),
            (opens, other.opens),
            (reads, other.reads),
            (read_bytes, other.read_bytes),
            (writes, other.writes),
            (written_bytes, other.written_bytes),
            (syncs, other.syncs),
            (set_lens, other.set_lens),
            (renames, other.renames),
            (links, other.links),
            (removes, other.removes),
            (create_dirs, other.create_dirs),
            (dir_syncs, other.dir_syncs),
            (lookups, other.lookups),
            (crashes, other.crashes),
            (stops, other.stops),
            (starts, other.starts),
            (writes_kept, other.writes_kept),
            (writes_dropped, other.writes_dropped),
            (writes_torn, other.writes_torn),
            (sizes_dropped, other.sizes_dropped),
            (entries_kept, other.entries_kept),
            (entries_dropped, other.entries_dropped),
            (in_flight_at_crash, other.in_flight_at_crash),
            (read_errors, other.read_errors),
            (write_errors, other.write_errors),
            (sync_errors, other.sync_errors),
            (other_errors, other.other_errors),
            (no_space_errors, other.no_space_errors),
            (delays, other.delays),
            (polls, other.polls),
            (steps, other.steps),
            (messages, other.messages),
            (spawned, other.spawned),
            (virtual_ns, other.virtual_ns),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}
