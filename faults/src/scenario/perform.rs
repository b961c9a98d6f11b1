//! Does what the steps of a scenario say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_checker::Event;
use forebay_format::NodeId;

use super::flip::flip_in;
use super::step::{Role, Scenario, Side, Step};
use crate::cluster::{Cluster, End, Node};
use crate::error::{RigError, within};
use crate::observe::{States, all_caught_up, falls_behind};
use crate::seed::Dice;
use crate::workload::{Recorder, Topics};

/// How long anything that a step waits for may take. A deadline, not a pause.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often is looked whether all nodes run, meanwhile.
const LOOK: Duration = Duration::from_millis(100);

/// Between two attempts of an operator.
const POLL: Duration = Duration::from_millis(200);

/// Who plays which part.
#[derive(Debug, Clone, Copy)]
struct Cast {
    leader: u32,
    follower: u32,
    other: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Performer<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) topics: &'a Topics,
    pub(crate) recorder: &'a Recorder,
    pub(crate) states: Arc<States>,
    pub(crate) dice: Dice,
    /// How often each fault was done.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// From a leader's end to the next committed write in every partition, in milliseconds.
    pub(crate) gaps_ms: Vec<u64>,
    /// What was done, and when, in milliseconds of the history.
    pub(crate) steps: Vec<String>,
    cast: Option<Cast>,
    /// Whether the last thing done was the end of a leader.
    leader_has_ended: bool,
}

impl<'a> Performer<'a> {
    pub(crate) fn new(
        cluster: &'a mut Cluster,
        (topics, recorder): (&'a Topics, &'a Recorder),
        states: Arc<States>,
        dice: Dice,
    ) -> Self {
        Self {
            cluster,
            topics,
            recorder,
            states,
            dice,
            faults: BTreeMap::new(),
            gaps_ms: Vec::new(),
            steps: Vec::new(),
            cast: None,
            leader_has_ended: false,
        }
    }

    /// All steps of a scenario, with roles given out anew.
    pub(crate) async fn perform(&mut self, scenario: &Scenario) -> Result<(), RigError> {
        self.recast().await?;
        self.note(&format!("{:?}", self.cast));
        for step in scenario.steps {
            self.note(&format!("{step:?}"));
            Box::pin(self.step(*step)).await.map_err(RigError::at(format!("at {step:?}")))?;
        }
        self.note("done");
        Ok(())
    }

    fn note(&mut self, what: &str) {
        self.steps.push(format!("{:>8} {what}", self.recorder.now_ms()));
    }

    async fn step(&mut self, step: Step) -> Result<(), RigError> {
        if Box::pin(self.wait(step)).await? {
            return Ok(());
        }
        if let Some(fault) = step.fault() {
            *self.faults.entry(fault).or_default() += 1;
        }
        self.act(step).await?;
        self.leader_has_ended =
            matches!(step, Step::Kill([Role::Leader, ..]) | Step::RevokeLease(Role::Leader));
        self.recorder.watch_writes();
        Ok(())
    }

    /// False where the step is none that waits.
    async fn wait(&mut self, step: Step) -> Result<bool, RigError> {
        match step {
            Step::UntilAnotherLeads(role) => {
                let node = NodeId::new(self.id_of(role)?);
                let another = self.states.wait_for(|newest| {
                    newest.iter().all(|state| state.leader != Some(node)).then_some(())
                });
                let what = format!("another node leads what node {node} led");
                while_all_run(self.cluster, what, another).await?;
            }
            Step::UntilWritten => {
                let what = "a write is committed in every partition".to_owned();
                let gap_ms = while_all_run(self.cluster, what, self.recorder.written()).await?;
                if self.leader_has_ended {
                    self.gaps_ms.push(gap_ms);
                }
            }
            Step::UntilAcknowledged(records) => {
                let what = format!("{records} records are acknowledged in every partition");
                while_all_run(self.cluster, what, self.recorder.acknowledged(records)).await?;
            }
            Step::UntilRefused(reasons) => {
                let what = format!("a write is refused as {}", reasons.join(" or "));
                while_all_run(self.cluster, what, self.recorder.refused(reasons)).await?;
            }
            Step::UntilCaughtUp => {
                let addresses = self.cluster.addresses();
                let level = all_caught_up(&addresses, self.topics, &self.states, PATIENCE);
                let behind = level.await.map_err(|behind| RigError::Late {
                    what: format!("all replicas have caught up; {behind}"),
                    waited: PATIENCE,
                })?;
                self.note(&format!("caught up at last: {behind}"));
            }
            Step::UntilBehind(role) => {
                let (id, addresses) = (self.id_of(role)?, self.cluster.addresses());
                let behind = falls_behind(&addresses, self.topics, id);
                Box::pin(while_all_run(self.cluster, format!("node {id} is behind"), behind))
                    .await?;
            }
            Step::UntilEnded(role) => {
                let id = self.id_of(role)?;
                let ended = self.cluster.node(id)?.ended();
                within(PATIENCE, format!("node {id} has ended"), ended).await??;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    async fn act(&mut self, step: Step) -> Result<(), RigError> {
        match step {
            Step::Recast => self.recast().await?,
            Step::Kill(roles) => {
                let ids =
                    roles.iter().map(|role| self.id_of(*role)).collect::<Result<Vec<_>, _>>()?;
                let struck = self.cluster.nodes.iter_mut().filter(|node| ids.contains(&node.id));
                Node::kill_all(struck)?;
            }
            Step::KillAll => Node::kill_all(self.cluster.nodes.iter_mut())?,
            Step::Stop(role) => self.node(role)?.stop().await?,
            Step::StartStopped => self.cluster.start_stopped().await?,
            Step::Pause(role) => self.node(role)?.pause()?,
            Step::Resume => {
                let mut paused = self.cluster.nodes.iter_mut().filter(|node| node.is_paused());
                paused.try_for_each(Node::resume)?;
            }
            Step::Cut(from, to) => self.cut(from, to)?,
            Step::Mend => self.cluster.network.mend()?,
            Step::RevokeLease(role) => {
                let key = format!("/forebay/nodes/{}", self.id_of(role)?);
                self.cluster.etcd.revoke_lease_of(&key).await?;
            }
            Step::KillEtcd => self.cluster.etcd.kill(),
            Step::StartEtcd => self.cluster.etcd.start_again().await?,
            Step::CompactEtcd => self.cluster.etcd.compact_and_defragment().await?,
            Step::SaveSnapshot => self.cluster.etcd.save_snapshot()?,
            Step::RestoreSnapshot => {
                self.cluster.etcd.restore_snapshot()?;
                self.states.store_goes_back();
                self.recorder.push_everywhere(&Event::MetadataRestored);
            }
            Step::ConfirmMetadata => {
                for place in 0..self.topics.partitions.len() {
                    let index = self.topics.partitions[place].index;
                    let name = format!("{}/{index}", self.topics.of(place).name);
                    self.confirm_metadata(&name).await?;
                }
            }
            disk => self.act_on_disk(disk)?,
        }
        Ok(())
    }

    /// There is nothing to confirm before a replica has found that the metadata went back.
    async fn confirm_metadata(&self, partition: &str) -> Result<(), RigError> {
        let mut last = None;
        let confirmed = async {
            while let Err(error) = self.cluster.operate(&["confirm-metadata", partition]) {
                last = Some(error);
                tokio::time::sleep(POLL).await;
            }
        };
        match tokio::time::timeout(PATIENCE, confirmed).await {
            Ok(()) => Ok(()),
            Err(elapsed) => Err(last.unwrap_or_else(|| RigError::at("never asked")(elapsed))),
        }
    }

    fn act_on_disk(&mut self, step: Step) -> Result<(), RigError> {
        let failed = || RigError::at("cannot change a disk");
        match step {
            Step::Wipe(role) => {
                let all = 0..self.topics.partitions.len();
                let id = self.id_of(role)?;
                all.for_each(|place| self.disk_is_lost(place, id));
                self.node(role)?.wipe()?;
            }
            Step::CopyData(role) => self.node(role)?.copy_data()?,
            Step::PutBack(role) => self.node(role)?.put_data_back()?,
            Step::Flip(role) => self.flip(role)?,
            Step::FillDisk(role) => self.node(role)?.disk()?.fill().map_err(failed())?,
            Step::EmptyDisk(role) => self.node(role)?.disk()?.empty().map_err(failed())?,
            Step::BreakDisk(role) => self.node(role)?.disk()?.break_down().map_err(failed())?,
            Step::RepairDisk(role) => self.node(role)?.disk()?.repair().map_err(failed())?,
            Step::FailFsync(role) => {
                let address = self.node(role)?.address().to_owned();
                self.cluster.operate_at(&address, &["fault", "fsync", "--count", "1"])?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Roles by the newest state of the first partition.
    async fn recast(&mut self) -> Result<(), RigError> {
        let led = self.states.wait_for(|newest| {
            let first = newest.first()?;
            let leader = first.leader?.get();
            let voters: Vec<u32> = first.voters.iter().map(|voter| voter.node.get()).collect();
            voters.contains(&leader).then_some((leader, voters))
        });
        let (leader, mut followers) = within(PATIENCE, "the first partition is led", led).await?;
        followers.retain(|node| *node != leader);
        let turn = self.dice.index(followers.len().max(1));
        let (Some(follower), Some(other)) =
            (followers.get(turn), followers.get((turn + 1) % followers.len().max(1)))
        else {
            return Err(RigError::Unusable("the first partition has no followers".to_owned()));
        };
        self.cast = Some(Cast { leader, follower: *follower, other: *other });
        Ok(())
    }

    fn id_of(&self, role: Role) -> Result<u32, RigError> {
        let cast = self.cast.ok_or_else(|| RigError::Unusable("no roles yet".to_owned()))?;
        Ok(match role {
            Role::Leader => cast.leader,
            Role::Follower => cast.follower,
            Role::OtherFollower => cast.other,
        })
    }

    fn node(&mut self, role: Role) -> Result<&mut Node, RigError> {
        let id = self.id_of(role)?;
        self.cluster.node(id)
    }

    fn cut(&self, from: Side, to: Side) -> Result<(), RigError> {
        for from in self.ends_of(from)? {
            for to in self.ends_of(to)? {
                if from != to {
                    self.cluster.network.cut(from, to)?;
                }
            }
        }
        Ok(())
    }

    fn ends_of(&self, side: Side) -> Result<Vec<End>, RigError> {
        Ok(match side {
            Side::Only(role) => vec![End::Node(self.id_of(role)?)],
            Side::Etcd => vec![End::Etcd],
            Side::Others => {
                let leader = self.id_of(Role::Leader)?;
                let others = self.cluster.nodes.iter().filter(|node| node.id != leader);
                others.map(|node| End::Node(node.id)).collect()
            }
        })
    }

    fn flip(&mut self, role: Role) -> Result<(), RigError> {
        let id = self.id_of(role)?;
        let data = self.cluster.node(id)?.data().to_owned();
        let mut flipped = 0;
        for place in 0..self.topics.partitions.len() {
            let partition = &self.topics.partitions[place];
            if !partition.replicas.contains(&id) {
                continue;
            }
            let folder = data.join(self.topics.of(place).id.to_string());
            let folder = folder.join(partition.index.to_string());
            if flip_in(&folder).map_err(RigError::at("cannot flip a byte"))? {
                self.disk_is_lost(place, id);
                flipped += 1;
            }
        }
        if flipped == 0 {
            return Err(RigError::Unusable("no segment holds enough to flip a byte in".to_owned()));
        }
        Ok(())
    }

    /// What the voter of this node held of a partition is gone.
    fn disk_is_lost(&self, place: usize, id: u32) {
        let Some(newest) = self.states.newest() else { return };
        let node = NodeId::new(id);
        for voter in newest[place].voters.iter().filter(|voter| voter.node == node) {
            self.recorder.push(place, Event::DiskLost { node, replica: voter.replica });
        }
    }
}

/// Waits for something, as long as no node ends by itself.
async fn while_all_run<T>(
    cluster: &mut Cluster,
    what: String,
    waiting: impl Future<Output = T>,
) -> Result<T, RigError> {
    let mut looks = tokio::time::interval(LOOK);
    let mut waiting = std::pin::pin!(waiting);
    within(PATIENCE, what, async {
        loop {
            tokio::select! {
                done = &mut waiting => return Ok(done),
                _ = looks.tick() => cluster.all_still_run()?,
            }
        }
    })
    .await?
}
