//! How rare calls are made: one endpoint after the other is asked until one answers.
//!
//! Nothing is retried beyond asking the next endpoint: a person waits. A call that changes something
//! goes to another endpoint only when the last one cannot have seen it.

use std::{fmt, time::Duration};

use tonic::{Response, Status, transport::Channel};

use crate::{client::Client, refusal::Refusal};

/// No endpoint answered. Worth another try.
#[derive(Debug)]
pub struct Unreachable {
    /// Every endpoint with what happened there.
    pub tried: Vec<(String, Status)>,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no endpoint answered")?;
        for (at, (address, status)) in self.tried.iter().enumerate() {
            let separator = if at == 0 { ": " } else { "; " };
            write!(f, "{separator}{address}: {}", innermost(status))?;
        }
        Ok(())
    }
}

/// The text that says most: of the innermost cause, or of the status itself.
fn innermost(status: &Status) -> String {
    let mut cause = std::error::Error::source(status);
    let mut text = status.message().to_owned();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}

impl std::error::Error for Unreachable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.tried.last().map(|(_, status)| status as _)
    }
}

/// What a call does to the cluster when it gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changes {
    Nothing,
    /// Asked a second time, it would answer to what it did the first time.
    Something,
}

/// What every call comes to before it is made an error of its own.
pub(crate) enum Failure {
    Unreachable(Unreachable),
    Refused(Box<Refusal>),
}

/// How long an endpoint may take where another one can be asked instead, and nothing is changed by asking twice.
const TURN_TIMEOUT: Duration = Duration::from_secs(4);

/// Asks one endpoint after the other until one answers, each for so long; where there is another one to ask, not
/// for long. Where an answer may have been lost, a change is not asked for again.
pub(crate) async fn ask<Q, A, F>(
    client: &Client,
    (changes, patience): (Changes, Duration),
    request: Q,
    call: impl Fn(Channel, Q) -> F,
) -> Result<A, Failure>
where
    Q: Clone,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut tried = Vec::new();
    let endpoints: Vec<_> = client.endpoints().collect();
    for (at, (address, channel)) in endpoints.iter().enumerate() {
        let is_last = at + 1 == endpoints.len();
        let patience = match changes {
            Changes::Nothing if !is_last => patience.min(TURN_TIMEOUT),
            Changes::Nothing | Changes::Something => patience,
        };
        let answer = tokio::time::timeout(patience, call(Channel::clone(channel), request.clone()))
            .await
            .unwrap_or_else(|_elapsed| Err(Status::unavailable("no answer in time")));
        let status = match answer {
            Ok(response) => {
                client.answered(address);
                return Ok(response.into_inner());
            }
            Err(status) => status,
        };
        let refusal = Refusal::from(&status);
        if !refusal.is_no_answer() {
            return Err(Failure::Refused(Box::new(refusal)));
        }
        let went_out = !is_connect_error(&status);
        tried.push(((*address).to_owned(), status));
        if went_out && changes == Changes::Something {
            break;
        }
    }
    Err(Failure::Unreachable(Unreachable { tried }))
}

/// Whether there was no connection, so that nothing can have been sent.
fn is_connect_error(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
