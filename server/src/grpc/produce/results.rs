//! The answers of a stream, many in one message.

use forebay_engine::Appended;
use forebay_proto::v1;
use forebay_proto::v1::produce_result::Outcome;

use crate::grpc::convert;
use crate::grpc::status::Failure;

/// Answers in one message, at most: far below the 4 MiB that clients take.
const RESULTS_PER_MESSAGE: usize = 10_000;

/// Answers that have not been sent.
#[derive(Debug, Default)]
pub(super) struct Results {
    results: Vec<v1::ProduceResult>,
    draining: bool,
}

impl Results {
    pub(super) fn ack(&mut self, request_id: u64, partition: u32, appended: &Appended) {
        let outcome = Some(Outcome::Ack(convert::ack(appended)));
        self.results.push(v1::ProduceResult { request_id, partition, outcome });
    }

    pub(super) fn error(&mut self, request_id: u64, partition: u32, failure: Failure) {
        let outcome = Some(Outcome::Error(failure.into_error()));
        self.results.push(v1::ProduceResult { request_id, partition, outcome });
    }

    /// Says that the node is about to stop.
    pub(super) fn draining(&mut self) {
        self.draining = true;
    }

    /// The next message, if there is anything to say.
    pub(super) fn take(&mut self) -> Option<v1::ProduceResponse> {
        if self.results.is_empty() && !self.draining {
            return None;
        }
        let later = match self.results.len() {
            length if length > RESULTS_PER_MESSAGE => self.results.split_off(RESULTS_PER_MESSAGE),
            _ => Vec::new(),
        };
        let results = std::mem::replace(&mut self.results, later);
        let draining = std::mem::take(&mut self.draining).then(v1::Draining::default);
        Some(v1::ProduceResponse { results, draining })
    }
}
