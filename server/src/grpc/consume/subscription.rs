//! The first message of a stream: what is read, from where, and in which form.

use std::collections::BTreeMap;
use std::rc::Rc;

use forebay_engine::CursorStart;
use forebay_proto::v1;

use crate::catalog::ServedTopic;
use crate::grpc::convert;
use crate::grpc::services::Services;
use crate::grpc::status::{Failure, Refusal};

/// How records are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Batches as they are stored.
    Raw,
    /// Each record as a message.
    Records,
}

/// What a client wants.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) topic: Rc<ServedTopic>,
    pub(super) format: Format,
    /// Where to start in which partition. It may have partitions that the topic has not.
    pub(super) partitions: BTreeMap<u32, CursorStart>,
    /// Bytes that may be sent; without, only the connection's own flow control holds.
    pub(super) credit_bytes: Option<u64>,
}

/// Reads the message.
pub(super) fn subscription(
    services: &Services,
    subscribe: v1::Subscribe,
) -> Result<Subscription, Failure> {
    let topic = services.topic_with_id(&subscribe.topic, &subscribe.topic_id)?;
    let format = match v1::RecordFormat::try_from(subscribe.format) {
        Ok(v1::RecordFormat::Raw) => Format::Raw,
        Ok(v1::RecordFormat::Unspecified | v1::RecordFormat::Records) => Format::Records,
        Err(_) => {
            let message = format!("there is no record format {}", subscribe.format);
            return Err(Refusal::Request { field: "format", message }.into());
        }
    };
    let default = convert::start(subscribe.start)?;
    let (wanted, there) = (subscribe.partitions.len(), topic.topic.partitions);
    if wanted > there as usize {
        let message = format!("the topic has {there} partitions, not {wanted}");
        return Err(Refusal::Request { field: "partitions", message }.into());
    }
    let mut partitions = BTreeMap::new();
    for wanted in subscribe.partitions {
        let start = match wanted.start {
            Some(start) => convert::start(Some(start))?,
            None => default,
        };
        if partitions.insert(wanted.partition, start).is_some() {
            let message = format!("partition {} stands there twice", wanted.partition);
            return Err(Refusal::Request { field: "partitions", message }.into());
        }
    }
    if partitions.is_empty() {
        partitions = (0..topic.topic.partitions).map(|index| (index, default)).collect();
    }
    let credit_bytes = (subscribe.credit_bytes > 0).then_some(subscribe.credit_bytes);
    Ok(Subscription { topic, format, partitions, credit_bytes })
}
