//! The partitions that are read, and what they hold now.
//!
//! Only a leader knows where a partition ends. While there is none, a replica's own end may be far behind: that is
//! waited for, though not for ever, because what is left of a cluster may never have a leader again.

use std::io::{self, Write};

use forebay_client::{Client, Offset, PartitionIndex, PartitionStatus, StartAt, TimestampMs};

use super::ends::Ends;
use crate::{
    arguments::Consume,
    clock,
    failure::Failure,
    range::{From, Range, To},
    trouble,
};

/// How often a node is asked where partitions end. It takes two seconds to say that no leader answers.
const TRIES: u32 = 5;

/// What a partition is described as when nothing is the matter with it.
const OK: &str = "ok";

/// The partitions that are read, and what they hold now.
pub(super) struct Partitions {
    now: Vec<PartitionStatus>,
}

impl Partitions {
    pub(super) async fn find(client: &Client, consume: &Consume) -> Result<Self, Failure> {
        let mut now = describe(client, consume).await?;
        let chosen = &consume.partitions;
        let exists = |one: u32| now.iter().any(|status| status.partition.get() == one);
        if let Some(unknown) = chosen.iter().find(|one| !exists(**one)) {
            let (topic, count) = (&consume.topic, now.len());
            return Err(Failure::error(format!(
                "{topic} has no partition {unknown}; it has {count}, counted from 0"
            )));
        }
        let is_chosen = |status: &PartitionStatus| {
            chosen.is_empty() || chosen.contains(&status.partition.get())
        };
        now.retain(is_chosen);
        if consume.range.to == To::TodaysEnd || matches!(consume.range.from, From::BeforeEnd(_)) {
            for _ in 1..TRIES {
                if now.iter().all(is_certain) {
                    break;
                }
                now = describe(client, consume).await?;
                now.retain(is_chosen);
            }
            now.iter().filter(|status| !is_certain(status)).for_each(say_uncertain);
        }
        Ok(Self { now })
    }

    pub(super) fn ends(&self, to: To) -> Ends {
        match to {
            To::Never => Ends::Never,
            To::TodaysEnd => {
                Ends::at(self.now.iter().map(|status| (status.partition, status.committed)))
            }
            To::Offset(end) => {
                Ends::at(self.now.iter().map(|status| (status.partition, Offset::new(end))))
            }
        }
    }

    /// Where each partition begins.
    pub(super) fn starts(
        &self,
        range: Range,
    ) -> Result<Vec<(PartitionIndex, Option<StartAt>)>, Failure> {
        let start = |status: &PartitionStatus| {
            Ok(match range.from {
                From::Start => StartAt::Earliest,
                From::End => StartAt::Latest,
                From::Offset(offset) => StartAt::Offset(Offset::new(offset)),
                From::AfterStart(count) => {
                    let Some(offset) = status.earliest.get().checked_add(count) else {
                        return Err(Failure::usage(format!("no partition has {count} records")));
                    };
                    StartAt::Offset(Offset::new(offset))
                }
                From::BeforeEnd(count) => {
                    let before = status.committed.get().saturating_sub(count);
                    StartAt::Offset(Offset::new(before).max(status.earliest))
                }
                From::Ago(ago) => {
                    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                    StartAt::Timestamp(TimestampMs::new(clock::now_ms().saturating_sub(ago)))
                }
                From::TimestampMs(time) => StartAt::Timestamp(TimestampMs::new(time)),
            })
        };
        self.now.iter().map(|status| Ok((status.partition, Some(start(status)?)))).collect()
    }
}

async fn describe(client: &Client, consume: &Consume) -> Result<Vec<PartitionStatus>, Failure> {
    let described = client.admin().describe_topic(&consume.topic).await;
    Ok(described.map_err(|error| trouble::describing(&error))?.partitions)
}

fn is_certain(status: &PartitionStatus) -> bool {
    status.state == OK
}

fn say_uncertain(status: &PartitionStatus) {
    let PartitionStatus { partition, committed, state, .. } = status;
    // Whoever closed standard error does not want to know.
    let _unsaid =
        writeln!(io::stderr(), "partition {partition}, which ends at {committed}: {state}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_behind_the_last_offset_there_can_be_is_refused() {
        let status = PartitionStatus {
            partition: PartitionIndex::new(0),
            earliest: Offset::new(5),
            committed: Offset::new(9),
            size_bytes: 0,
            segments: 1,
            state: "ok".to_owned(),
        };
        let partitions = Partitions { now: vec![status] };
        let starts =
            |count| partitions.starts(Range { from: From::AfterStart(count), to: To::Never }).ok();
        let first = StartAt::Offset(Offset::new(7));
        assert_eq!(starts(2), Some(vec![(PartitionIndex::new(0), Some(first))]));
        assert_eq!(starts(u64::MAX), None);
    }
}
