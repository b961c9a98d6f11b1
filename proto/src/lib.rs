//! The wire types of Forebay, generated from the files in `proto/forebay/v1`. Nothing here is
//! written by hand but this page.

/// Package `forebay.v1`.
pub mod v1 {
    tonic::include_proto!("forebay.v1");

    /// The encoded `google.protobuf.FileDescriptorSet` of the package, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/forebay.bin"));
}
