//! A replica's partition, as another core sees it.

mod support;

use std::rc::Rc;

use forebay_engine::{
    AckWhen, AppendError, CursorStart, DataDirectory, Lineage, Mode, ReadError, Sequencer, Shard,
    ShardConfig, ShardIndex, WriteRefusal, mailboxes, shard_of,
};
use forebay_format::{LogState, Offset};
use support::replica::{Fake, Leader, Says, setup};
use support::{append_when, batch_of, disk, on_executor, partition, read_all, value};

#[test]
fn appends_of_another_shard_are_proposed_and_its_readers_see_what_is_committed() {
    let disk = disk();
    on_executor(async {
        let (directory, clean) = DataDirectory::open(disk.path(), Mode::Cluster).unwrap();
        let (inboxes, addresses) = mailboxes(2);
        let mut shards = Vec::new();
        for (index, inbox) in (0..2).zip(inboxes) {
            let config = ShardConfig {
                data: disk.path().to_owned(),
                shard: ShardIndex::new(index),
                cluster: directory.cluster(),
                memory_bytes: 64 << 20,
                fsync: setup().fsync,
                index_interval_bytes: 4096,
                disk_reserve_bytes: 0,
                clock: setup().clock,
            };
            shards
                .push(Shard::start(config, inbox, addresses.clone(), clean.clone()).await.unwrap());
        }
        let id = (0..9).map(partition).find(|id| shard_of(*id, 2) == ShardIndex::new(1)).unwrap();
        let log = shards[1].replica_log(id, setup().settings);
        let fake = Fake::new();
        let sequencer: Rc<dyn Sequencer> = fake.clone();
        log.open(sequencer).await.unwrap();
        let start =
            Leader { epoch: fake.epoch.get(), time: 1, state: LogState::default() }.epoch_start();
        fake.state.borrow_mut().append(start.meta());
        log.append(vec![start]).await.unwrap();

        let remote = shards[0].partition(id);
        assert!(!remote.is_local());
        for number in 0..3 {
            let when = AckWhen::Replicas(2);
            let appended = append_when(&remote, batch_of(&[value(number, 5000)]), when).await;
            assert_eq!(appended.unwrap().base_offset, Offset::new(number));
        }
        let refusal = WriteRefusal::NotLeader { leader: None };
        fake.says.set(Says::Refuse(refusal));
        let refused = append_when(&remote, batch_of(&[value(9, 10)]), AckWhen::Quorum).await;
        assert_eq!(refused.unwrap_err(), AppendError::NotAdmitted(refusal));
        assert_eq!(fake.proposals.get(), 4);
        log.set_committed(Offset::new(2));
        assert_eq!(remote.status().await.unwrap().committed, Offset::new(2));
        let (_, values) = read_all(&remote, CursorStart::Earliest).await.unwrap();
        assert_eq!(values.len(), 2);
        // R13: both see to a reader's past.
        let (epoch, offset) = (fake.epoch.get(), Offset::new(1));
        let from = Offset::ZERO;
        for (says, expected) in [
            (Lineage::Shared, None),
            (Lineage::Ahead, Some(ReadError::Ahead { epoch, requested: offset })),
            (Lineage::Parted { from }, Some(ReadError::Lost { from, upto: offset })),
        ] {
            fake.lineage.set(says);
            for reader in [remote.clone(), shards[1].partition(id)] {
                let found = reader.cursor(CursorStart::After { epoch, offset }).await;
                assert_eq!(found.err(), expected, "{says:?}");
            }
        }
        for shard in shards {
            shard.stop().await;
        }
    });
}
