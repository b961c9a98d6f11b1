//! A server of the wire alone: topics in memory, the real producer table, and faults on demand. It
//! stands in for a real one only where the client's own logic is tested.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::{Bytes, BytesMut};
use forebay_format::{
    BatchHeader, ClientHeader, LeaderFields, NodeId, Offset, ProducerTable, TimestampMs,
    limits::HEADER_BYTES,
    producers::{Admission, ProducerError},
    stamp_leader,
};
use forebay_proto::v1::{
    self,
    cluster_service_server::{ClusterService, ClusterServiceServer},
    consumer_service_server::{ConsumerService, ConsumerServiceServer},
    producer_service_server::{ProducerService, ProducerServiceServer},
};
use futures_util::{Stream, StreamExt, stream};
use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};
use tonic::{Code, Response, Status, Streaming, codegen::Service};

/// What happens to a batch that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Refused; nothing is appended.
    DiskFull,
    /// Appended, but the answer says that nobody knows.
    Indeterminate,
    /// Appended, and every connection is cut before the answer.
    CutAfterAppend,
    /// Every connection is cut, and nothing is appended.
    CutBeforeAppend,
    /// Refused for good.
    Invalid,
}

/// What becomes of a call that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Done,
    NotDone,
}

type Plan = Box<dyn FnMut(u64) -> Fault + Send>;

#[derive(Default)]
struct Partition {
    batches: Vec<Bytes>,
    end: u64,
    producers: ProducerTable,
}

impl Partition {
    fn append(&mut self, client: &ClientHeader, raw: &[u8]) -> u64 {
        let base_offset = Offset::new(self.end);
        let leader = LeaderFields {
            base_offset,
            epoch: forebay_format::Epoch::new(1),
            append_time: TimestampMs::new(0),
            previous_header_crc: 0,
        };
        let mut batch = BytesMut::from(raw);
        let header: &mut [u8; HEADER_BYTES] = batch.first_chunk_mut().expect("a whole batch");
        stamp_leader(header, &leader);
        self.batches.push(batch.freeze());
        self.end += u64::from(client.record_count);
        self.producers.record(client, &leader);
        base_offset.get()
    }
}

struct State {
    topics: HashMap<String, Vec<Partition>>,
    arrivals: u64,
    plan: Plan,
    address: String,
    /// The next call of this method is not answered: its connection is cut.
    unanswered: Option<(&'static str, Then)>,
    /// Where the leader is said to be, if not here.
    leader: Option<String>,
    /// Of each produce stream: whether its client wants not to be carried.
    no_carry: Vec<bool>,
    /// Who answers consume streams instead of the fake.
    consume_calls: Option<mpsc::Sender<ConsumeCall>>,
}

/// A consume stream that a test answers by hand.
pub(crate) struct ConsumeCall {
    pub(crate) requests: Streaming<v1::ConsumeRequest>,
    pub(crate) responses: mpsc::Sender<Result<v1::ConsumeResponse, Status>>,
}

impl ConsumeCall {
    /// The next request; `None` when the client has given the stream up.
    pub(crate) async fn request(&mut self) -> Option<v1::consume_request::Message> {
        self.requests.message().await.ok()??.message
    }

    pub(crate) async fn answer(&self, message: v1::consume_response::Message) {
        let response = v1::ConsumeResponse { message: Some(message) };
        self.responses.send(Ok(response)).await.expect("the client reads");
    }
}

/// See the module.
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    appended: watch::Sender<u64>,
    cut: Arc<Notify>,
    server: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start(plan: impl FnMut(u64) -> Fault + Send + 'static) -> Self {
        let state = State {
            topics: HashMap::new(),
            arrivals: 0,
            plan: Box::new(plan),
            address: "127.0.0.1:0".to_owned(),
            unanswered: None,
            leader: None,
            no_carry: Vec::new(),
            consume_calls: None,
        };
        let mut fake = Self {
            state: Arc::new(Mutex::new(state)),
            appended: watch::channel(0).0,
            cut: Arc::new(Notify::new()),
            server: JoinSet::new(),
        };
        fake.listen().await;
        fake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panics with it")
    }

    /// Says that the leader is elsewhere.
    pub(crate) fn lead_elsewhere(&self, address: &str) {
        self.state().leader = Some(address.to_owned());
    }

    /// Of each produce stream so far: whether its client wanted not to be carried.
    pub(crate) fn no_carry(&self) -> Vec<bool> {
        self.state().no_carry.clone()
    }

    pub(crate) fn address(&self) -> String {
        self.state().address.clone()
    }

    pub(crate) fn create(&self, topic: &str, partitions: usize) {
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        self.state().topics.insert(topic.to_owned(), partitions);
    }

    /// Does not answer the next call of a method.
    pub(crate) fn leave_unanswered(&self, method: &'static str, then: Then) {
        self.state().unanswered = Some((method, then));
    }

    /// Consume streams from now on, to be answered by the test.
    pub(crate) fn consume_calls(&self) -> mpsc::Receiver<ConsumeCall> {
        let (sender, receiver) = mpsc::channel(16);
        self.state().consume_calls = Some(sender);
        receiver
    }

    /// Every record's value, in the order of the log.
    pub(crate) fn values(&self, topic: &str, partition: usize) -> Vec<Vec<u8>> {
        let state = self.state();
        let batches = &state.topics[topic][partition].batches;
        let mut values = Vec::new();
        for batch in batches {
            let (batch, _) = forebay_format::Batch::split(batch).expect("it was stamped");
            for record in batch.records().expect("not compressed") {
                values.push(record.expect("well formed").value.expect("a value").to_vec());
            }
        }
        values
    }

    /// Stops serving, as kill -9 would. What was appended stays.
    pub(crate) async fn kill(&mut self) {
        self.server.shutdown().await;
        self.cut.notify_waiters();
    }

    /// Serves again on the same port.
    pub(crate) async fn listen(&mut self) {
        let listener = TcpListener::bind(self.address()).await.expect("the port is free");
        self.state().address = listener.local_addr().expect("it is bound").to_string();
        let services = Services {
            state: Arc::clone(&self.state),
            appended: self.appended.clone(),
            cut: Arc::clone(&self.cut),
        };
        self.server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let services = services.clone();
                connections.spawn(async move {
                    let cut = Arc::clone(&services.cut);
                    let serve = http2::Builder::new(TokioExecutor::new()).serve_connection(
                        TokioIo::new(socket),
                        service_fn(move |request| services.clone().call(request)),
                    );
                    tokio::select! {
                        _ended = serve => {}
                        () = cut.notified() => {}
                    }
                });
            }
        });
    }
}

#[derive(Clone)]
struct Services {
    state: Arc<Mutex<State>>,
    appended: watch::Sender<u64>,
    cut: Arc<Notify>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Services {
    async fn call(
        self,
        request: Request<Incoming>,
    ) -> Result<http::Response<tonic::body::Body>, std::convert::Infallible> {
        let path = request.uri().path().to_owned();
        let unanswered = self.is_unanswered(&path);
        if path.ends_with("/Produce") {
            let no_carry = request.headers().contains_key("forebay-no-carry");
            self.state.lock().expect("no test thread panics with it").no_carry.push(no_carry);
        }
        if unanswered == Some(Then::NotDone) {
            return self.cut_off().await;
        }
        let response = if path.contains("ProducerService") {
            ProducerServiceServer::new(self.clone()).call(request).await
        } else if path.contains("ConsumerService") {
            ConsumerServiceServer::new(self.clone()).call(request).await
        } else {
            ClusterServiceServer::new(self.clone()).call(request).await
        };
        if unanswered.is_some() {
            return self.cut_off().await;
        }
        response
    }

    fn is_unanswered(&self, path: &str) -> Option<Then> {
        let mut state = self.state.lock().expect("no test thread panics with it");
        let called = path.rsplit('/').next();
        let next = state.unanswered.take_if(|(method, _)| Some(*method) == called);
        next.map(|(_, then)| then)
    }

    /// Never returns: every connection is gone then.
    async fn cut_off<T>(&self) -> T {
        self.cut.notify_waiters();
        std::future::pending().await
    }

    fn produce_one(&self, topic: &str, batch: &v1::ProduceBatch) -> Option<v1::ProduceResult> {
        let Some(v1::produce_batch::Content::RawBatch(raw)) = &batch.content else {
            panic!("the client sends raw batches");
        };
        let client = ClientHeader::decode(raw).expect("a valid header");
        let mut state = self.state.lock().expect("no test thread panics with it");
        let State { topics, arrivals, plan, .. } = &mut *state;
        let fault = plan(*arrivals);
        *arrivals += 1;
        let index = usize::try_from(batch.partition).expect("small");
        let partition = &mut topics.get_mut(topic).expect("topic exists")[index];
        let outcome = match (partition.producers.check(&client), fault) {
            (Ok(Admission::Duplicate(first)), _) => Ok((first.base_offset.get(), true)),
            (Err(ProducerError::SequenceGap { .. }), _) => Err((Code::Aborted, "SEQUENCE_GAP")),
            (Err(ProducerError::UnknownProducer { .. }), _) => {
                Err((Code::Aborted, "PRODUCER_UNKNOWN"))
            }
            (Err(other), _) => panic!("{other}"),
            (Ok(Admission::Append), Fault::None) => Ok((partition.append(&client, raw), false)),
            (Ok(Admission::Append), Fault::DiskFull) => Err((Code::ResourceExhausted, "DISK_FULL")),
            (Ok(Admission::Append), Fault::Invalid) => {
                Err((Code::InvalidArgument, "BATCH_TOO_LARGE"))
            }
            (Ok(Admission::Append), Fault::Indeterminate) => {
                partition.append(&client, raw);
                Err((Code::Unknown, "INDETERMINATE"))
            }
            (Ok(Admission::Append), Fault::CutAfterAppend) => {
                partition.append(&client, raw);
                self.cut.notify_waiters();
                return None;
            }
            (Ok(Admission::Append), Fault::CutBeforeAppend) => {
                self.cut.notify_waiters();
                return None;
            }
        };
        self.appended.send_modify(|count| *count += 1);
        let outcome = match outcome {
            Ok((base_offset, duplicate)) => v1::produce_result::Outcome::Ack(v1::ProduceAck {
                base_offset,
                record_count: client.record_count,
                epoch: 1,
                durable_replicas: 1,
                replicas: 1,
                append_time_ms: 0,
                duplicate,
            }),
            Err((code, reason)) => v1::produce_result::Outcome::Error(v1::Error {
                code: code.into(),
                reason: reason.to_owned(),
                retry_after_ms: if code == Code::ResourceExhausted || code == Code::Unknown {
                    20
                } else {
                    0
                },
                ..Default::default()
            }),
        };
        Some(v1::ProduceResult {
            request_id: batch.request_id,
            partition: batch.partition,
            outcome: Some(outcome),
            carried_to: None,
        })
    }

    fn describe(&self, topics: &[String]) -> Vec<v1::TopicMetadata> {
        let state = self.state.lock().expect("no test thread panics with it");
        let wanted = |name: &&String| topics.is_empty() || topics.contains(name);
        let names = state.topics.keys().filter(wanted);
        let metadata = names.map(|name| v1::TopicMetadata {
            name: name.clone(),
            topic_id: "00000000000000000000000000000001".to_owned(),
            partitions: (0..u32::try_from(state.topics[name].len()).expect("small"))
                .map(|partition| v1::PartitionMetadata {
                    partition,
                    leader: Some(1),
                    ..Default::default()
                })
                .collect(),
        });
        metadata.collect()
    }
}

#[tonic::async_trait]
impl ProducerService for Services {
    type ProduceStream = Responses<v1::ProduceResponse>;

    async fn produce(
        &self,
        request: tonic::Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let services = self.clone();
        let mut requests = request.into_inner();
        let Some(v1::ProduceRequest { message: Some(v1::produce_request::Message::Open(open)) }) =
            requests.message().await?
        else {
            return Err(Status::invalid_argument("the first message opens the stream"));
        };
        let mut state = self.state.lock().expect("no test thread panics with it");
        state.topics.entry(open.topic.clone()).or_insert_with(|| vec![Partition::default()]);
        drop(state);
        let responses = requests.map(move |request| {
            let message = request?.message;
            let Some(v1::produce_request::Message::Batch(batch)) = message else {
                return Err(Status::invalid_argument("one open is enough"));
            };
            let results = services.produce_one(&open.topic, &batch).into_iter().collect();
            Ok(v1::ProduceResponse { results, draining: None })
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

#[tonic::async_trait]
impl ConsumerService for Services {
    type ConsumeStream = Responses<v1::ConsumeResponse>;

    async fn consume(
        &self,
        request: tonic::Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let mut requests = request.into_inner();
        let calls = self.state.lock().expect("no test thread panics with it").consume_calls.clone();
        if let Some(calls) = calls {
            let (responses, answers) = mpsc::channel(16);
            let call = ConsumeCall { requests, responses };
            calls.send(call).await.map_err(|_gone| Status::unavailable("the test is over"))?;
            let answers = stream::unfold(answers, |mut answers| async {
                let answer = answers.recv().await?;
                Some((answer, answers))
            });
            return Ok(Response::new(answers.boxed()));
        }
        let Some(v1::ConsumeRequest {
            message: Some(v1::consume_request::Message::Subscribe(subscribe)),
        }) = requests.message().await?
        else {
            return Err(Status::invalid_argument("the first message subscribes"));
        };
        let readers = subscribe.partitions.iter().map(|one| {
            let start = match one.start.and_then(|start| start.position) {
                Some(v1::start_position::Position::Offset(offset)) => offset,
                _ => 0,
            };
            let topic = subscribe.topic.clone();
            read(self.clone(), topic, one.partition, start).boxed()
        });
        let all = stream::select_all(readers.collect::<Vec<_>>());
        // The request stays open as long as the answer is read.
        let held = all.map(move |one| {
            let _keep = &requests;
            Ok(one)
        });
        Ok(Response::new(Box::pin(held)))
    }
}

/// The batches of a partition, one message each, for ever.
fn read(
    services: Services,
    topic: String,
    partition: u32,
    start: u64,
) -> impl Stream<Item = v1::ConsumeResponse> + Send {
    let appended = services.appended.subscribe();
    stream::unfold((appended, start), move |(mut appended, next)| {
        let (services, topic) = (services.clone(), topic.clone());
        async move {
            loop {
                appended.mark_unchanged();
                if let Some((end, message)) = services.batch_at(&topic, partition, next) {
                    return Some((message, (appended, end)));
                }
                appended.changed().await.ok()?;
            }
        }
    })
}

impl Services {
    fn batch_at(&self, topic: &str, index: u32, next: u64) -> Option<(u64, v1::ConsumeResponse)> {
        let state = self.state.lock().expect("no test thread panics with it");
        let partition = &state.topics[topic][usize::try_from(index).expect("small")];
        let (end, batch) = partition.batches.iter().find_map(|batch| {
            let header: &[u8; HEADER_BYTES] = batch.first_chunk()?;
            let header = BatchHeader::decode(header).ok()?;
            let end = header.leader.base_offset.get() + u64::from(header.client.record_count);
            (end > next).then(|| (end, batch.clone()))
        })?;
        let batches = v1::RawBatches {
            partition: index,
            committed_offset: partition.end,
            raw_batches: batch,
        };
        let message = Some(v1::consume_response::Message::Batches(batches));
        Some((end, v1::ConsumeResponse { message }))
    }
}

#[tonic::async_trait]
impl ClusterService for Services {
    async fn get_metadata(
        &self,
        request: tonic::Request<v1::GetMetadataRequest>,
    ) -> Result<Response<v1::GetMetadataResponse>, Status> {
        let topics = self.describe(&request.into_inner().topics);
        let state = self.state.lock().expect("no test thread panics with it");
        let address = state.leader.as_ref().unwrap_or(&state.address).clone();
        drop(state);
        let node = v1::Node {
            node_id: NodeId::new(1).get(),
            address: address.clone(),
            shard_addresses: vec![address],
            ..Default::default()
        };
        Ok(Response::new(v1::GetMetadataResponse {
            cluster_id: String::new(),
            nodes: vec![node],
            topics,
        }))
    }

    async fn create_topic(
        &self,
        request: tonic::Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        let name = request.into_inner().name;
        let mut state = self.state.lock().expect("no test thread panics with it");
        if state.topics.contains_key(&name) {
            return Err(Status::already_exists("there is one"));
        }
        state.topics.insert(name, vec![Partition::default()]);
        Ok(Response::new(v1::CreateTopicResponse { topic: None }))
    }

    async fn list_topics(
        &self,
        _request: tonic::Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        Err(Status::permission_denied("not in the fake"))
    }

    async fn describe_topic(
        &self,
        _request: tonic::Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        Err(Status::not_found("not in the fake"))
    }

    async fn delete_topic(
        &self,
        _request: tonic::Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        Err(Status::not_found("not in the fake"))
    }
}
