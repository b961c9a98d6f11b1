//! The protocol's messages as they travel: from and to the generated types. Bytes of a peer are not
//! trusted: what does not make sense is an error that says what was found.

use bytes::Bytes;
use forebay_format::{
    BatchMeta, Epoch, EpochStart, EpochTable, LogState, Offset, PartitionId, PartitionIndex,
    Position, ReplicaId, SnapshotPoint, TimestampMs, TopicId, decode_snapshot,
};
use forebay_proto::v1;
use forebay_proto::v1::peer_message::Message as Wire;
use forebay_replication::metadata::UncleanElection;
use forebay_replication::{LogReport, Message};

/// Why a message of a peer was not understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("{what} must have {expected} bytes, found {found}")]
    Length { what: &'static str, expected: usize, found: usize },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("epoch {epoch} from offset {start} does not follow the epoch before it")]
    Epochs { epoch: u64, start: u64 },
    #[error("producers: {0}")]
    Producers(#[from] forebay_format::FileError),
    #[error("the log state ends at {end}, and the producers' at {producers}")]
    Start { end: Offset, producers: Offset },
}

/// A message of `partition`. Its batches travel beside it.
pub(super) fn encode(partition: PartitionId, message: &Message) -> v1::PeerMessage {
    v1::PeerMessage {
        topic_id: Bytes::copy_from_slice(&partition.topic.to_bytes()),
        partition: partition.partition.get(),
        epoch: message.epoch().get(),
        message: Some(content(message)),
    }
}

fn content(message: &Message) -> Wire {
    match message {
        Message::Fence { established, state_version, .. } => {
            Wire::Fence(v1::Fence { established: *established, state_version: *state_version })
        }
        Message::Fenced { report, .. } => Wire::Fenced(v1::Fenced {
            replica_id: id(report.replica),
            position: Some(at(report.position)),
            log_start: report.log_start.get(),
            epochs: epochs(&report.epochs),
            committed: report.committed.get(),
            state_version: report.state_version,
        }),
        Message::Refused { promised, .. } => {
            Wire::Refused(v1::Refused { promised: promised.get() })
        }
        Message::Fetch { replica, after, .. } => {
            Wire::Fetch(v1::Fetch { replica_id: id(*replica), after: Some(at(*after)) })
        }
        Message::Fetched { replica, after, .. } => {
            Wire::Fetched(v1::Fetched { replica_id: id(*replica), after: Some(at(*after)) })
        }
        Message::Match { asked, common, unclean, .. } => Wire::Match(v1::Match {
            asked: Some(at(*asked)),
            common: Some(at(*common)),
            unclean: unclean.iter().map(election).collect(),
        }),
        Message::Start { asked, at: state, .. } => Wire::Start(v1::Start {
            asked: Some(at(*asked)),
            log_start: state.log_start.get(),
            end: state.end.get(),
            epochs: epochs(&state.epochs),
            last_header_crc: state.last_header_crc,
            last_append_time: state.last_append_time.get(),
            producers: state.producers.encode_snapshot(point(state)).into(),
        }),
        Message::Append { after, committed, log_start, state_version, .. } => {
            Wire::Append(v1::Append {
                after: Some(at(*after)),
                committed: Some(at(*committed)),
                log_start: log_start.get(),
                state_version: *state_version,
            })
        }
        Message::Appended { replica, appended, durable, .. } => Wire::Appended(v1::Appended {
            replica_id: id(*replica),
            appended: Some(at(*appended)),
            durable: Some(at(*durable)),
        }),
        Message::NotMatched { .. } => Wire::NotMatched(v1::NotMatched {}),
    }
}

/// The partition that a message is about.
pub(super) fn partition(message: &v1::PeerMessage) -> Result<PartitionId, WireError> {
    let topic = TopicId::from_bytes(sixteen("topic_id", &message.topic_id)?);
    Ok(PartitionId::new(topic, PartitionIndex::new(message.partition)))
}

/// A message, with the batches that came beside it.
pub(super) fn decode(
    message: v1::PeerMessage,
    batches: Vec<BatchMeta>,
) -> Result<Message, WireError> {
    let epoch = Epoch::new(message.epoch);
    Ok(match message.message.ok_or(WireError::Missing("message"))? {
        Wire::Fence(v1::Fence { established, state_version }) => {
            Message::Fence { epoch, established, state_version }
        }
        Wire::Fenced(fenced) => {
            let report = LogReport {
                replica: replica(&fenced.replica_id)?,
                position: position("position", fenced.position)?,
                log_start: Offset::new(fenced.log_start),
                epochs: table(&fenced.epochs)?,
                committed: Offset::new(fenced.committed),
                state_version: fenced.state_version,
            };
            Message::Fenced { epoch, report: Box::new(report) }
        }
        Wire::Refused(refused) => {
            Message::Refused { epoch, promised: Epoch::new(refused.promised) }
        }
        Wire::Fetch(fetch) => Message::Fetch {
            epoch,
            replica: replica(&fetch.replica_id)?,
            after: position("after", fetch.after)?,
        },
        Wire::Fetched(fetched) => Message::Fetched {
            epoch,
            replica: replica(&fetched.replica_id)?,
            after: position("after", fetched.after)?,
            batches,
        },
        Wire::Match(found) => Message::Match {
            epoch,
            asked: position("asked", found.asked)?,
            common: position("common", found.common)?,
            unclean: found.unclean.into_iter().map(unclean).collect::<Result<_, _>>()?,
        },
        Wire::Start(start) => Message::Start {
            epoch,
            asked: position("asked", start.asked)?,
            at: Box::new(state(&start)?),
        },
        Wire::Append(append) => Message::Append {
            epoch,
            after: position("after", append.after)?,
            batches,
            committed: position("committed", append.committed)?,
            log_start: Offset::new(append.log_start),
            state_version: append.state_version,
        },
        Wire::Appended(appended) => Message::Appended {
            epoch,
            replica: replica(&appended.replica_id)?,
            appended: position("appended", appended.appended)?,
            durable: position("durable", appended.durable)?,
        },
        Wire::NotMatched(v1::NotMatched {}) => Message::NotMatched { epoch },
    })
}

/// 16 bytes of a field that must have as many.
pub(super) fn sixteen(what: &'static str, bytes: &[u8]) -> Result<[u8; 16], WireError> {
    let found = bytes.len();
    bytes.try_into().map_err(|_length| WireError::Length { what, expected: 16, found })
}

fn id(replica: ReplicaId) -> Bytes {
    Bytes::copy_from_slice(&replica.to_bytes())
}

fn replica(bytes: &[u8]) -> Result<ReplicaId, WireError> {
    sixteen("replica_id", bytes).map(ReplicaId::from_bytes)
}

fn at(position: Position) -> v1::LogPosition {
    v1::LogPosition { epoch: position.epoch.get(), end: position.end.get() }
}

fn position(what: &'static str, wire: Option<v1::LogPosition>) -> Result<Position, WireError> {
    let v1::LogPosition { epoch, end } = wire.ok_or(WireError::Missing(what))?;
    Ok(Position::new(Epoch::new(epoch), Offset::new(end)))
}

fn election(unclean: &UncleanElection) -> v1::UncleanElection {
    let UncleanElection { epoch, kept, lost_upto } = unclean;
    v1::UncleanElection { epoch: epoch.get(), kept: Some(at(*kept)), lost_upto: lost_upto.get() }
}

fn unclean(wire: v1::UncleanElection) -> Result<UncleanElection, WireError> {
    let (epoch, lost_upto) = (Epoch::new(wire.epoch), Offset::new(wire.lost_upto));
    Ok(UncleanElection { epoch, kept: position("kept", wire.kept)?, lost_upto })
}

fn epochs(table: &EpochTable) -> Vec<v1::EpochEntry> {
    let entry = |it: &EpochStart| v1::EpochEntry { epoch: it.epoch.get(), start: it.start.get() };
    table.entries().iter().map(entry).collect()
}

fn table(wire: &[v1::EpochEntry]) -> Result<EpochTable, WireError> {
    let mut table = EpochTable::new();
    for &v1::EpochEntry { epoch, start } in wire {
        let entry = EpochStart { epoch: Epoch::new(epoch), start: Offset::new(start) };
        if !table.push(entry) {
            return Err(WireError::Epochs { epoch, start });
        }
    }
    Ok(table)
}

fn point(state: &LogState) -> SnapshotPoint {
    SnapshotPoint { base_offset: state.end, previous_header_crc: state.last_header_crc }
}

fn state(wire: &v1::Start) -> Result<LogState, WireError> {
    let (found, producers) = decode_snapshot(&wire.producers)?;
    let state = LogState {
        log_start: Offset::new(wire.log_start),
        end: Offset::new(wire.end),
        epochs: table(&wire.epochs)?,
        last_header_crc: wire.last_header_crc,
        last_append_time: TimestampMs::new(wire.last_append_time),
        producers,
    };
    if found != point(&state) {
        return Err(WireError::Start { end: state.end, producers: found.base_offset });
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use forebay_format::limits::EPOCHS_PER_SEGMENT_HEADER_MAX;
    use forebay_format::{
        ClientHeader, Codec, LeaderFields, ProducerEpoch, ProducerId, ProducerTable, Sequence,
    };
    use proptest::collection::vec;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn any_position() -> impl Strategy<Value = Position> {
        any::<(u64, u64)>()
            .prop_map(|(epoch, end)| Position::new(Epoch::new(epoch), Offset::new(end)))
    }

    fn any_replica() -> impl Strategy<Value = ReplicaId> {
        any::<[u8; 16]>().prop_map(ReplicaId::from_bytes)
    }

    fn any_unclean() -> impl Strategy<Value = UncleanElection> {
        let parts = (any::<u64>(), any_position(), any::<u64>());
        parts.prop_map(|(epoch, kept, lost)| {
            let (epoch, lost_upto) = (Epoch::new(epoch), Offset::new(lost));
            UncleanElection { epoch, kept, lost_upto }
        })
    }

    /// Each epoch above the one before, and none that begins before it.
    fn any_table() -> impl Strategy<Value = EpochTable> {
        vec((1_u64..1000, 0_u64..1000), 0..=EPOCHS_PER_SEGMENT_HEADER_MAX).prop_map(|steps| {
            let (mut table, mut epoch, mut start) = (EpochTable::new(), 0, 0);
            for (epochs, offsets) in steps {
                (epoch, start) = (epoch + epochs, start + offsets);
                let entry = EpochStart { epoch: Epoch::new(epoch), start: Offset::new(start) };
                assert!(table.push(entry), "they grow");
            }
            table
        })
    }

    fn meta(base: u64, producer: u128) -> BatchMeta {
        let client = ClientHeader {
            codec: Codec::None,
            control: false,
            payload_bytes: 100,
            record_count: 2,
            first_timestamp: TimestampMs::new(-5),
            max_timestamp: TimestampMs::new(5),
            producer_id: ProducerId::from_u128(producer),
            first_sequence: Sequence::ZERO,
            producer_epoch: ProducerEpoch::ZERO,
            payload_crc: 77,
        };
        let leader = LeaderFields {
            base_offset: Offset::new(base),
            epoch: Epoch::new(3),
            append_time: TimestampMs::new(9),
            previous_header_crc: 8,
        };
        BatchMeta::stamp(client, leader)
    }

    fn any_batches() -> impl Strategy<Value = Vec<BatchMeta>> {
        vec((0_u64..1000, any::<u128>()), 0..4)
            .prop_map(|all| all.into_iter().map(|(base, id)| meta(base, id)).collect())
    }

    fn any_state() -> impl Strategy<Value = LogState> {
        let numbers = any::<(u64, u32, i64)>();
        (numbers, any_table(), 0_u128..5, 10_u64..u64::MAX).prop_map(
            |((log_start, crc, time), epochs, count, end)| {
                let mut producers = ProducerTable::new();
                for producer in 1..=count {
                    let BatchMeta { client, leader, .. } = meta(3, producer);
                    producers.record(&client, &leader);
                }
                LogState {
                    log_start: Offset::new(log_start),
                    end: Offset::new(end),
                    epochs,
                    last_header_crc: crc,
                    last_append_time: TimestampMs::new(time),
                    producers,
                }
            },
        )
    }

    fn any_report() -> impl Strategy<Value = LogReport> {
        let numbers = any::<(u64, u64, u64)>();
        (any_replica(), any_position(), any_table(), numbers).prop_map(
            |(replica, position, epochs, (log_start, committed, state_version))| LogReport {
                replica,
                position,
                log_start: Offset::new(log_start),
                epochs,
                committed: Offset::new(committed),
                state_version,
            },
        )
    }

    /// A message of any kind, with the batches that travel beside it.
    fn any_message() -> impl Strategy<Value = (Message, Vec<BatchMeta>)> {
        let epoch = || any::<u64>().prop_map(Epoch::new);
        let alone = prop_oneof![
            (epoch(), any::<(bool, u64)>()).prop_map(|(epoch, (established, state_version))| {
                Message::Fence { epoch, established, state_version }
            }),
            (epoch(), any_report()).prop_map(|(epoch, report)| {
                Message::Fenced { epoch, report: Box::new(report) }
            }),
            (epoch(), epoch()).prop_map(|(epoch, promised)| Message::Refused { epoch, promised }),
            (epoch(), any_replica(), any_position())
                .prop_map(|(epoch, replica, after)| { Message::Fetch { epoch, replica, after } }),
            (epoch(), any_position(), any_position(), vec(any_unclean(), 0..4)).prop_map(
                |(epoch, asked, common, unclean)| Message::Match { epoch, asked, common, unclean }
            ),
            (epoch(), any_position(), any_state()).prop_map(|(epoch, asked, state)| {
                Message::Start { epoch, asked, at: Box::new(state) }
            }),
            (epoch(), any_replica(), any_position(), any_position()).prop_map(
                |(epoch, replica, appended, durable)| {
                    Message::Appended { epoch, replica, appended, durable }
                }
            ),
            epoch().prop_map(|epoch| Message::NotMatched { epoch }),
        ];
        let fetched = (epoch(), any_replica(), any_position(), any_batches()).prop_map(
            |(epoch, replica, after, batches)| {
                let beside = batches.clone();
                (Message::Fetched { epoch, replica, after, batches }, beside)
            },
        );
        let marks = (any_position(), any_position(), any::<(u64, u64)>());
        let append = (epoch(), marks, any_batches()).prop_map(
            |(epoch, (after, committed, (log_start, state_version)), batches)| {
                let (beside, log_start) = (batches.clone(), Offset::new(log_start));
                let message =
                    Message::Append { epoch, after, batches, committed, log_start, state_version };
                (message, beside)
            },
        );
        prop_oneof![8 => alone.prop_map(|message| (message, Vec::new())), 1 => fetched, 1 => append]
    }

    fn of(index: u32) -> PartitionId {
        PartitionId::new(TopicId::from_bytes([9; 16]), PartitionIndex::new(index))
    }

    proptest! {
        #[test]
        fn messages_arrive_as_they_were_sent(
            (message, batches) in any_message(), index in any::<u32>(),
        ) {
            let bytes = encode(of(index), &message).encode_to_vec();
            let wire = v1::PeerMessage::decode(&bytes[..]).expect("what was encoded just now");
            prop_assert_eq!(partition(&wire).expect("a partition"), of(index));
            prop_assert_eq!(decode(wire, batches).expect("a message"), message);
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in any::<Vec<u8>>(),
            (message, batches) in any_message(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut changed = encode(of(1), &message).encode_to_vec();
            let at = at.index(changed.len());
            changed[at] = byte;
            for bytes in [bytes, changed] {
                if let Ok(wire) = v1::PeerMessage::decode(&bytes[..]) {
                    drop(partition(&wire));
                    drop(decode(wire, batches.clone()));
                }
            }
        }
    }

    /// What is said of a message with this content.
    fn refused(content: Option<Wire>) -> String {
        let wire = v1::PeerMessage { message: content, ..encode(of(1), &not_matched()) };
        decode(wire, Vec::new()).expect_err("it makes no sense").to_string()
    }

    fn not_matched() -> Message {
        Message::NotMatched { epoch: Epoch::new(3) }
    }

    const SOMEWHERE: Option<v1::LogPosition> = Some(v1::LogPosition { epoch: 3, end: 7 });

    #[test]
    fn a_partition_has_a_topic_of_16_bytes() {
        for bytes in [0, 15, 17] {
            let topic_id = vec![1; bytes].into();
            let wire = v1::PeerMessage { topic_id, ..encode(of(1), &not_matched()) };
            let error = partition(&wire).expect_err("no topic id").to_string();
            assert_eq!(error, format!("topic_id must have 16 bytes, found {bytes}"));
        }
    }

    #[test]
    fn what_a_message_cannot_do_without_must_be_there() {
        assert_eq!(refused(None), "message is missing");
        let (id, at) = (Bytes::from(vec![1; 16]), SOMEWHERE);
        let missing = |what: &str, content: Wire| {
            assert_eq!(refused(Some(content)), format!("{what} is missing"));
        };
        let fenced = v1::Fenced { replica_id: id.clone(), ..v1::Fenced::default() };
        missing("position", Wire::Fenced(fenced));
        missing("after", Wire::Fetch(v1::Fetch { replica_id: id.clone(), after: None }));
        missing("after", Wire::Fetched(v1::Fetched { replica_id: id.clone(), after: None }));
        missing("asked", Wire::Match(v1::Match::default()));
        missing("common", Wire::Match(v1::Match { asked: at, ..v1::Match::default() }));
        let unclean = vec![v1::UncleanElection::default()];
        missing("kept", Wire::Match(v1::Match { asked: at, common: at, unclean }));
        missing("asked", Wire::Start(v1::Start::default()));
        missing("after", Wire::Append(v1::Append::default()));
        missing("committed", Wire::Append(v1::Append { after: at, ..v1::Append::default() }));
        let appended = v1::Appended { replica_id: id, appended: None, durable: at };
        missing("appended", Wire::Appended(appended.clone()));
        let appended = v1::Appended { appended: at, durable: None, ..appended };
        missing("durable", Wire::Appended(appended));
    }

    #[test]
    fn a_replica_has_an_id_of_16_bytes() {
        let (short, at) = (Bytes::from(vec![1; 15]), SOMEWHERE);
        for content in [
            Wire::Fenced(v1::Fenced {
                replica_id: short.clone(),
                position: at,
                ..Default::default()
            }),
            Wire::Fetch(v1::Fetch { replica_id: short.clone(), after: at }),
            Wire::Fetched(v1::Fetched { replica_id: short.clone(), after: at }),
            Wire::Appended(v1::Appended { replica_id: short, appended: at, durable: at }),
        ] {
            assert_eq!(refused(Some(content)), "replica_id must have 16 bytes, found 15");
        }
    }

    #[test]
    fn epochs_that_go_back_are_refused() {
        let entry = |(epoch, start)| v1::EpochEntry { epoch, start };
        for (second, found) in
            [((2, 9), "epoch 2 from offset 9"), ((3, 4), "epoch 3 from offset 4")]
        {
            let epochs = vec![entry((2, 5)), entry(second)];
            let fenced = v1::Fenced {
                replica_id: vec![1; 16].into(),
                position: SOMEWHERE,
                epochs: epochs.clone(),
                ..Default::default()
            };
            let producers = ProducerTable::new().encode_snapshot(point(&LogState::default()));
            let start = v1::Start {
                asked: SOMEWHERE,
                epochs,
                producers: producers.into(),
                ..Default::default()
            };
            for content in [Wire::Fenced(fenced), Wire::Start(start)] {
                let expected = format!("{found} does not follow the epoch before it");
                assert_eq!(refused(Some(content)), expected);
            }
        }
    }

    #[test]
    fn producers_are_those_of_the_place_where_the_log_begins() {
        let state = LogState { end: Offset::new(7), last_header_crc: 5, ..LogState::default() };
        let message = |change: &dyn Fn(&mut v1::Start)| {
            let at = Box::new(state.clone());
            let whole = Message::Start { epoch: Epoch::new(3), asked: Position::ZERO, at };
            let Wire::Start(mut start) = content(&whole) else { panic!("a start") };
            change(&mut start);
            Some(Wire::Start(start))
        };
        let elsewhere = refused(message(&|start| start.end = 8));
        assert_eq!(elsewhere, "the log state ends at 8, and the producers' at 7");
        refused(message(&|start| start.last_header_crc = 6));
        let garbage = refused(message(&|start| start.producers = Bytes::from_static(b"?")));
        assert!(garbage.starts_with("producers: "), "{garbage}");
        refused(message(&|start| start.producers = start.producers.slice(1..)));
    }
}
