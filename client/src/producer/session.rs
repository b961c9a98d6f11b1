//! A session: the streams, one after the other, that carry some partitions to one address. It
//! connects when there is something to send, and does so again after every failure that is not for
//! good; what was not answered is sent again on the next stream.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Buf, Bytes};
use forebay_format::PartitionIndex;
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};

use super::{body::ProduceBody, report::DeliveryFailure, shared::Shared};
use crate::{
    backoff::Backoff,
    call::CallEnded,
    client::Client,
    connection::{Carried, ConnectionError, RequestBody},
    outage::Stuck,
    refusal::Refusal,
    wire::{
        BrokenStream, MessageReader, Produced, StreamEnd, decode_produce_response, encode_open,
    },
};

/// A stream that is lost is nothing to be told of; one that cannot be replaced is.
const FAILURES_UNTOLD: u32 = 1;

/// While batches go through another node, their own one is looked for this often.
const TURN_BACK_AFTER: Duration = Duration::from_secs(5);

const PRODUCE: &str = "/forebay.v1.ProducerService/Produce";

/// Runs a session until its task is aborted.
pub(super) async fn run(shared: Arc<Shared>, session: usize, address: String) {
    let mut backoff = Backoff::new(session as u64 ^ 0x5555_5555);
    let mut makes_sense = true;
    let mut through_another = false;
    loop {
        wait_for_work(&shared, session).await;
        // Its own address first; then in turns whichever endpoint answers, which hands the batches on.
        let fallback = (through_another || !makes_sense).then(|| shared.client.last_endpoint());
        let via = fallback.as_deref().unwrap_or(&address);
        let own = via == address;
        let stream = shared.outbox.with(|outbox| outbox.begin_stream(session));
        let on_answer = || {
            backoff.succeeded();
            shared.client.outages().over(|| Stuck::Stream(address.clone()));
        };
        let way = if own || !makes_sense { None } else { Some(address.as_str()) };
        let ended = {
            let streamed = run_stream(&shared, session, stream, (via, own), on_answer);
            let turned_back = turn_back(&shared, session, way);
            tokio::select! {
                ended = streamed => ended,
                never = turned_back => match never {},
            }
        };
        if backoff.failures() >= FAILURES_UNTOLD {
            shared.client.outages().began(Stuck::Stream(address.clone()), &ended);
        }
        if shared.outbox.with(|outbox| outbox.end_stream(session, Instant::now())) {
            shared.timers.notify_one();
        }
        through_another = !through_another;
        let mut wait = backoff.next();
        match ended {
            CallEnded::Refused(refusal) if !refusal.is_retriable() => {
                tracing::warn!(topic = shared.topic, %via, %refusal, "produce stream refused");
                let cause = Arc::new(DeliveryFailure::Refused(refusal));
                shared.outbox.with(|outbox| outbox.fail_session(session, &cause));
                shared.report();
            }
            CallEnded::Refused(refusal) => {
                tracing::debug!(topic = shared.topic, %via, %refusal, "produce stream refused");
                wait = wait.max(refusal.retry_after.unwrap_or_default());
            }
            CallEnded::NotConnected(error @ ConnectionError::Address { .. }) => {
                tracing::warn!(topic = shared.topic, %error, "the server names an address that is none");
                makes_sense = false;
            }
            ended => {
                tracing::debug!(topic = shared.topic, %via, error = &ended as &dyn std::error::Error, "produce stream lost");
            }
        }
        shared.refresh.notify_one();
        sleep(wait).await;
    }
}

/// Ends the stream through another node, once everything on it is answered, when the address that the
/// partitions are served at answers again.
async fn turn_back(shared: &Shared, session: usize, way: Option<&str>) -> Infallible {
    if let Some(address) = way {
        loop {
            sleep(TURN_BACK_AFTER).await;
            if shared.client.admin().answers(address).await {
                shared.outbox.with(|outbox| outbox.stop_sending(session));
                break;
            }
        }
    }
    pending().await
}

async fn wait_for_work(shared: &Shared, session: usize) {
    poll_fn(|cx| {
        let ready =
            shared.outbox.with(|outbox| outbox.poll_ready(session, cx.waker(), Instant::now()));
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn run_stream(
    shared: &Arc<Shared>,
    session: usize,
    stream: u64,
    (address, own): (&str, bool),
    mut on_answer: impl FnMut(),
) -> CallEnded {
    let mut connection = match shared.client.connection(address).await {
        Ok(connection) => connection,
        Err(error) => return error.into(),
    };
    let body =
        RequestBody::new(ProduceBody::new(Arc::clone(shared), session, stream).boxed_unsync());
    let carried = if own { Carried::Never } else { Carried::IfNeedBe };
    let response = match connection.call(PRODUCE, carried, body).await {
        Ok(response) => response,
        Err(error) => return BrokenStream::from(error).into(),
    };
    let mut reader = match MessageReader::new(response) {
        Ok(reader) => reader,
        Err(end) => return end.into(),
    };
    loop {
        let message = match reader.message().await {
            Ok(message) => message.into_contiguous(),
            Err(end) => return end.into(),
        };
        on_answer();
        match take_answers(shared, session, message) {
            // Whoever was to hand the batches on does not: back to where they belong.
            Ok(Some(misplaced)) if !own => return CallEnded::Refused(misplaced),
            Ok(_) => {}
            Err(ended) => return ended,
        }
    }
}

/// Takes in the answers of one message. A refusal for want of leadership comes back.
fn take_answers(
    shared: &Shared,
    session: usize,
    message: Bytes,
) -> Result<Option<Refusal>, CallEnded> {
    let now = Instant::now();
    let mut effects = super::outbox::Effects::default();
    let mut news = Vec::new();
    let any_outage = shared.client.outages().any();
    shared.outbox.with(|outbox| -> Result<(), CallEnded> {
        let each = |produced: Produced| {
            match &produced.outcome {
                Ok(_) if any_outage || !news.is_empty() => news.push((produced.partition, None)),
                // Others are answers to what was sent behind the batch that was refused.
                Err(refusal) if refusal.retry_after.is_some() => {
                    news.push((produced.partition, Some(refusal.clone())));
                }
                _ => {}
            }
            effects |= outbox.answer(produced, now);
        };
        if decode_produce_response(message, each).map_err(BrokenStream::from)? {
            outbox.stop_sending(session);
        }
        Ok(())
    })?;
    for (partition, refusal) in news {
        tell(shared, partition, refusal);
    }
    if effects.timer_changed {
        shared.timers.notify_one();
    }
    if effects.misplaced.is_some() {
        shared.refresh.notify_one();
    }
    shared.report();
    Ok(effects.misplaced)
}

/// Lets whoever wonders know whether the server takes batches of a partition. Not under the outbox's lock:
/// who listens may be slow.
fn tell(shared: &Shared, partition: PartitionIndex, refusal: Option<Refusal>) {
    let stuck = || Stuck::Partition(shared.topic.clone(), partition);
    match refusal {
        Some(refusal) => shared.client.outages().began(stuck(), &refusal),
        None => shared.client.outages().over(stuck),
    }
}

/// Opens a stream without sending a batch, which makes the server make the topic where that is
/// allowed.
///
/// # Errors
/// When the server refused, or did not answer.
pub(super) async fn open_once(
    client: &Client,
    address: &str,
    topic: &str,
) -> Result<(), CallEnded> {
    let mut connection = client.connection(address).await?;
    let open = encode_open(topic, None).chain(Bytes::new());
    let response = connection
        .call(PRODUCE, Carried::IfNeedBe, RequestBody::new(Full::new(open)))
        .await
        .map_err(BrokenStream::from)?;
    match MessageReader::new(response)?.message().await {
        Ok(_) | Err(StreamEnd::Finished) => Ok(()),
        Err(end) => Err(end.into()),
    }
}
