//! The hot calls by hand: the gRPC message prefix, the few protobuf fields that occur on the hot
//! path, and whole messages put together from HTTP/2 frames without a copy. What is rare inside
//! them, such as an error, is decoded by the generated types. Nothing here opens a connection.

mod consume;
mod incoming;
mod produce;
mod protobuf;
mod slices;

pub(crate) use consume::{ConsumeMessage, decode_consume_response, encode_consume_request};
pub(crate) use incoming::{BrokenStream, MessageReader, StreamEnd};
pub(crate) use produce::{
    AckFields, BatchMessage, PREFIX_BYTES_MAX, Produced, WireConcern, decode_produce_response,
    encode_open,
};
pub(crate) use protobuf::WireError;
pub(crate) use slices::Slices;

/// Bytes of the prefix of a gRPC message: a flag and a big-endian length.
pub(crate) const GRPC_PREFIX_BYTES: usize = 5;
