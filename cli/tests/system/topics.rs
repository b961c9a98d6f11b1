//! `topic create|list|describe|delete`: what they print, and how they fail.

use super::support::{Forebay, Node, Ports};

/// The names of the fields of a JSON object, sorted.
fn fields(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn the_names_of_json_fields_are_stable() {
    let node = Node::start();
    let create = ["topic", "create", "orders", "--partitions", "2", "--set", "retention_size=4GiB"];
    let created = json(&node.forebay(create).arguments(["--format", "json"]).run().success_text());
    assert_eq!(fields(&created), ["name", "partitions", "topic_id"]);
    assert_eq!(created["partitions"], 2);

    let listed = json(&node.forebay(["topic", "list", "--format", "json"]).run().success_text());
    assert_eq!(fields(&listed), ["topics"]);
    assert_eq!(
        fields(&listed["topics"][0]),
        ["name", "on_every_node", "partitions", "replication_factor", "topic_id"]
    );
    assert_eq!(listed["topics"][0]["topic_id"], created["topic_id"]);

    let describe = ["topic", "describe", "orders", "--format", "json"];
    let described = json(&node.forebay(describe).run().success_text());
    assert_eq!(
        fields(&described),
        ["name", "on_every_node", "partitions", "replication_factor", "settings", "topic_id"]
    );
    assert_eq!(described["settings"]["retention_size"], "4GiB");
    let partition = &described["partitions"][1];
    assert_eq!(
        fields(partition),
        [
            "committed_offset",
            "earliest_offset",
            "epoch",
            "in_sync",
            "leader",
            "partition",
            "replicas",
            "segments",
            "shard",
            "size_bytes",
            "state",
        ]
    );
    assert_eq!(partition["leader"], 1, "the id of the node");
    assert_eq!(partition["state"], "ok");

    let deleted =
        json(&node.forebay(["topic", "delete", "orders", "--format", "json"]).run().success_text());
    assert_eq!(fields(&deleted), ["deleted"]);
}

#[test]
fn yaml_says_what_json_says() {
    let node = Node::start();
    node.forebay(["topic", "create", "orders"]).run().success();
    let text = node.forebay(["topic", "list", "--format", "yaml"]).run().success_text();
    assert!(text.starts_with("topics:\n") && text.contains("name: orders\n"), "{text}");
}

#[test]
fn wide_has_more_columns_than_text() {
    let node = Node::start();
    node.forebay(["topic", "create", "orders"]).run().success();
    let text = node.forebay(["topic", "list"]).run().success_text();
    assert_eq!(text, "NAME    PARTITIONS  REPLICATION\norders  1           1\n");
    let wide = node.forebay(["topic", "list", "--format", "wide"]).run().success_text();
    assert!(wide.starts_with("NAME    PARTITIONS  REPLICATION  TOPIC ID\n"), "{wide}");
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_can_be_used_again() {
    let node = Node::start();
    node.forebay(["topic", "produce", "orders"]).run_with(b"old\n").success();
    node.forebay(["topic", "delete", "orders"]).run().success();
    let missing = node.forebay(["topic", "describe", "orders"]).run().failure(1);
    assert!(missing.contains("there is no topic orders"), "{missing}");

    node.forebay(["topic", "produce", "orders"]).run_with(b"new\n").success();
    let found = node.forebay(["topic", "consume", "orders", "-o", ":end"]).run().success();
    assert_eq!(found, b"new\n", "the old bytes do not come back under the old name");
}

#[test]
fn a_topic_that_exists_or_does_not_is_an_error_with_a_hint() {
    let node = Node::start();
    node.forebay(["topic", "create", "orders"]).run().success();
    let exists = node.forebay(["topic", "create", "orders"]).run().failure(1);
    assert!(exists.contains("topic orders exists already"), "{exists}");
    for verb in ["describe", "delete"] {
        let missing = node.forebay(["topic", verb, "nowhere"]).run().failure(1);
        assert!(missing.contains("there is no topic nowhere"), "{missing}");
        assert!(missing.contains("forebay topic list"), "{missing}");
    }
}

#[test]
fn bad_names_and_settings_are_refused_with_what_was_expected() {
    let node = Node::start();
    let name = node.forebay(["topic", "create", "no/slash"]).run().failure(1);
    assert!(name.contains("no/slash"), "{name}");
    let setting =
        node.forebay(["topic", "create", "a", "--set", "retention_sizes=1GiB"]).run().failure(1);
    assert!(setting.contains("retention_sizes") && setting.contains("retention_size"), "{setting}");
}

#[test]
fn exit_codes_tell_usage_from_an_unreachable_server() {
    let ports = Ports::claim();
    let nobody = ports.grpc().to_string();
    for command in [["topic", "list"], ["topic", "frobnicate"]] {
        let code = if command[1] == "list" { 4 } else { 2 };
        let stderr = Forebay::new(command).env("FOREBAY_ENDPOINT", &nobody).run().failure(code);
        assert!(!stderr.is_empty());
    }
    let unreachable = Forebay::new(["topic", "list", "--endpoint", &nobody]).run().failure(4);
    assert!(
        unreachable.contains(&nobody) && unreachable.contains("forebay serve"),
        "{unreachable}"
    );
    let no_port = Forebay::new(["topic", "list", "--endpoint", "localhost"]).run().failure(2);
    assert!(no_port.contains("`localhost`") && no_port.contains("HOST:PORT"), "{no_port}");
    let usage = Forebay::new(["topic", "create"]).run().failure(2);
    assert!(usage.contains("<NAME>"), "{usage}");
}
