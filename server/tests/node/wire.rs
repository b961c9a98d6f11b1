//! The port itself: standard services, and what is not gRPC at all.

use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::support::{Server, batch, block_on, exchange};

#[test]
fn health_is_told_for_each_service() {
    block_on(async {
        let server = Server::start();
        let mut health = HealthClient::new(server.channel().await);
        let services = [
            "",
            "forebay.v1.ProducerService",
            "forebay.v1.ConsumerService",
            "forebay.v1.ClusterService",
        ];
        for service in services {
            let request = HealthCheckRequest { service: service.into() };
            let answer = health.check(request).await.expect(service).into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        }
        let unknown = HealthCheckRequest { service: "x".into() };
        assert_eq!(health.check(unknown).await.expect_err("unknown").code(), Code::NotFound);
    });
}

#[test]
fn reflection_lists_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    block_on(async {
        let server = Server::start();
        let mut client = ServerReflectionClient::new(server.channel().await);
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let answers = client.server_reflection_info(tokio_stream::once(request)).await;
        let answer = answers.expect("answers").into_inner().next().await;
        let answer = answer.expect("an answer").expect("a list").message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = answer else {
            panic!("no list: {answer:?}")
        };
        let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
        for service in ["forebay.v1.ProducerService", "grpc.health.v1.Health"] {
            assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
        }
    });
}

#[test]
fn reflection_of_the_older_version_finds_our_messages() {
    use tonic_reflection::pb::v1alpha::ServerReflectionRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;

    block_on(async {
        let server = Server::start();
        let mut client = ServerReflectionClient::new(server.channel().await);
        let symbol = "forebay.v1.ProduceBatch".to_owned();
        let message_request = Some(MessageRequest::FileContainingSymbol(symbol));
        let request = ServerReflectionRequest { host: String::new(), message_request };
        let answers = client.server_reflection_info(tokio_stream::once(request)).await;
        let answer = answers.expect("answers").into_inner().next().await;
        let answer = answer.expect("an answer").expect("a file").message_response;
        assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
    });
}

#[test]
fn what_is_not_http2_is_told_or_closed_and_hurts_nobody() {
    block_on(async {
        let server = Server::start();
        let http1 = exchange(server.addresses().grpc, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let http1 = String::from_utf8_lossy(&http1).into_owned();
        assert!(http1.starts_with("HTTP/1.1 426 ") && http1.contains("gRPC"), "{http1}");
        // However much it sends, it hears why it is refused.
        let mut long = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n".to_vec();
        long.resize(300_000, b'x');
        let answer = exchange(server.addresses().grpc, &long).await;
        assert!(answer.starts_with(b"HTTP/1.1 426 "));
        let mut garbage = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        garbage.extend((0..4096_u32).map(|i| u8::try_from(i * 31 % 251).expect("small")));
        for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\0\0\0\0", b"PRI * HTTP/2", &garbage]
        {
            let open = exchange_and_close(server.addresses().grpc, bytes);
            tokio::time::timeout(std::time::Duration::from_secs(20), open).await.expect("closed");
        }
        let mut producer = server.produce("still-here").await;
        producer.raw(1, batch(&[b"x"])).await;
        producer.ack().await;
    });
}

/// Sends bytes, closes our side, and reads until the other side closes too.
async fn exchange_and_close(address: std::net::SocketAddr, bytes: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    stream.write_all(bytes).await.ok();
    stream.shutdown().await.ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
}

#[test]
fn an_unknown_call_is_unimplemented() {
    block_on(async {
        let server = Server::start();
        let mut client = tonic::client::Grpc::new(server.channel().await);
        client.ready().await.expect("ready");
        let path = http::uri::PathAndQuery::from_static("/forebay.v1.ProducerService/Nothing");
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let status = client.unary(tonic::Request::new(()), path, codec).await.expect_err("unknown");
        assert_eq!(status.code(), Code::Unimplemented);
        assert_eq!(status.get_details_error_info().expect("an ErrorInfo").domain, "forebay");
    });
}

#[test]
fn the_http_port_shows_metrics_health_and_version() {
    block_on(async {
        let server = Server::start();
        let mut producer = server.produce("counted").await;
        producer.raw(1, batch(&[b"x", b"y"])).await;
        producer.ack().await;
        let (status, page) = server.get("/metrics").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        let records: u64 = page
            .lines()
            .filter_map(|line| line.strip_prefix("forebay_appended_records_total{"))
            .filter_map(|line| line.split_once("} ")?.1.parse::<u64>().ok())
            .sum();
        assert_eq!(records, 2, "{page}");
        assert_eq!(server.get("/healthz").await, ("HTTP/1.1 200 OK".into(), "ok\n".into()));
        assert_eq!(server.get("/readyz").await, ("HTTP/1.1 200 OK".into(), "ready\n".into()));
        let (_, version) = server.get("/version").await;
        assert!(
            version.contains("\"version\":") && version.contains("\"cluster_id\":"),
            "{version}"
        );
        let (status, hint) = server.get("/v1/topics").await;
        assert_eq!(status, "HTTP/1.1 404 Not Found");
        assert!(hint.contains("/metrics"), "{hint}");
    });
}
