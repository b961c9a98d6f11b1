//! The vocabulary of scenarios.

/// Who a fault is for. Roles are given out when a scenario begins, by what the first partition's state says, and
/// stay with their nodes until [`Step::Recast`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Leader,
    /// A follower; which, the seed says.
    Follower,
    /// The next one.
    OtherFollower,
}

/// One end of a link that is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Only(Role),
    /// Every node but the leader.
    Others,
    Etcd,
}

/// What is done, or waited for, next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Roles are given out anew.
    Recast,
    /// SIGKILL, to all of them at the same moment.
    Kill(&'static [Role]),
    /// The same to every node.
    KillAll,
    /// SIGTERM, which has to end well.
    Stop(Role),
    /// Every node that does not run starts, and answers.
    StartStopped,
    /// SIGSTOP.
    Pause(Role),
    /// SIGCONT to whoever stands still.
    Resume,
    /// Nothing that the first sends reaches the second any more.
    Cut(Side, Side),
    /// Every link is whole.
    Mend,
    /// etcd revokes the lease of a node that lives.
    RevokeLease(Role),
    /// SIGKILL to etcd.
    KillEtcd,
    StartEtcd,
    /// etcd forgets all revisions but the last, and gives their room back.
    CompactEtcd,
    SaveSnapshot,
    /// etcd, which is down, begins again from the snapshot.
    RestoreSnapshot,
    /// An operator says of every partition that its state is right as the replicas remember it.
    ConfirmMetadata,
    /// Everything that a node, which is down, has stored is gone.
    Wipe(Role),
    /// What a node, which is down, has stored is remembered.
    CopyData(Role),
    /// It has stored what was remembered, and nothing since.
    PutBack(Role),
    /// A byte of each log of a node, which is down, is another one.
    Flip(Role),
    /// A node's disk has no room.
    FillDisk(Role),
    /// It has room again.
    EmptyDisk(Role),
    /// A node's disk fails whatever takes a new block.
    BreakDisk(Role),
    /// The disk of a node, which is down, is whole again.
    RepairDisk(Role),
    /// The next fsync of a node fails.
    FailFsync(Role),
    /// Waits until another node leads what this one led.
    UntilAnotherLeads(Role),
    /// Waits until in each partition a write that was sent later is committed.
    UntilWritten,
    /// Waits until so many records of each partition were acknowledged.
    UntilAcknowledged(u64),
    /// Waits until a write is refused for one of these reasons.
    UntilRefused(&'static [&'static str]),
    /// Waits until all replicas have everything, and are in sync.
    UntilCaughtUp,
    /// Waits until a node lacks much of the first partition.
    UntilBehind(Role),
    /// Waits until a node has ended by itself.
    UntilEnded(Role),
}

impl Step {
    /// What it is called in reports; nothing for what is no fault.
    pub(crate) const fn fault(self) -> Option<&'static str> {
        Some(match self {
            Self::Kill([Role::Leader]) => "kill -9 of a leader",
            Self::Kill([_]) => "kill -9 of a follower",
            Self::Kill(_) => "kill -9 of two at once",
            Self::KillAll => "kill -9 of all",
            Self::Stop(_) => "stop",
            Self::Pause(_) => "SIGSTOP",
            Self::Cut(..) => "link cut one way",
            Self::RevokeLease(_) => "lease revoked",
            Self::KillEtcd => "kill -9 of etcd",
            Self::CompactEtcd => "etcd compacted and defragmented",
            Self::RestoreSnapshot => "etcd restored from an older snapshot",
            Self::Wipe(_) => "disk wiped",
            Self::PutBack(_) => "data put back",
            Self::Flip(_) => "byte flipped",
            Self::FillDisk(_) => "disk full",
            Self::BreakDisk(_) => "disk fails",
            Self::FailFsync(_) => "fsync fails",
            _ => return None,
        })
    }
}

/// What a scenario needs that not every machine or cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) nodes: u32,
    /// Links that can be cut.
    pub(crate) links: bool,
    /// Small disks.
    pub(crate) disks: bool,
    /// A command of `forebay cluster`.
    pub(crate) command: Option<&'static str>,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// For the command line.
    pub(crate) name: &'static str,
    /// What is shown when it passes.
    pub(crate) claim: &'static str,
    pub(crate) needs: Needs,
    pub(crate) steps: &'static [Step],
    /// Ends with partitions that take no writes, until an operator comes.
    pub(crate) ends_read_only: bool,
}
