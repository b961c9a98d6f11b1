//! Starting, stopping, starting again.

use forebay_proto::v1;
use forebay_server::{Node, RunError};
use tonic::Code;

use crate::support::{Server, batch, block_on, config, folder, from_start};

#[test]
fn what_was_acknowledged_is_there_after_a_stop_and_in_a_higher_epoch() {
    let server = Server::start();
    let first = block_on(async {
        server.create_topic("kept", 4).await;
        let mut producer = server.produce("kept").await;
        producer.raw(1, batch(&[b"before"])).await;
        producer.ack().await.1
    });
    let (folder, stopped) = server.stop();
    stopped.expect("a clean stop");
    assert!(folder.path().join("data/clean").exists(), "a clean stop leaves its file");
    let server = Server::start_in(folder, &[]);
    block_on(async {
        let mut producer = server.produce("kept").await;
        producer.raw(1, batch(&[b"after"])).await;
        let (_, ack) = producer.ack().await;
        assert_eq!(ack.base_offset, 1);
        assert!(ack.epoch > first.epoch);
        let mut consumer = server.consume(from_start("kept", v1::RecordFormat::Records)).await;
        let found: Vec<Vec<u8>> = consumer.until_end(4).await.into_values().collect();
        assert_eq!(found, [b"before".to_vec(), b"after".to_vec()]);
    });
    server.stop().1.expect("a clean stop");
}

#[test]
fn a_second_node_on_the_same_data_is_refused() {
    let server = Server::start();
    let data = server.folder.path().join("data");
    let error = Node::start(config(&data, &[])).expect_err("two nodes on one directory");
    assert!(matches!(error, RunError::Data(_)), "{error:?}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    server.stop().1.expect("a clean stop");
}

#[test]
fn a_port_that_is_taken_is_refused_and_named() {
    let server = Server::start();
    let taken = server.addresses().grpc.to_string();
    let other = folder();
    let settings = [("network.listen", taken.as_str())];
    let error = Node::start(config(&other.path().join("data"), &settings)).expect_err("taken");
    assert!(error.to_string().starts_with(&format!("{taken}: another process")), "{error}");
    let taken = server.addresses().http.to_string();
    let settings = [("network.http", taken.as_str())];
    let error = Node::start(config(&other.path().join("data"), &settings)).expect_err("taken");
    assert!(error.to_string().starts_with(&format!("{taken}: another process")), "{error}");
    server.stop().1.expect("a clean stop");
}

#[test]
fn a_directory_with_something_else_in_it_is_refused() {
    let folder = folder();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    std::fs::write(data.join("thesis.tex"), "years of work").expect("a file");
    let error = Node::start(config(&data, &[])).expect_err("foreign");
    assert!(error.to_string().contains("thesis.tex"), "{error}");
}

#[test]
fn a_draining_node_tells_its_streams_and_answers_what_it_took() {
    let server = Server::start_with(&[("node.drain_timeout", "10m")]);
    block_on(async {
        let mut producer = server.produce("draining").await;
        producer.raw(1, batch(&[b"taken"])).await;
        producer.ack().await;
        let mut consumer = server.consume(from_start("draining", v1::RecordFormat::Raw)).await;
        consumer.until_end(1).await;
        let stop = tokio::task::spawn_blocking(move || server.stop());

        let response = producer.responses.message().await.expect("a notice").expect("a notice");
        assert!(response.draining.is_some());
        producer.raw(2, batch(&[b"too late"])).await;
        let (id, error) = producer.error().await;
        assert_eq!((id, Code::from(error.code)), (2, Code::Unavailable));
        assert_eq!(error.reason, "NODE_STOPPING");
        assert!(error.retry_after_ms > 0);
        producer.finish().await.expect("a good end");

        let notice = consumer.next().await;
        assert!(matches!(notice, v1::consume_response::Message::Draining(_)), "{notice:?}");
        let status = consumer.responses.message().await.expect_err("the stream ends");
        assert_eq!(status.code(), Code::Unavailable);
        stop.await.expect("no panic").1.expect("a clean stop");
    });
}

#[test]
fn clients_that_do_not_listen_do_not_hold_a_stop_up() {
    let server = Server::start_with(&[("node.drain_timeout", "10m")]);
    block_on(async {
        let producer = server.produce("deaf").await;
        let consumer = server.consume(from_start("deaf", v1::RecordFormat::Raw)).await;
        let stop = tokio::task::spawn_blocking(move || server.stop());
        stop.await.expect("no panic").1.expect("a clean stop");
        drop((producer, consumer));
    });
}

#[test]
fn connections_that_nobody_ends_do_not_hold_a_stop_up_however_many() {
    let server = Server::start_with(&[("node.shards", "1")]);
    block_on(async {
        let mut producers = Vec::new();
        for topic in ["one", "two", "three"] {
            let mut producer = server.produce(topic).await;
            producer.raw(1, batch(&[b"x"])).await;
            producer.ack().await;
            producers.push(producer);
        }
        let stop = tokio::task::spawn_blocking(move || server.stop());
        stop.await.expect("no panic").1.expect("a clean stop");
        drop(producers);
    });
}

#[test]
fn a_client_that_takes_nothing_more_is_cut_off_in_the_end() {
    let server = Server::start_with(&[("node.drain_timeout", "1s")]);
    block_on(async {
        let mut producer = server.produce("stuck").await;
        let value = vec![1; 500_000];
        for id in 0..20 {
            producer.raw(id, batch(&[&value])).await;
            producer.ack().await;
        }
        // More than fits between the two, and nobody reads it.
        let consumer = server.consume(from_start("stuck", v1::RecordFormat::Raw)).await;
        let silent = tokio::net::TcpStream::connect(server.addresses().grpc).await;
        let stop = tokio::task::spawn_blocking(move || server.stop());
        stop.await.expect("no panic").1.expect("a clean stop");
        drop((producer, consumer, silent));
    });
}

#[test]
fn files_of_a_deleted_topic_are_gone_at_the_latest_after_the_next_start() {
    let server = Server::start();
    let id = block_on(async {
        let mut producer = server.produce("gone").await;
        producer.raw(1, batch(&[b"x"])).await;
        producer.ack().await;
        let mut cluster = server.cluster().await;
        let topics = cluster.list_topics(v1::ListTopicsRequest {}).await.expect("a list");
        let id = topics.into_inner().topics[0].topic_id.clone();
        cluster
            .delete_topic(v1::DeleteTopicRequest { name: "gone".into() })
            .await
            .expect("deleted");
        id
    });
    let (folder, stopped) = server.stop();
    stopped.expect("a clean stop");
    let server = Server::start_in(folder, &[]);
    let (folder, stopped) = server.stop();
    stopped.expect("a clean stop");
    assert!(!folder.path().join("data").join(id).exists());
}

#[test]
fn the_number_of_shards_may_change_between_starts() {
    let server = Server::start_with(&[("node.shards", "1")]);
    block_on(async {
        server.create_topic("moved", 8).await;
        let mut producer = server.produce("moved").await;
        for partition in 0..8 {
            let content = Some(v1::produce_batch::Content::RawBatch(batch(&[b"x"])));
            producer.batch(v1::ProduceBatch { partition, content, ..Default::default() }).await;
            producer.ack().await;
        }
    });
    let (folder, stopped) = server.stop();
    stopped.expect("a clean stop");
    let server = Server::start_in(folder, &[("node.shards", "3")]);
    block_on(async {
        let mut consumer = server.consume(from_start("moved", v1::RecordFormat::Raw)).await;
        assert_eq!(consumer.until_end(8).await.len(), 8);
    });
    server.stop().1.expect("a clean stop");
}
