//! The Rust client of Forebay, on tokio.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use forebay_client::{Client, ConsumerOptions, ProducerOptions, Record};
//!
//! let client = Client::connect(["127.0.0.1:7400"]).await?;
//! let producer = client.producer("orders", ProducerOptions::default()).await?;
//! producer.send(&Record::of(b"a value").with_key(b"a key")).await?;
//! producer.flush().await?; // acknowledged: on stable storage, unless topic or server ask for less
//!
//! let mut consumer = client.consumer("orders", ConsumerOptions::default()).await?;
//! let batch = consumer.next_batch().await?;
//! for record in batch.records()? {
//!     let (offset, record) = record?;
//!     println!("{offset}: {:?}", record.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it owns |
//! | --- | --- |
//! | `client` | endpoints and shared connections |
//! | `admin`, `metadata` | topics, and where their partitions are served |
//! | `operator` | what the people who run a cluster see and do |
//! | `faults` | has things go wrong on purpose, at nodes that allow it |
//! | `asking` | rare calls: one endpoint after the other |
//! | `producer` | records in, acknowledged batches out |
//! | `consumer` | verified batches, in order |
//! | `connection`, `wire` | HTTP/2 and the hot messages, encoded by hand |
//! | `refusal` | what the server says when it refuses |
//! | `outage` | news of what is in the way while it is tried again |

mod admin;
mod asking;
mod backoff;
mod call;
mod client;
mod clock;
mod connection;
mod consumer;
mod faults;
mod lock;
mod metadata;
mod operator;
mod outage;
mod partitioner;
mod producer;
mod refusal;
mod wire;

pub use admin::{
    Admin, CreateTopicError, DeleteTopicError, DescribeTopicError, ListTopicsError, MetadataError,
    NewTopic,
};
pub use asking::Unreachable;
pub use client::{Client, ConnectError};
pub use connection::ConnectionError;
pub use consumer::{
    ConsumeError, ConsumedBatch, ConsumedRecords, Consumer, ConsumerOptions, Event, OutOfRange,
    ReadFrom, StartAt, SubscribeError,
};
pub use faults::{Fault, FaultDirection, FaultKind, Faults};
pub use forebay_format::{
    NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, RecordRef, TimestampMs, limits,
};
pub use metadata::{
    ClusterMetadata, Node, PartitionMetadata, PartitionStatus, TopicDescription, TopicMetadata,
    TopicSummary,
};
pub use operator::{
    ClusterEvent, ClusterHealth, ClusterInfo, ClusterMember, Confirmed, EventKind, Events, Forced,
    HealthConcern, NodeHealth, OperateError, Operator, Transferred,
};
pub use outage::Outage;
pub use partitioner::{murmur2, partition_of_key};
pub use producer::{
    AppendError, BatchAck, DeliveryError, DeliveryFailure, DeliveryReport, IN_FLIGHT_MAX,
    OpenError, PreparedBatch, Producer, ProducerOptions, Record, RecordAck, Resume, SendError,
    Ticket, WriteConcern,
};
pub use refusal::{Refusal, reason};
