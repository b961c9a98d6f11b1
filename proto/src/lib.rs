//! The wire types of Forebay, generated from the files in `proto/forebay/v1`, and of etcd, as far as
//! Forebay speaks to it. Nothing here is written by hand but this page.

/// Package `forebay.v1`.
pub mod v1 {
    tonic::include_proto!("forebay.v1");

    /// The encoded `google.protobuf.FileDescriptorSet` of the package, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/forebay.bin"));
}

/// etcd's API: what `proto/etcd` holds of it.
pub mod etcd {
    /// Keys and events.
    pub mod mvccpb {
        tonic::include_proto!("mvccpb");
    }

    /// Requests and services.
    pub mod etcdserverpb {
        tonic::include_proto!("etcdserverpb");
    }
}
