//! A node for one test, and the few calls that most tests make.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use forebay_format::{BatchBuilder, Batches, ProducerStamp, RecordInput};
use forebay_proto::v1;
use forebay_proto::v1::cluster_service_client::ClusterServiceClient;
use forebay_proto::v1::consumer_service_client::ConsumerServiceClient;
use forebay_proto::v1::producer_service_client::ProducerServiceClient;
use forebay_server::config::{Config, Flag};
use forebay_server::{Node, RunError};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// Nothing that is waited for takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test, and fails it when it hangs.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .expect("a runtime")
        .block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("the test hangs") })
}

/// A node with a data directory of its own.
pub(crate) struct Server {
    node: Node,
    pub(crate) folder: TempDir,
}

/// A folder on a real disk: direct I/O does not work on every /tmp.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// Settings for a node in `data`, with these over them.
pub(crate) fn config(data: &Path, settings: &[(&str, &str)]) -> Config {
    let data = data.display().to_string();
    let basic = [
        ("node.data", data.as_str()),
        ("node.shards", "2"),
        ("network.listen", "127.0.0.1:0"),
        ("network.http", "127.0.0.1:0"),
        ("storage.memory_per_shard", "32MiB"),
        ("storage.disk_reserve", "16MiB"),
    ];
    let flags: Vec<Flag> = basic
        .iter()
        .chain(settings)
        .map(|(setting, value)| Flag {
            flag: format!("--{setting}"),
            setting: (*setting).to_owned(),
            value: (*value).to_owned(),
        })
        .collect();
    Config::load(None, [], &flags).expect("a right configuration")
}

impl Server {
    /// Starts a node.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with settings.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_in(folder(), settings)
    }

    /// The same, on what another one left.
    pub(crate) fn start_in(folder: TempDir, settings: &[(&str, &str)]) -> Self {
        let node = Node::start(config(&folder.path().join("data"), settings)).expect("a node");
        Self { node, folder }
    }

    pub(crate) fn addresses(&self) -> &forebay_server::Addresses {
        self.node.addresses()
    }

    /// Stops it, and gives back what it leaves.
    pub(crate) fn stop(self) -> (TempDir, Result<(), RunError>) {
        (self.folder, self.node.stop())
    }

    pub(crate) async fn channel(&self) -> Channel {
        channel(self.addresses().grpc).await
    }

    pub(crate) async fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel().await)
    }

    pub(crate) async fn create_topic(&self, name: &str, partitions: u32) {
        let request =
            v1::CreateTopicRequest { name: name.into(), partitions, ..Default::default() };
        self.cluster().await.create_topic(request).await.expect("created");
    }

    /// Opens a produce stream on a topic, without a producer id.
    pub(crate) async fn produce(&self, topic: &str) -> Producer {
        let open = v1::ProduceOpen { topic: topic.into(), ..Default::default() };
        self.produce_as(open).await
    }

    /// Opens a produce stream.
    pub(crate) async fn produce_as(&self, open: v1::ProduceOpen) -> Producer {
        let producer = Producer::connect(self.channel().await).await;
        producer.send(v1::produce_request::Message::Open(open)).await;
        producer
    }

    /// Opens a consume stream.
    pub(crate) async fn consume(&self, subscribe: v1::Subscribe) -> Consumer {
        let consumer = Consumer::connect(self.channel().await).await;
        consumer.send(v1::consume_request::Message::Subscribe(subscribe)).await;
        consumer
    }

    /// What an HTTP client gets from the HTTP port: status line and body.
    pub(crate) async fn get(&self, path: &str) -> (String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange(self.addresses().http, request.as_bytes()).await;
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }
}

pub(crate) async fn channel(address: std::net::SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("a connection")
}

/// Sends bytes and reads until the other side closes.
pub(crate) async fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    // A reset is an answer too.
    stream.read_to_end(&mut answer).await.ok();
    answer
}

/// A produce stream.
pub(crate) struct Producer {
    pub(crate) requests: mpsc::Sender<v1::ProduceRequest>,
    pub(crate) responses: Streaming<v1::ProduceResponse>,
    waiting: Vec<v1::ProduceResult>,
}

impl Producer {
    pub(crate) async fn connect(channel: Channel) -> Self {
        let (requests, receiver) = mpsc::channel(64);
        let mut client = ProducerServiceClient::new(channel).max_encoding_message_size(64 << 20);
        let responses = client.produce(ReceiverStream::new(receiver)).await.expect("a stream");
        Self { requests, responses: responses.into_inner(), waiting: Vec::new() }
    }

    pub(crate) async fn send(&self, message: v1::produce_request::Message) {
        let request = v1::ProduceRequest { message: Some(message) };
        self.requests.send(request).await.expect("the stream is open");
    }

    pub(crate) async fn batch(&self, batch: v1::ProduceBatch) {
        self.send(v1::produce_request::Message::Batch(batch)).await;
    }

    /// Sends a raw batch to partition 0.
    pub(crate) async fn raw(&self, request_id: u64, raw: Bytes) {
        self.batch(v1::ProduceBatch {
            request_id,
            content: Some(v1::produce_batch::Content::RawBatch(raw)),
            ..Default::default()
        })
        .await;
    }

    /// The next result.
    pub(crate) async fn result(&mut self) -> v1::ProduceResult {
        while self.waiting.is_empty() {
            let response = self.responses.message().await.expect("a response").expect("a result");
            assert!(response.draining.is_none(), "nobody drains");
            self.waiting = response.results;
            self.waiting.reverse();
        }
        self.waiting.pop().expect("just seen")
    }

    /// The next result, which is an acknowledgement.
    pub(crate) async fn ack(&mut self) -> (u64, v1::ProduceAck) {
        let result = self.result().await;
        match result.outcome {
            Some(v1::produce_result::Outcome::Ack(ack)) => (result.request_id, ack),
            other => panic!("expected an ack, got {other:?}"),
        }
    }

    /// The next result, which is an error.
    pub(crate) async fn error(&mut self) -> (u64, v1::Error) {
        let result = self.result().await;
        match result.outcome {
            Some(v1::produce_result::Outcome::Error(error)) => (result.request_id, error),
            other => panic!("expected an error, got {other:?}"),
        }
    }

    /// Ends the requests, and says how the stream ends.
    pub(crate) async fn finish(self) -> Result<(), Status> {
        let Self { requests, mut responses, .. } = self;
        drop(requests);
        while let Some(response) = responses.message().await? {
            assert!(response.results.is_empty(), "an unexpected result: {response:?}");
        }
        Ok(())
    }
}

/// A consume stream.
pub(crate) struct Consumer {
    requests: mpsc::Sender<v1::ConsumeRequest>,
    pub(crate) responses: Streaming<v1::ConsumeResponse>,
}

impl Consumer {
    pub(crate) async fn connect(channel: Channel) -> Self {
        let (requests, receiver) = mpsc::channel(64);
        let mut client = ConsumerServiceClient::new(channel);
        let responses = client.consume(ReceiverStream::new(receiver)).await.expect("a stream");
        Self { requests, responses: responses.into_inner() }
    }

    pub(crate) async fn send(&self, message: v1::consume_request::Message) {
        let request = v1::ConsumeRequest { message: Some(message) };
        self.requests.send(request).await.expect("the stream is open");
    }

    pub(crate) async fn next(&mut self) -> v1::consume_response::Message {
        let response = self.responses.message().await.expect("a response").expect("a message");
        response.message.expect("a message")
    }

    /// Everything until every one of so many partitions has reached its end: values by partition and
    /// offset.
    pub(crate) async fn until_end(&mut self, partitions: usize) -> BTreeMap<(u32, u64), Vec<u8>> {
        use v1::consume_response::Message;
        let mut found = BTreeMap::new();
        let mut at_end = std::collections::BTreeSet::new();
        while at_end.len() < partitions {
            match self.next().await {
                Message::Batches(batches) => {
                    for (offset, value) in values(&batches.raw_batches) {
                        assert!(found.insert((batches.partition, offset), value).is_none());
                    }
                }
                Message::Records(records) => {
                    for record in records.records {
                        let value = record.value.unwrap_or_default().to_vec();
                        let place = (records.partition, record.offset);
                        assert!(found.insert(place, value).is_none());
                    }
                }
                Message::Watermark(watermark) => {
                    at_end.insert(watermark.partition);
                }
                Message::Positioned(_) => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
        found
    }
}

/// Offset and value of all records of stored batches, which are verified.
pub(crate) fn values(batches: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    for batch in Batches::new(batches) {
        let batch = batch.expect("a sound batch");
        let base = batch.header.leader.base_offset.get();
        for (offset, record) in (base..).zip(batch.records().expect("plain records")) {
            let record = record.expect("a record");
            found.push((offset, record.value.unwrap_or_default().to_vec()));
        }
    }
    found
}

/// A batch with these values.
pub(crate) fn batch(values: &[&[u8]]) -> Bytes {
    batch_of(ProducerStamp::NONE, values)
}

/// A batch of a producer.
pub(crate) fn batch_of(stamp: ProducerStamp, values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(forebay_format::limits::BATCH_BYTES_MAX);
    for value in values {
        builder
            .push(&RecordInput { value: Some(value), ..RecordInput::default() })
            .expect("it fits");
    }
    builder.finish(stamp)
}

/// A plain record.
pub(crate) fn record(value: &[u8]) -> v1::Record {
    v1::Record { value: Some(value.to_vec().into()), ..Default::default() }
}

/// From the earliest record of all partitions.
pub(crate) fn from_start(topic: &str, format: v1::RecordFormat) -> v1::Subscribe {
    v1::Subscribe { topic: topic.into(), format: format.into(), ..Default::default() }
}
