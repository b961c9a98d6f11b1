//! A question that another node can answer better.

use std::future::poll_fn;

use bytes::BytesMut;
use prost::Message;

use super::{Call, Destination};
use crate::grpc::frame;
use crate::grpc::services::Services;

/// Asks a node by a call with one request and one answer. `None` if it cannot be reached, or refuses. May take
/// for ever.
pub(in crate::grpc) async fn ask<A: Message + Default>(
    services: &Services,
    to: Destination,
    path: &'static str,
    request: &impl Message,
) -> Option<A> {
    let mut frame = BytesMut::new();
    let start = frame::begin_message(&mut frame);
    request.encode(&mut frame).expect("a buffer grows as it needs to");
    frame::end_message(&mut frame, start, 0);
    let mut call = Call::new(services.replicas.clone()?, to, path);
    call.send(None, frame.freeze(), None);
    call.end();
    let answer = poll_fn(|cx| call.poll_message(cx)).await;
    A::decode(answer.ok()?).ok()
}
