//! The server as a subject: the recording runs the workload on it, and the judge starts it on what
//! a cut left, reads everything, writes a little more, and reads that too.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_client::Client;

use super::fact::{Fact, Incarnation, TopicPlan};
use super::inspection::inspect;
use super::promise::Promises;
use super::recorder::Recorder;
use super::retry::{Retry, retries};
use super::server::{Address, Server, ServerProgram, StartError};
use super::stream::{Batching, Sender, Sizes, Streams};
use super::verdict::compare;
use super::{topics, workload};
use crate::disk::{DiskClock, Position};
use crate::seed::Dice;
use crate::subject::{Loss, RigError, Stage, Stamped, Subject, Verdict, with_causes};

/// Records that are written to each partition after a cut.
const RECORDS_AFTER_CUT_MAX: u64 = 20;
/// After a cut, everything that is asked of the server is done within this time.
const JUDGED_WITHIN: Duration = Duration::from_secs(90);

/// The real server.
#[derive(Debug)]
pub(crate) struct Served {
    /// Makes the recording, perhaps with a mistake on purpose.
    pub(crate) recorded: ServerProgram,
    /// Is started on what the cuts left.
    pub(crate) judged: ServerProgram,
}

impl Subject for Served {
    type Fact = Fact;

    fn record(&self, stage: &Stage<'_>, clock: &DiskClock) -> Result<Vec<Stamped<Fact>>, RigError> {
        let (recorder, history) = Recorder::new(clock.clone());
        block_on(workload::run(stage, &self.recorded, &recorder))?;
        Ok(history.into_facts())
    }

    fn judge(
        &self,
        stage: &Stage<'_>,
        facts: &[Stamped<Fact>],
        cut: Position,
    ) -> Result<Verdict, RigError> {
        let mut trial = Trial {
            program: &self.judged,
            stage,
            address: Address::unused(),
            facts: facts.to_vec(),
            cut,
            dice: Dice::for_part(stage.seed, cut.get()),
            verdict: Verdict::default(),
        };
        let judged = block_on(async {
            tokio::select! {
                () = stage.interrupt.raised() => Err(RigError::Interrupted),
                judged = tokio::time::timeout(JUDGED_WITHIN, trial.run()) => Ok(judged),
            }
        })?;
        match judged {
            Ok(Ok(()) | Err(Ended::Lost)) => {}
            Ok(Err(Ended::Rig(error))) => return Err(error),
            Err(_elapsed) => {
                trial.lose("hangs", format!("not done after {JUDGED_WITHIN:?}"));
            }
        }
        Ok(trial.verdict)
    }

    fn sort(fact: &Fact) -> &'static str {
        fact.sort()
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, RigError>>) -> Result<T, RigError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RigError::at("no runtime"))?
        .block_on(work)
}

/// Why a trial is over early.
enum Ended {
    /// Something is lost; more would only repeat it.
    Lost,
    Rig(RigError),
}

impl From<RigError> for Ended {
    fn from(error: RigError) -> Self {
        Self::Rig(error)
    }
}

/// One cut being judged.
struct Trial<'a> {
    program: &'a ServerProgram,
    stage: &'a Stage<'a>,
    address: Address,
    /// Those of the recording, and those of this trial behind them.
    facts: Vec<Stamped<Fact>>,
    cut: Position,
    dice: Dice,
    verdict: Verdict,
}

impl Trial<'_> {
    async fn run(&mut self) -> Result<(), Ended> {
        let server = self.start().await?;
        self.look().await?;
        self.write_more().await?;
        self.look().await?;
        // The next start is the other one: trusting the clean stop, or recovering once more.
        if self.dice.percent(50) {
            if let Err(unclean) = server.stop().await {
                return self.end_with("unclean-stop", unclean);
            }
        } else {
            server.kill().map_err(RigError::at("cannot kill the server"))?;
        }
        let server = self.start().await?;
        self.look().await?;
        match server.stop().await {
            Ok(()) => Ok(()),
            Err(unclean) => self.end_with("unclean-stop", unclean),
        }
    }

    fn lose(&mut self, kind: &'static str, detail: String) {
        self.verdict.losses.push(Loss { kind, detail });
    }

    fn end_with<T>(&mut self, kind: &'static str, detail: String) -> Result<T, Ended> {
        self.lose(kind, detail);
        Err(Ended::Lost)
    }

    async fn start(&mut self) -> Result<Server, Ended> {
        let Stage { data, process_log, .. } = self.stage;
        match Server::start(self.program, data, self.address, process_log).await {
            Ok(server) => Ok(server),
            Err(error @ StartError::NotReady { .. }) => {
                self.end_with("does-not-start", error.to_string())
            }
            Err(error) => Err(RigError::at("no server for a cut")(error).into()),
        }
    }

    /// Reads everything and compares it with the promises.
    async fn look(&mut self) -> Result<(), Ended> {
        let client = self.client()?;
        let seen = match inspect(&client).await {
            Ok(seen) => seen,
            Err(error) => return self.end_with("does-not-answer", with_causes(&error)),
        };
        let promises = Promises::at(&self.facts, self.cut);
        let verdict = compare(self.stage.seed, &promises, &seen);
        self.verdict.promises_checked += verdict.promises_checked;
        self.verdict.losses.extend(verdict.losses);
        if self.verdict.losses.is_empty() { Ok(()) } else { Err(Ended::Lost) }
    }

    /// Sends again what was under way at the cut, makes one more topic, and appends to every
    /// partition there is.
    async fn write_more(&mut self) -> Result<(), Ended> {
        let client = self.client()?;
        // Everything from here on is promised as of the cut.
        let (recorder, history) = Recorder::new(DiskClock::stopped_at(self.cut));
        let mut there = self.topics_there(&client).await?;
        for retry in retries(&self.facts, self.cut) {
            let Some(topic) = there.get(&retry.incarnation) else { continue };
            let sent = self.send_again(&client, &recorder, &topic.name, retry).await;
            self.unless_refused(sent)?;
        }
        let one_more = TopicPlan {
            incarnation: Incarnation(u64::MAX),
            name: "after-the-cut".to_owned(),
            partitions: 2,
            retention: None,
        };
        topics::create(&client, &recorder, &one_more).await?;
        there.insert(one_more.incarnation, one_more);
        for topic in there.values() {
            let sent = self.append(&client, &recorder, topic).await;
            self.unless_refused(sent)?;
        }
        self.facts.extend(history.into_facts());
        Ok(())
    }

    /// The topics that exist now.
    async fn topics_there(
        &self,
        client: &Client,
    ) -> Result<BTreeMap<Incarnation, TopicPlan>, RigError> {
        let listed = client.admin().list_topics().await;
        let listed = listed.map_err(RigError::at("topics cannot be listed"))?;
        let promises = Promises::at(&self.facts, self.cut);
        let there = promises.topics.into_iter().filter(|(_, topic)| {
            listed.iter().any(|listed| topic.topic_id.as_ref() == Some(&listed.id))
        });
        Ok(there.map(|(incarnation, topic)| (incarnation, topic.plan)).collect())
    }

    /// One batch at a time, so that each is the batch that it was.
    async fn send_again(
        &self,
        client: &Client,
        recorder: &Recorder,
        topic: &str,
        retry: Retry,
    ) -> Result<(), RigError> {
        let seed = self.stage.seed;
        let sender = (retry.sender, Batching::UntilAcknowledged);
        let mut streams = Streams::open(client, recorder, topic, seed, sender).await?;
        for (partition, batches) in retry.batches {
            for count in batches {
                streams.send(partition, count.into()).await?;
                streams.acknowledged().await?;
            }
        }
        streams.finish().await
    }

    async fn append(
        &mut self,
        client: &Client,
        recorder: &Recorder,
        topic: &TopicPlan,
    ) -> Result<(), RigError> {
        let sender = Sender::new(recorder, topic, Sizes::Small, &mut self.dice);
        let sender = (sender, Batching::AsItComes);
        let seed = self.stage.seed;
        let mut streams = Streams::open(client, recorder, &topic.name, seed, sender).await?;
        for partition in 0..topic.partitions {
            streams.send(partition, 1 + self.dice.below(RECORDS_AFTER_CUT_MAX)).await?;
        }
        streams.finish().await
    }

    /// A server that does not take records after a cut is a loss, not a fault of the rig.
    fn unless_refused(&mut self, sent: Result<(), RigError>) -> Result<(), Ended> {
        match sent {
            Err(RigError::Interrupted) => Err(RigError::Interrupted.into()),
            Err(error) => self.end_with("does-not-append", with_causes(&error)),
            Ok(()) => Ok(()),
        }
    }

    fn client(&self) -> Result<Client, Ended> {
        Ok(self.address.client().map_err(RigError::at("no client"))?)
    }
}
