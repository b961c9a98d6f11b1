//! What a start makes of what a crash, a torn write or rot left: a test for each row of the table.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use forebay_engine::{
    AppendError, CursorStart, DataDirectory, DataDirectoryError, Mode, ReserveError,
};
use forebay_format::batch::MAGIC;
use forebay_format::limits::HEADER_BYTES;
use forebay_format::{BatchHeader, Offset, PartitionMeta};
use support::{Node, Setup, append, batch_of, disk, files, on_executor, read_all, value};

const RECORDS: u64 = 20;

/// A crashed node's data with `RECORDS` records in one segment.
fn crashed(path: &Path) {
    on_executor(async {
        let node = Node::start(path, &Setup::default()).await;
        for number in 0..RECORDS {
            append(&node.partition(), batch_of(&[value(number, 5000)])).await.unwrap();
        }
        node.crash().await;
    });
}

fn setup(epoch: u64) -> Setup {
    Setup { epoch, ..Setup::default() }
}

/// Positions and headers of the batches of a segment, as its bytes say.
fn batches(segment: &Path) -> Vec<(u64, BatchHeader)> {
    let bytes = fs::read(segment).unwrap();
    let mut at = 4096;
    let mut found = Vec::new();
    while bytes.get(at..at + 4).is_some_and(|magic| magic == MAGIC.to_le_bytes()) {
        let header = BatchHeader::decode(bytes[at..at + HEADER_BYTES].try_into().unwrap()).unwrap();
        found.push((at as u64, header));
        at += header.batch_bytes();
    }
    found
}

fn flip(file: &Path, position: u64) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
}

/// The records that a start finds, or why the partition is out of service; then one more append.
fn after_start(path: &Path) -> Result<Vec<Vec<u8>>, AppendError> {
    on_executor(async {
        let node = Node::start(path, &setup(2)).await;
        let partition = node.partition();
        let appended = append(&partition, batch_of(&[value(777, 100)])).await;
        let result = match appended {
            Ok(done) => {
                let (_, values) = read_all(&partition, CursorStart::Earliest).await.unwrap();
                assert_eq!(done.base_offset.get() + 1, values.len() as u64);
                Ok(values)
            }
            Err(error) => Err(error),
        };
        node.stop().await;
        result
    })
}

fn expected(records: u64) -> Vec<Vec<u8>> {
    (0..records).map(|n| value(n, 5000)).chain([value(777, 100)]).collect()
}

#[test]
fn everything_that_was_durable_is_there_after_a_crash() {
    let disk = disk();
    crashed(disk.path());
    assert_eq!(after_start(disk.path()).unwrap(), expected(RECORDS));
}

#[test]
fn a_clean_entry_is_trusted_without_a_scan() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        for number in 0..RECORDS {
            append(&node.partition(), batch_of(&[value(number, 5000)])).await.unwrap();
        }
        node.stop().await;
    });
    let segment = files(disk.path(), "log").remove(0);
    // A scan would stop here; trusting the entry does not look, and the reader finds it.
    let (position, _) = batches(&segment)[5];
    flip(&segment, position + 20);
    on_executor(async {
        let node = Node::start(disk.path(), &setup(2)).await;
        let status = node.partition().status().await.unwrap();
        assert_eq!(status.committed, Offset::new(RECORDS));
        node.stop().await;
    });
}

#[test]
fn the_clean_file_is_gone_once_a_start_has_read_it() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        append(&node.partition(), batch_of(&[value(1, 10)])).await.unwrap();
        node.stop().await;
        assert!(disk.path().join("clean").exists());
        let node = Node::start(disk.path(), &setup(2)).await;
        assert!(!disk.path().join("clean").exists());
        append(&node.partition(), batch_of(&[value(2, 10)])).await.unwrap();
        node.crash().await;
        let node = Node::start(disk.path(), &setup(3)).await;
        let (_, values) = read_all(&node.partition(), CursorStart::Earliest).await.unwrap();
        assert_eq!(values, [value(1, 10), value(2, 10)]);
        node.stop().await;
    });
}

#[test]
fn a_torn_last_group_is_cut_and_never_comes_back() {
    let disk = disk();
    crashed(disk.path());
    let segment = files(disk.path(), "log").remove(0);
    let all = batches(&segment);
    let (position, last) = all[all.len() - 1];
    // Every append was a group of its own, so only the last batch was never said to be synced.
    flip(&segment, position + last.batch_bytes() as u64 - 1);
    assert_eq!(after_start(disk.path()).unwrap(), expected(RECORDS - 1));
}

#[test]
fn good_batches_behind_a_torn_one_are_wiped_before_anything_is_appended() {
    let disk = disk();
    let setup_group = || setup(1);
    // Three batches in one group: the first append starts the flush, these wait for its end.
    on_executor(async {
        let node = Node::start(disk.path(), &setup_group()).await;
        let partition = node.partition();
        append(&partition, batch_of(&[value(0, 5000)])).await.unwrap();
        let queue = forebay_engine::CompletionQueue::new();
        for token in 1..5 {
            let batch = batch_of(&[value(token, 5000)]);
            let room = partition.reserve(batch.batch_bytes()).await.unwrap();
            let when = forebay_engine::AckWhen::Durable;
            partition.append(
                room,
                batch,
                forebay_engine::Completion { queue: queue.clone(), token, when },
            );
        }
        support::answers(&queue, 4).await;
        node.crash().await;
    });
    let segment = files(disk.path(), "log").remove(0);
    let all = batches(&segment);
    let group_start = all[all.len() - 1].1.local.durable_upto.get();
    let torn = all.iter().find(|(position, _)| *position >= group_start).unwrap().0;
    flip(&segment, torn + 200);
    let kept = all.iter().filter(|(p, h)| *p < torn && h.client.record_count > 0).count() as u64;
    assert!(kept < 4, "batches lie behind the torn one");
    assert_eq!(after_start(disk.path()).unwrap(), expected(kept));
    // The same sizes again, so that an old batch would begin exactly where the log ends.
    on_executor(async {
        let node = Node::start(disk.path(), &setup(3)).await;
        let (_, values) = read_all(&node.partition(), CursorStart::Earliest).await.unwrap();
        assert_eq!(values, expected(kept));
        node.crash().await;
        let node = Node::start(disk.path(), &setup(4)).await;
        let (_, values) = read_all(&node.partition(), CursorStart::Earliest).await.unwrap();
        assert_eq!(values, expected(kept));
        node.stop().await;
    });
}

fn assert_quarantined(result: Result<Vec<Vec<u8>>, AppendError>, file: &Path) {
    match result {
        Err(AppendError::Refused(ReserveError::Corrupt(corruption))) => {
            assert_eq!(corruption.file, file, "{corruption}");
        }
        other => panic!("expected a quarantine, got {other:?}"),
    }
}

#[test]
fn rot_below_what_was_synced_is_quarantined_and_nothing_on_disk_changes() {
    let disk = disk();
    crashed(disk.path());
    let segment = files(disk.path(), "log").remove(0);
    flip(&segment, batches(&segment)[7].0 + 300);
    let before = fs::read(&segment).unwrap();
    assert_quarantined(after_start(disk.path()), &segment);
    assert_eq!(fs::read(&segment).unwrap(), before);
}

#[test]
fn rot_in_a_sealed_segment_is_found_by_its_reader_and_named() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        for number in 0..100 {
            append(&node.partition(), batch_of(&[value(number, 50_000)])).await.unwrap();
        }
        node.stop().await;
    });
    let segments = files(disk.path(), "log");
    assert!(segments.len() > 3);
    let (position, header) = batches(&segments[1])[3];
    flip(&segments[1], position + 70);
    on_executor(async {
        let node = Node::start(disk.path(), &setup(2)).await;
        let error = read_all(&node.partition(), CursorStart::Earliest).await.unwrap_err();
        let forebay_engine::ReadError::Corrupt(corruption) = error else { panic!("{error}") };
        assert_eq!(corruption.file, segments[1]);
        assert_eq!(corruption.position.get(), position);
        assert_eq!(corruption.offset, header.leader.base_offset);
        node.stop().await;
    });
}

#[test]
fn a_missing_or_damaged_index_is_rebuilt() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        for number in 0..100 {
            append(&node.partition(), batch_of(&[value(number, 50_000)])).await.unwrap();
        }
        node.stop().await;
    });
    let indexes = files(disk.path(), "idx");
    fs::remove_file(&indexes[0]).unwrap();
    flip(&indexes[1], 80);
    File::create(&indexes[2]).unwrap();
    on_executor(async {
        let node = Node::start(disk.path(), &setup(2)).await;
        let (_, values) = read_all(&node.partition(), CursorStart::Earliest).await.unwrap();
        assert_eq!(values, (0..100).map(|n| value(n, 50_000)).collect::<Vec<_>>());
        for index in &indexes[..3] {
            assert!(fs::metadata(index).unwrap().len() > 64, "{}", index.display());
        }
        node.stop().await;
    });
}

#[test]
fn a_segment_of_another_replica_is_refused_naming_both() {
    let disk = disk();
    crashed(disk.path());
    let segment = files(disk.path(), "log").remove(0);
    let meta_path = segment.with_file_name("meta");
    let meta = PartitionMeta::decode(&fs::read(&meta_path).unwrap()).unwrap();
    let other = PartitionMeta { replica: forebay_format::ReplicaId::from_u128(5), ..meta };
    fs::write(&meta_path, other.encode()).unwrap();
    let error = after_start(disk.path()).unwrap_err().to_string();
    assert!(error.contains(&meta.replica.to_string()), "{error}");
    assert!(error.contains(&other.replica.to_string()), "{error}");
}

#[test]
fn segments_without_their_meta_are_quarantined() {
    let disk = disk();
    crashed(disk.path());
    let meta = files(disk.path(), "log").remove(0).with_file_name("meta");
    fs::remove_file(&meta).unwrap();
    assert_quarantined(after_start(disk.path()), &meta);
}

#[test]
fn a_cut_that_was_recorded_and_not_finished_is_finished_first() {
    let disk = disk();
    crashed(disk.path());
    let segment = files(disk.path(), "log").remove(0);
    let all = batches(&segment);
    let (position, header) = all[all.len() - 4];
    let meta_path = segment.with_file_name("meta");
    let meta = PartitionMeta::decode(&fs::read(&meta_path).unwrap()).unwrap();
    let cut = forebay_format::partition_meta::PendingCut {
        segment: Offset::ZERO,
        position: forebay_format::FilePosition::new(position),
        offset: header.leader.base_offset,
    };
    let meta = PartitionMeta { pending_cut: Some(cut), ..meta };
    fs::write(&meta_path, meta.encode()).unwrap();
    assert_eq!(after_start(disk.path()).unwrap(), expected(RECORDS - 4));
    let meta = PartitionMeta::decode(&fs::read(&meta_path).unwrap()).unwrap();
    assert_eq!(meta.pending_cut, None);
}

#[test]
fn a_reused_file_full_of_old_batches_shows_none_of_them() {
    let disk = disk();
    let retained = Setup {
        settings: forebay_engine::LogSettings {
            retention_bytes: Some(2 << 20),
            ..Setup::default().settings
        },
        ..Setup::default()
    };
    on_executor(async {
        let node = Node::start(disk.path(), &retained).await;
        for number in 0..400 {
            append(&node.partition(), batch_of(&[value(number, 20_000)])).await.unwrap();
        }
        assert!(node.shard.metrics().retired_segments.get() > 4);
        let (first, values) = read_all(&node.partition(), CursorStart::Earliest).await.unwrap();
        assert!(first.get() > 200);
        assert_eq!(values, (first.get()..400).map(|n| value(n, 20_000)).collect::<Vec<_>>());
        node.crash().await;
        let node = Node::start(disk.path(), &Setup { epoch: 2, ..retained }).await;
        let (again, values) = read_all(&node.partition(), CursorStart::Earliest).await.unwrap();
        assert_eq!(again, first);
        assert_eq!(values, (first.get()..400).map(|n| value(n, 20_000)).collect::<Vec<_>>());
        node.stop().await;
    });
}

#[test]
fn a_data_directory_that_is_in_use_foreign_or_of_another_mode_is_refused() {
    let disk = disk();
    let (held, _) = DataDirectory::open(disk.path(), Mode::Local).unwrap();
    let second = DataDirectory::open(disk.path(), Mode::Local).unwrap_err();
    assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
    drop(held);
    let other_mode = DataDirectory::open(disk.path(), Mode::Cluster).unwrap_err().to_string();
    assert!(other_mode.contains("local") && other_mode.contains("cluster"), "{other_mode}");
    let foreign = support::disk();
    fs::write(foreign.path().join("novel.txt"), "text").unwrap();
    let refused = DataDirectory::open(foreign.path(), Mode::Local).unwrap_err();
    assert!(matches!(&refused, DataDirectoryError::Foreign { found, .. } if found == "novel.txt"));
}

#[test]
fn removed_partitions_leave_nothing_behind() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        append(&node.partition(), batch_of(&[value(1, 10)])).await.unwrap();
        node.shard.remove_partition(support::partition(0)).await.unwrap();
        assert_eq!(files(disk.path(), "log"), Vec::<std::path::PathBuf>::new());
        let gone = append(&node.partition(), batch_of(&[value(1, 10)])).await;
        assert!(matches!(gone, Err(AppendError::Refused(ReserveError::Unknown))), "{gone:?}");
        node.stop().await;
    });
}

/// A cleanly stopped node's data, with `records` records of `bytes` bytes.
fn stopped(path: &Path, records: u64, bytes: usize) {
    on_executor(async {
        let node = Node::start(path, &Setup::default()).await;
        for number in 0..records {
            append(&node.partition(), batch_of(&[value(number, bytes)])).await.unwrap();
        }
        node.stop().await;
    });
}

#[test]
fn what_a_clean_stop_left_is_not_cut_when_its_index_is_gone_and_its_end_rotten() {
    let disk = disk();
    stopped(disk.path(), RECORDS, 5000);
    let segment = files(disk.path(), "log").remove(0);
    fs::remove_file(segment.with_extension("idx")).unwrap();
    let all = batches(&segment);
    let (position, last) = all[all.len() - 1];
    flip(&segment, position + last.batch_bytes() as u64 - 1);
    let before = fs::read(&segment).unwrap();
    assert_quarantined(after_start(disk.path()), &segment);
    assert_eq!(fs::read(&segment).unwrap(), before);
}

#[test]
fn an_index_that_is_gone_after_a_clean_stop_costs_a_scan_and_no_more() {
    let disk = disk();
    stopped(disk.path(), RECORDS, 5000);
    fs::remove_file(files(disk.path(), "idx").remove(0)).unwrap();
    assert_eq!(after_start(disk.path()).unwrap(), expected(RECORDS));
}

#[test]
fn a_segment_that_is_shorter_than_a_clean_stop_left_it_is_quarantined() {
    let disk = disk();
    stopped(disk.path(), RECORDS, 5000);
    let segment = files(disk.path(), "log").remove(0);
    let all = batches(&segment);
    let (position, _) = all[all.len() - 3];
    OpenOptions::new().write(true).open(&segment).unwrap().set_len(position).unwrap();
    assert_quarantined(after_start(disk.path()), &segment);
}

#[test]
fn a_last_segment_that_is_gone_since_a_clean_stop_is_missed() {
    let disk = disk();
    stopped(disk.path(), 100, 50_000);
    let segments = files(disk.path(), "log");
    let last = &segments[segments.len() - 1];
    fs::remove_file(last).unwrap();
    assert_quarantined(after_start(disk.path()), last);
}

#[test]
fn a_segment_without_the_producer_table_of_its_start_is_quarantined() {
    let disk = disk();
    on_executor(async {
        let node = Node::start(disk.path(), &Setup::default()).await;
        for number in 0..50 {
            append(&node.partition(), batch_of(&[value(number, 50_000)])).await.unwrap();
        }
        node.crash().await;
    });
    let segments = files(disk.path(), "log");
    let table = segments[segments.len() - 1].with_extension("producers");
    fs::remove_file(&table).unwrap();
    assert_quarantined(after_start(disk.path()), &table);
}

#[test]
fn a_close_keeps_the_producer_table_of_a_segment_without_records() {
    let disk = disk();
    let clock = std::rc::Rc::new(std::cell::Cell::new(1_000_000));
    let at_epoch = |epoch| {
        let segment_age = std::time::Duration::from_mins(1);
        let settings = forebay_engine::LogSettings { segment_age, ..Setup::default().settings };
        let clock = forebay_engine::Clock::Manual(std::rc::Rc::clone(&clock));
        Setup { settings, clock, epoch, ..Setup::default() }
    };
    let id = forebay_format::ProducerId::from_u128(7);
    on_executor(async {
        let node = Node::start(disk.path(), &at_epoch(1)).await;
        let partition = node.partition();
        append(&partition, support::produced(&[value(0, 10)], Some((id, 0)))).await.unwrap();
        clock.set(clock.get() + 120_000);
        while partition.status().await.unwrap().segments < 2 {
            glommio::yield_if_needed().await;
        }
        node.stop().await;
        // A refused batch leaves nothing but the control batch of the epoch.
        let node = Node::start(disk.path(), &at_epoch(2)).await;
        let mut flipped = batch_of(&[value(2, 100)]);
        flipped.header[60] ^= 1;
        append(&node.partition(), flipped).await.unwrap_err();
        node.stop().await;
        let node = Node::start(disk.path(), &at_epoch(3)).await;
        append(&node.partition(), batch_of(&[value(1, 10)])).await.unwrap();
        node.crash().await;
        let node = Node::start(disk.path(), &at_epoch(4)).await;
        let (_, values) = read_all(&node.partition(), CursorStart::Earliest).await.unwrap();
        assert_eq!(values, [value(0, 10), value(1, 10)]);
        let retried = support::produced(&[value(0, 10)], Some((id, 0)));
        assert!(append(&node.partition(), retried).await.unwrap().duplicate);
        node.stop().await;
    });
}

#[test]
fn a_log_that_was_only_read_is_closed_without_a_write() {
    let disk = disk();
    stopped(disk.path(), RECORDS, 5000);
    let inodes = || -> Vec<u64> {
        use std::os::unix::fs::MetadataExt;
        let kept = ["idx", "producers", "log"].map(|kind| files(disk.path(), kind));
        kept.concat().iter().map(|file| fs::metadata(file).unwrap().ino()).collect()
    };
    let before = inodes();
    on_executor(async {
        let node = Node::start(disk.path(), &setup(2)).await;
        read_all(&node.partition(), CursorStart::Earliest).await.unwrap();
        node.stop().await;
    });
    assert_eq!(inodes(), before);
    assert_eq!(after_start(disk.path()).unwrap(), expected(RECORDS));
}

#[test]
fn spare_files_of_shards_that_are_no_more_are_removed() {
    let disk = disk();
    stopped(disk.path(), 1, 10);
    let absent = disk.path().join("spare/3");
    fs::create_dir(&absent).unwrap();
    fs::write(absent.join("0-8192.log"), [0; 8192]).unwrap();
    stopped_again(disk.path());
    assert!(!absent.exists() && disk.path().join("spare/0").exists());
}

fn stopped_again(path: &Path) {
    on_executor(async {
        let node = Node::start(path, &setup(2)).await;
        node.stop().await;
    });
}

#[test]
fn a_probe_file_that_a_kill_left_empty_is_made_again() {
    let disk = disk();
    stopped(disk.path(), 1, 10);
    File::create(disk.path().join("probe")).unwrap();
    stopped_again(disk.path());
    assert_eq!(fs::metadata(disk.path().join("probe")).unwrap().len(), 8192);
}
