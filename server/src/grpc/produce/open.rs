//! The first message of a stream: which topic, and who produces.

use std::rc::Rc;

use bytes::Bytes;
use forebay_format::{ProducerEpoch, ProducerId};
use forebay_proto::v1;

use crate::catalog::ServedTopic;
use crate::grpc::services::Services;
use crate::grpc::status::{Failure, Refusal};

/// Who produces on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    /// Zero: nobody in particular.
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// Reads the message, and makes the topic if need be.
pub(super) async fn open(
    services: Rc<Services>,
    open: v1::ProduceOpen,
) -> Result<(Rc<ServedTopic>, Identity), Failure> {
    let identity = identity(&open)?;
    let topic = services.topic_to_produce(&open.topic, &open.topic_id).await?;
    Ok((topic, identity))
}

/// The message by which another node takes up the same stream.
pub(super) fn again(topic: &ServedTopic, identity: Identity) -> v1::ProduceOpen {
    let Identity { id, epoch } = identity;
    let producer_id =
        if id.is_zero() { Bytes::new() } else { Bytes::copy_from_slice(&id.to_bytes()) };
    v1::ProduceOpen {
        topic: topic.topic.name.to_string(),
        producer_id,
        producer_epoch: epoch.get(),
        topic_id: topic.topic.id.to_string(),
    }
}

fn identity(open: &v1::ProduceOpen) -> Result<Identity, Refusal> {
    let wrong = |message| Refusal::Request { field: "producer_id", message };
    let id = match open.producer_id.first_chunk::<16>() {
        Some(bytes) if open.producer_id.len() == 16 => ProducerId::from_bytes(*bytes),
        None if open.producer_id.is_empty() => ProducerId::NONE,
        _ => {
            let found = open.producer_id.len();
            return Err(wrong(format!("expected 0 or 16 bytes, found {found}")));
        }
    };
    if id.is_zero() && !open.producer_id.is_empty() {
        return Err(wrong("16 zero bytes are no identity: send none, or random ones".to_owned()));
    }
    if id.is_zero() && open.producer_epoch != 0 {
        return Err(wrong("a producer epoch needs a producer id".to_owned()));
    }
    Ok(Identity { id, epoch: ProducerEpoch::new(open.producer_epoch) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(id: &[u8], producer_epoch: u32) -> Result<Identity, Refusal> {
        let producer_id = id.to_vec().into();
        identity(&v1::ProduceOpen {
            topic: "t".into(),
            producer_id,
            producer_epoch,
            topic_id: String::new(),
        })
    }

    #[test]
    fn a_producer_has_16_bytes_or_none() {
        let id = [7; 16];
        let some = Identity { id: ProducerId::from_bytes(id), epoch: ProducerEpoch::new(2) };
        assert_eq!(from(&id, 2).expect("an identity"), some);
        let none = Identity { id: ProducerId::NONE, epoch: ProducerEpoch::ZERO };
        assert_eq!(from(&[], 0).expect("no identity"), none);
        assert!(from(&[7; 15], 0).is_err());
        assert!(from(&[7; 17], 0).is_err());
        assert!(from(&[0; 16], 0).is_err());
        assert!(from(&[], 1).is_err());
    }
}
