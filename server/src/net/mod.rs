//! HTTP/2 on glommio: sockets, connections, and the executor of a shard as hyper wants it. Besides the
//! engine, the only home of glommio, and with it of `unsafe`.
//!
//! Nothing in here knows what is served: a connection gets a handler, and calls it for every request.

mod body;
mod client;
mod connection;
mod http_timer;
mod io;
mod listener;
mod message;
mod preface;
mod runtime;
mod stop;

pub(crate) use body::{Piece, ResponseBody, StreamBody};
pub(crate) use client::{CallError, PeerConnection};
pub(crate) use connection::{ConnectionCounts, ConnectionLimits, Connections, Handler};
pub use listener::BindError;
pub(crate) use listener::{BoundSocket, Listener};
pub(crate) use message::{PREFIX_BYTES, begin_message, end_message};
pub use runtime::SpawnError;
pub(crate) use runtime::{ShardThread, cores, sleep, spawn, spawn_shard, timeout};
pub(crate) use stop::{Stop, StopSignal, Stopped};
