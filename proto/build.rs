//! Compiles the .proto files with protox, so that no `protoc` is needed.

use prost::Message;

const FILES: [&str; 7] = [
    "forebay/v1/common.proto",
    "forebay/v1/producer.proto",
    "forebay/v1/consumer.proto",
    "forebay/v1/cluster.proto",
    "forebay/v1/replication.proto",
    "forebay/v1/admin.proto",
    "forebay/v1/fault.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("forebay.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").build_transport(false).compile_fds(descriptors)?;
    let etcd = protox::compile(["etcd/rpc.proto"], ["proto"])?;
    tonic_prost_build::configure().build_transport(false).build_server(false).compile_fds(etcd)?;
    Ok(())
}
