//! R3: keeps one lease alive, over a stream that is opened again as often as it breaks.
//!
//! The lease's machine numbers its keep-alives and counts from when it asked for each. The stream answers
//! in the order asked, without numbers. What is not answered on a stream that broke, or that says nothing
//! for too long, is asked again on the next one under the same number: its deadline counts from the first
//! time, so that is never too late.

use std::collections::VecDeque;

use async_channel::{Receiver, Sender};
use forebay_proto::etcd::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use forebay_replication::lease::LeaseInput;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep_until};
use tonic::Streaming;

use super::connection::{Asked, Connection};
use super::error::EtcdError;

/// Requests that wait for a stream to carry them. One is sent at a time, and one is given up.
const REQUESTS_MAX: usize = 16;

/// Keeps `lease` alive for as long as `numbers` come, or until etcd says that it is gone. A number stands
/// for one keep-alive; its answer goes to `inputs`.
pub(super) async fn keep_alive(
    connection: Connection,
    lease: i64,
    numbers: Receiver<u64>,
    inputs: Sender<LeaseInput>,
) {
    let mut stream = Stream { connection, lease, numbers, inputs };
    let mut unanswered = None;
    while let Some(number) = stream.next_number(unanswered.take()).await {
        match stream.open().await {
            Ok((at, requests, answers)) => match stream.serve(number, &requests, answers).await {
                Ended::Gone => return,
                Ended::Broken { unanswered: left, status } => {
                    stream.connection.stream_ended(at, status.as_deref());
                    unanswered = left;
                }
            },
            Err(error) => {
                stream.connection.pause_after(&error).await;
                unanswered = Some(number);
            }
        }
    }
}

struct Stream {
    connection: Connection,
    lease: i64,
    numbers: Receiver<u64>,
    inputs: Sender<LeaseInput>,
}

/// How a stream has ended.
enum Ended {
    /// The lease is gone, or nobody wants it any more.
    Gone,
    Broken {
        unanswered: Option<u64>,
        status: Option<Box<tonic::Status>>,
    },
}

type Opened = (usize, Sender<LeaseKeepAliveRequest>, Streaming<LeaseKeepAliveResponse>);

impl Stream {
    /// The number to ask next: the newest, the one that was not answered, or the next that comes.
    async fn next_number(&self, unanswered: Option<u64>) -> Option<u64> {
        let mut newest = unanswered;
        while let Ok(number) = self.numbers.try_recv() {
            newest = Some(number);
        }
        match newest {
            Some(number) if !self.numbers.is_closed() => Some(number),
            _ => self.numbers.recv().await.ok(),
        }
    }

    /// A stream that carries the first keep-alive already: etcd says nothing before it has heard something.
    async fn open(&self) -> Result<Opened, EtcdError> {
        let id = self.lease;
        let call = move |asked: Asked| {
            async move {
                let (requests, sent) = async_channel::bounded(REQUESTS_MAX);
                // There is room for the first.
                requests.try_send(LeaseKeepAliveRequest { id }).ok();
                let opened = asked.lease().lease_keep_alive(asked.request(sent)).await?;
                Ok(opened.map(|answers| (requests, answers)))
            }
            .boxed()
        };
        let (at, (requests, answers)) = self.connection.open(call).await?;
        Ok((at, requests, answers))
    }

    /// Answers this and every later number alike, until nobody asks any more: the machine hears only the answer to
    /// its last keep-alive, and may have given up the one that has found out.
    async fn say_gone(&self, first: u64) {
        let mut number = Ok(first);
        while let Ok(asked) = number {
            let gone = LeaseInput::Answered { number: asked, ttl_ms: 0 };
            if self.inputs.send(gone).await.is_err() {
                return;
            }
            number = self.numbers.recv().await;
        }
    }

    async fn serve(
        &mut self,
        first: u64,
        requests: &Sender<LeaseKeepAliveRequest>,
        mut answers: Streaming<LeaseKeepAliveResponse>,
    ) -> Ended {
        let timeout = self.connection.timeout();
        let mut waiting = VecDeque::from([(first, deadline(timeout))]);
        loop {
            let patience = waiting.front().map(|(_, until)| *until);
            let last = waiting.back().map(|(number, _)| *number);
            let broken = |status| Ended::Broken { unanswered: last, status };
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        let Some((number, _)) = waiting.pop_front() else { continue };
                        let ttl_ms = u64::try_from(answer.ttl).unwrap_or(0) * 1000;
                        if ttl_ms == 0 {
                            let last = waiting.back().map_or(number, |(last, _)| *last);
                            self.say_gone(last).await;
                            return Ended::Gone;
                        }
                        let told = self.inputs.send(LeaseInput::Answered { number, ttl_ms }).await;
                        if told.is_err() {
                            return Ended::Gone;
                        }
                    }
                    Ok(None) => return broken(None),
                    Err(status) => return broken(Some(Box::new(status))),
                },
                number = self.numbers.recv() => {
                    let Ok(number) = number else { return Ended::Gone };
                    waiting.push_back((number, deadline(timeout)));
                    if requests.try_send(LeaseKeepAliveRequest { id: self.lease }).is_err() {
                        return Ended::Broken { unanswered: Some(number), status: None };
                    }
                }
                () = sleep_until(patience.unwrap_or_else(|| deadline(timeout))), if patience.is_some() => {
                    return broken(Some(Box::new(tonic::Status::deadline_exceeded("a keep-alive was not answered"))));
                }
            }
        }
    }
}

fn deadline(timeout: std::time::Duration) -> Instant {
    Instant::now() + timeout
}
