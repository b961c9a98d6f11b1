//! The real server under power cuts: a workload with producers, topics that come and go, retention
//! and restarts; and a judge that reads everything back after the cut.
//!
//! ```text
//! workload ── recorder ──► facts ──(up to the cut)──► promises ──┐
//!   topics, streams, server                                      ├─ verdict
//!                                            inspection ──► seen ┘
//! ```

mod fact;
mod inspection;
mod partition;
mod promise;
mod record;
mod recorder;
mod retry;
mod server;
mod stream;
mod subject;
mod topics;
mod verdict;
mod workload;

pub(crate) use self::server::ServerProgram;
pub(crate) use self::subject::Served;
