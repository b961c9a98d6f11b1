//! A partition of another shard, and what becomes of those who wait when that shard is gone.

mod support;

use forebay_engine::{
    AckWhen, AppendError, Clock, Completion, CompletionQueue, DataDirectory, FsyncPolicy, Mode,
    ReserveError, Shard, ShardConfig, ShardIndex, mailboxes, shard_of,
};
use support::{answers, batch_of, disk, on_executor, partition, value};

#[test]
fn appends_for_a_shard_that_is_gone_are_answered() {
    let disk = disk();
    on_executor(async {
        let (directory, clean) = DataDirectory::open(disk.path(), Mode::Local).unwrap();
        let (mut inboxes, addresses) = mailboxes(2);
        let config = ShardConfig {
            data: disk.path().to_owned(),
            shard: ShardIndex::new(0),
            cluster: directory.cluster(),
            memory_bytes: 64 << 20,
            fsync: FsyncPolicy::Batch,
            index_interval_bytes: 4096,
            disk_reserve_bytes: 0,
            clock: Clock::System,
        };
        // Nobody takes the other shard's requests, and then it is gone.
        let other = inboxes.remove(1);
        let shard = Shard::start(config, inboxes.remove(0), addresses, clean).await.unwrap();
        let remote = (0..100).find(|&i| shard_of(partition(i), 2) == ShardIndex::new(1)).unwrap();
        let remote = shard.partition(partition(remote));
        let queue = CompletionQueue::new();
        for token in 0..5 {
            let batch = batch_of(&[value(token, 10)]);
            let room = remote.reserve(batch.batch_bytes()).await.unwrap();
            let done = Completion { queue: queue.clone(), token, when: AckWhen::Durable };
            remote.append(room, batch, done);
        }
        drop(other);
        for answer in answers(&queue, 5).await {
            let outcome = answer.outcome.unwrap_err();
            let expected =
                [AppendError::Indeterminate, AppendError::Refused(ReserveError::Stopping)];
            assert!(expected.contains(&outcome), "{outcome:?}");
        }
        shard.stop().await;
    });
}
