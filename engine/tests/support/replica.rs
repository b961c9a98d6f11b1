//! A replica without a protocol: a sequencer that does as it is told, and batches of leaders.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use forebay_engine::{
    AppendError, Appended, Clock, Completion, IncomingBatch, Lineage, LogSettings, Opened,
    ReplicaLog, ReserveError, Sequencer, StampedBatch, Stored, StoredReader, WriteRefusal,
};
use forebay_format::limits::{CLIENT_HEADER_BYTES, HEADER_BYTES};
use forebay_format::{
    BatchMeta, Batches, ClientHeader, Epoch, LeaderFields, LogState, Offset, Position, TimestampMs,
    stamp_leader,
};
use smallvec::smallvec;

use super::{Node, Setup, batch_of, partition, value};

/// What the fake does with the next proposals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// Takes it, and answers when it is durable.
    Take,
    /// Takes it, and keeps the answer back.
    TakeSilently,
    /// Refuses it at once.
    Refuse(WriteRefusal),
    /// Lets it go, and keeps the answer back.
    DropSilently,
}

/// Decides as it is told, and knows the log as the protocol does.
pub(crate) struct Fake {
    pub(crate) says: Cell<Says>,
    pub(crate) state: RefCell<LogState>,
    pub(crate) epoch: Cell<Epoch>,
    pub(crate) time: Cell<i64>,
    pub(crate) durable: Cell<Position>,
    pub(crate) ended: RefCell<Option<ReserveError>>,
    pub(crate) proposals: Cell<u64>,
    /// What it says of every reader's past.
    pub(crate) lineage: Cell<Lineage>,
    /// The past of the reader that asked last.
    pub(crate) asked: Cell<Option<(Epoch, Offset)>>,
    /// Taken, to be answered when durable.
    waiting: RefCell<Vec<(Position, Completion, Appended)>>,
    /// Kept back.
    pub(crate) held: RefCell<Vec<(Completion, Option<Appended>)>>,
    /// Called with each proposal, from within.
    pub(crate) meanwhile: RefCell<Option<Box<dyn Fn()>>>,
}

impl Fake {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            says: Cell::new(Says::Take),
            state: RefCell::default(),
            epoch: Cell::new(Epoch::new(1)),
            time: Cell::new(1_000),
            durable: Cell::new(Position::ZERO),
            ended: RefCell::default(),
            proposals: Cell::new(0),
            lineage: Cell::new(Lineage::Shared),
            asked: Cell::new(None),
            waiting: RefCell::default(),
            held: RefCell::default(),
            meanwhile: RefCell::default(),
        })
    }

    fn fields(&self) -> LeaderFields {
        let state = self.state.borrow();
        LeaderFields {
            base_offset: state.end,
            epoch: self.epoch.get(),
            append_time: TimestampMs::new(self.time.get()).max(state.last_append_time),
            previous_header_crc: state.last_header_crc,
        }
    }
}

impl Sequencer for Fake {
    fn propose(
        &self,
        batch: &IncomingBatch,
        client: &ClientHeader,
        done: Completion,
    ) -> Option<LeaderFields> {
        assert_eq!(ClientHeader::decode(&batch.header), Ok(*client));
        self.proposals.set(self.proposals.get() + 1);
        if let Some(meanwhile) = &*self.meanwhile.borrow() {
            meanwhile();
        }
        let fields = self.fields();
        let appended = Appended {
            base_offset: fields.base_offset,
            record_count: client.record_count,
            epoch: fields.epoch,
            append_time: fields.append_time,
            durable_replicas: 1,
            duplicate: false,
        };
        match self.says.get() {
            Says::Refuse(why) => {
                done.answer(Err(why.into()));
                return None;
            }
            Says::DropSilently => {
                self.held.borrow_mut().push((done, None));
                return None;
            }
            Says::TakeSilently => self.held.borrow_mut().push((done, Some(appended))),
            Says::Take => {
                let end = fields.base_offset + u64::from(client.record_count);
                let at = Position::new(fields.epoch, end);
                self.waiting.borrow_mut().push((at, done, appended));
            }
        }
        self.state.borrow_mut().append(&BatchMeta::stamp(*client, fields));
        Some(fields)
    }

    fn lineage(&self, epoch: Epoch, offset: Offset) -> Lineage {
        self.asked.set(Some((epoch, offset)));
        self.lineage.get()
    }

    fn durable(&self, upto: Position) {
        assert!(upto >= self.durable.get(), "positions ascend");
        self.durable.set(upto);
        let mut waiting = self.waiting.borrow_mut();
        let due = waiting.partition_point(|(at, ..)| *at <= upto);
        Completion::answer_all(
            waiting.drain(..due).map(|(_, done, appended)| (done, Ok(appended))),
        );
    }

    fn ended(&self, why: &ReserveError) {
        assert!(self.ended.replace(Some(why.clone())).is_none(), "told once");
        let waiting = self.waiting.take().into_iter();
        Completion::answer_all(waiting.map(|(_, done, _)| (done, Err(AppendError::Indeterminate))));
    }
}

/// One replica of one partition on one shard.
pub(crate) struct Replica {
    pub(crate) node: Node,
    pub(crate) log: ReplicaLog,
    pub(crate) fake: Rc<Fake>,
    pub(crate) opened: Opened,
}

/// Small segments, no partition that is served alone.
pub(crate) fn setup() -> Setup {
    let settings = LogSettings { segment_bytes: 320 << 10, ..Setup::default().settings };
    Setup {
        settings,
        partitions: 0,
        clock: Clock::Manual(Rc::new(Cell::new(0))),
        ..Setup::default()
    }
}

impl Replica {
    pub(crate) async fn start(path: &Path) -> Self {
        Self::start_with(path, &setup()).await
    }

    pub(crate) async fn start_with(path: &Path, setup: &Setup) -> Self {
        let node = Node::start(path, setup).await;
        let log = node.shard.replica_log(partition(0), setup.settings.clone());
        let fake = Fake::new();
        let sequencer: Rc<dyn Sequencer> = fake.clone();
        let opened = log.open(sequencer).await.expect("opens");
        fake.state.replace(opened.state.clone());
        fake.durable.set(opened.state.position());
        fake.epoch.set(opened.state.position().epoch);
        Self { node, log, fake, opened }
    }

    /// The log, as everything that was appended says.
    pub(crate) fn state(&self) -> LogState {
        self.fake.state.borrow().clone()
    }

    pub(crate) fn end(&self) -> Position {
        self.state().position()
    }

    /// Appends batches of a leader, and waits until they are durable.
    pub(crate) async fn follow(&self, batches: Vec<StampedBatch>) {
        let upto = batches.last().map(|batch| batch.meta().position());
        for batch in &batches {
            self.fake.state.borrow_mut().append(batch.meta());
        }
        self.log.append(batches).await.expect("in service");
        if let Some(upto) = upto {
            self.durable_upto(upto).await;
        }
    }

    pub(crate) async fn durable_upto(&self, upto: Position) {
        while self.fake.durable.get() < upto {
            glommio::yield_if_needed().await;
            glommio::timer::sleep(std::time::Duration::from_micros(100)).await;
        }
    }

    /// An epoch begins.
    pub(crate) async fn begin_epoch(&self, epoch: u64) {
        let mut leader = Leader::after(self.state());
        leader.epoch = Epoch::new(epoch);
        let start = leader.epoch_start();
        self.follow(vec![start]).await;
        self.fake.epoch.set(Epoch::new(epoch));
    }

    /// One batch of one record of `bytes` bytes for each number.
    pub(crate) async fn fill(&self, numbers: std::ops::Range<u64>, bytes: usize) {
        let mut leader = Leader::after(self.state());
        let batch = |number| leader.stamp(&batch_of(&[value(number, bytes)]));
        self.follow(numbers.map(batch).collect()).await;
    }

    /// Cuts, and takes note of what is left.
    pub(crate) async fn cut(&self, to: Position) -> LogState {
        let left = self.log.cut(to).await.expect("cut");
        self.now(&left);
        left
    }

    pub(crate) fn now(&self, state: &LogState) {
        self.fake.state.replace(state.clone());
        self.fake.durable.set(state.position());
    }
}

/// Stamps batches as the leader of an epoch does.
pub(crate) struct Leader {
    pub(crate) epoch: Epoch,
    pub(crate) time: i64,
    pub(crate) state: LogState,
}

impl Leader {
    pub(crate) fn after(state: LogState) -> Self {
        Self { epoch: state.position().epoch, time: 1_000, state }
    }

    fn fields(&self) -> LeaderFields {
        LeaderFields {
            base_offset: self.state.end,
            epoch: self.epoch,
            append_time: TimestampMs::new(self.time).max(self.state.last_append_time),
            previous_header_crc: self.state.last_header_crc,
        }
    }

    pub(crate) fn epoch_start(&mut self) -> StampedBatch {
        let fields = self.fields();
        let batch = StampedBatch::epoch_start(fields.append_time, fields);
        self.state.append(batch.meta());
        batch
    }

    pub(crate) fn stamp(&mut self, batch: &IncomingBatch) -> StampedBatch {
        let mut header = [0; HEADER_BYTES];
        header[..CLIENT_HEADER_BYTES].copy_from_slice(&batch.header);
        stamp_leader(&mut header, &self.fields());
        let stamped = StampedBatch::verify(header, batch.payload.clone()).expect("good");
        self.state.append(stamped.meta());
        stamped
    }
}

/// All that is stored behind `after`: metas, in order.
pub(crate) async fn stored_after(
    reader: &mut StoredReader,
    mut after: Position,
    max_bytes: usize,
) -> Vec<BatchMeta> {
    let mut metas = Vec::new();
    loop {
        match reader.read_after(after, max_bytes).await.expect("readable") {
            Stored::Run(run) => {
                let bytes = run.slices.concat();
                assert_eq!(bytes.len(), run.bytes);
                for batch in stamped_of(&bytes.into()) {
                    assert!(batch.meta().position() > after, "only what follows");
                    metas.push(*batch.meta());
                }
                assert_eq!(metas.last().map(BatchMeta::position), Some(run.upto));
                after = run.upto;
            }
            Stored::AtEnd => return metas,
            Stored::Gone => panic!("what follows {after} is gone"),
        }
    }
}

/// The batches of a run, as a follower takes them.
pub(crate) fn stamped_of(run: &Bytes) -> Vec<StampedBatch> {
    let mut at = 0;
    let mut batches = Vec::new();
    for batch in Batches::new(run) {
        let bytes = batch.expect("good").header.batch_bytes();
        let header = *run[at..].first_chunk().expect("a header");
        let payload = smallvec![run.slice(at + HEADER_BYTES..at + bytes)];
        batches.push(StampedBatch::verify(header, payload).expect("good"));
        at += bytes;
    }
    batches
}

/// A position, from two numbers.
pub(crate) fn at(epoch: u64, end: u64) -> Position {
    Position::new(Epoch::new(epoch), Offset::new(end))
}
