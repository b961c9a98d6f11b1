//! The words of an etcd transaction, and how one is carried out: conditions, what is written, what is
//! read. Knows nothing of what the keys mean.

use forebay_proto::etcd::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
    TxnResponse, compare, request_op, response_op,
};
use forebay_proto::etcd::mvccpb::KeyValue;
use forebay_replication::metadata::Revision;
use futures_util::FutureExt;

use super::connection::Connection;
use super::error::EtcdError;
use super::keys::end_of;

/// etcd carries out so many operations in one transaction, unless it is told otherwise.
pub(super) const OPERATIONS_MAX: usize = 128;

/// etcd counts with a sign.
pub(super) fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.get()).unwrap_or(i64::MAX)
}

/// The revision of an answer; a missing or negative one is that of a key which is not there.
pub(super) fn revision(number: i64) -> Revision {
    u64::try_from(number).map_or(Revision::ABSENT, Revision::new)
}

fn condition(key: &str, target: compare::CompareTarget, is: compare::TargetUnion) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: target.into(),
        key: key.as_bytes().to_vec(),
        target_union: Some(is),
        range_end: Vec::new(),
    }
}

/// The key was created then; [`Revision::ABSENT`]: is not there.
pub(super) fn created(key: &str, at: Revision) -> Compare {
    let is = compare::TargetUnion::CreateRevision(signed(at));
    condition(key, compare::CompareTarget::Create, is)
}

/// The key is not there.
pub(super) fn absent(key: &str) -> Compare {
    created(key, Revision::ABSENT)
}

/// The key is there.
pub(super) fn present(key: &str) -> Compare {
    Compare { result: compare::CompareResult::NotEqual.into(), ..absent(key) }
}

/// The key was last written then.
pub(super) fn modified(key: &str, at: Revision) -> Compare {
    let is = compare::TargetUnion::ModRevision(signed(at));
    condition(key, compare::CompareTarget::Mod, is)
}

/// The key holds these bytes.
pub(super) fn holds(key: &str, value: Vec<u8>) -> Compare {
    condition(key, compare::CompareTarget::Value, compare::TargetUnion::Value(value))
}

fn operation(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// Writes a key; one that is under no lease has the lease 0.
pub(super) fn put(key: &str, value: Vec<u8>, lease: i64) -> RequestOp {
    let key = key.as_bytes().to_vec();
    operation(request_op::Request::RequestPut(PutRequest {
        key,
        value,
        lease,
        ..PutRequest::default()
    }))
}

/// Removes a key, if it is there.
pub(super) fn delete(key: &str) -> RequestOp {
    let key = key.as_bytes().to_vec();
    operation(request_op::Request::RequestDeleteRange(DeleteRangeRequest {
        key,
        ..DeleteRangeRequest::default()
    }))
}

/// Removes all keys that begin so.
pub(super) fn delete_all(prefix: &str) -> RequestOp {
    operation(request_op::Request::RequestDeleteRange(DeleteRangeRequest {
        key: prefix.as_bytes().to_vec(),
        range_end: end_of(prefix),
        ..DeleteRangeRequest::default()
    }))
}

/// Reads a key.
pub(super) fn get(key: &str) -> RequestOp {
    let key = key.as_bytes().to_vec();
    operation(request_op::Request::RequestRange(RangeRequest { key, ..RangeRequest::default() }))
}

/// Reads all keys that begin so.
pub(super) fn get_all(prefix: &str) -> RequestOp {
    operation(request_op::Request::RequestRange(RangeRequest {
        key: prefix.as_bytes().to_vec(),
        range_end: end_of(prefix),
        ..RangeRequest::default()
    }))
}

/// If all conditions hold, the operations are carried out; if not, those of `otherwise`.
pub(super) fn when(
    conditions: Vec<Compare>,
    then: Vec<RequestOp>,
    otherwise: Vec<RequestOp>,
) -> TxnRequest {
    TxnRequest { compare: conditions, success: then, failure: otherwise }
}

/// What a transaction did.
#[derive(Debug)]
pub(super) struct Done {
    /// Whether the conditions held.
    pub(super) held: bool,
    /// Of the store, after it.
    pub(super) revision: Revision,
    /// What its reads found, in order.
    pub(super) found: Vec<Vec<KeyValue>>,
}

impl From<TxnResponse> for Done {
    fn from(answer: TxnResponse) -> Self {
        let found = |operation| match operation {
            Some(response_op::Response::ResponseRange(RangeResponse { kvs, .. })) => Some(kvs),
            _ => None,
        };
        Self {
            held: answer.succeeded,
            revision: answer.header.map_or(Revision::ABSENT, |header| revision(header.revision)),
            found: answer.responses.into_iter().filter_map(|it| found(it.response)).collect(),
        }
    }
}

impl Connection {
    /// Carries out a transaction, once.
    ///
    /// # Errors
    /// See [`EtcdError`]. Unless etcd refuses, nobody knows then whether it happened, or will.
    pub(super) async fn transact(&self, request: TxnRequest) -> Result<Done, EtcdError> {
        let call = move |asked: super::connection::Asked| {
            let request = asked.request(request.clone());
            async move { asked.kv().txn(request).await }.boxed()
        };
        self.ask(call).await.map(Done::from)
    }

    /// Carries out a transaction that may happen twice, and whose second time tells what the first did;
    /// tries until there is an answer.
    ///
    /// # Errors
    /// What waiting does not mend.
    pub(super) async fn transact_until_answered(
        &self,
        request: TxnRequest,
    ) -> Result<Done, EtcdError> {
        let call = move |asked: super::connection::Asked| {
            let request = asked.request(request.clone());
            async move { asked.kv().txn(request).await }.boxed()
        };
        self.ask_until_answered(call).await.map(Done::from)
    }

    /// Reads in one transaction, linearizably, at one revision; tries until there is an answer.
    ///
    /// # Errors
    /// What waiting does not mend.
    pub(super) async fn read(&self, reads: Vec<RequestOp>) -> Result<Done, EtcdError> {
        self.transact_until_answered(when(Vec::new(), reads, Vec::new())).await
    }
}
