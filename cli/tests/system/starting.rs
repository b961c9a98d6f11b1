//! What keeps a node from starting, and what it says about it.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use super::support::{Forebay, Node, Ports, fresh_folder};

/// Runs `serve` with these arguments, which must fail; gives back standard error.
fn refused(arguments: &[&str], code: i32) -> String {
    let ports = Ports::claim();
    let (grpc, http) = (ports.grpc().to_string(), ports.http().to_string());
    let mut all = vec!["serve", "--shards", "1"];
    if !arguments.contains(&"--listen") {
        all.extend(["--listen", &grpc]);
    }
    all.extend(["--http", &http]);
    all.extend(arguments);
    let outcome = Forebay::new(all).run();
    assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
    outcome.stderr
}

#[test]
fn a_node_says_where_it_listens_where_the_data_is_and_what_to_try_next() {
    let mut node = Node::start();
    let mut server = node.take();
    let banner = server.says("forebay topic consume").to_owned();
    for expected in [node.endpoint(), node.http(), node.data().display().to_string()] {
        assert!(banner.contains(&expected), "{expected} is missing in\n{banner}");
    }
    for expected in ["shards   2", "fsync    batch", "forebay topic produce"] {
        assert!(banner.contains(expected), "{expected} is missing in\n{banner}");
    }
}

#[test]
fn a_second_node_on_the_same_data_is_refused_and_the_first_goes_on() {
    let node = Node::start();
    let data = node.data().display().to_string();
    let error = refused(&["--data", &data], 1);
    assert!(error.contains(&data), "{error}");
    node.forebay(["topic", "produce", "orders", "--quiet"]).run_with(b"still here\n").success();
}

#[test]
fn a_directory_with_something_else_in_it_is_refused_and_left_alone() {
    let folder = fresh_folder();
    let note = folder.path().join("thesis.txt");
    std::fs::write(&note, "three years of work").expect("a file");
    let error = refused(&["--data", &folder.path().display().to_string()], 1);
    assert!(error.contains(&folder.path().display().to_string()), "{error}");
    assert_eq!(std::fs::read_to_string(&note).expect("still there"), "three years of work");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("still there").count(),
        1,
        "nothing was added"
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let node = Node::start();
    let folder = fresh_folder();
    let data = folder.path().join("data").display().to_string();
    let error = refused(&["--listen", &node.endpoint(), "--data", &data], 1);
    assert!(error.contains(&node.endpoint()), "{error}");
}

#[test]
fn a_wrong_configuration_is_named_with_file_line_key_and_the_nearest_right_one() {
    let folder = fresh_folder();
    let file = folder.path().join("forebay.toml");
    std::fs::write(
        &file,
        "[node]\nid = 1\n\n[network]\nlisten = \"127.0.0.1:1\"\nhtpp = \"127.0.0.1:2\"\n",
    )
    .expect("a file");
    let file = file.display().to_string();
    let error = Forebay::new(["serve", "--config", &file]).run().failure(2);
    assert!(error.contains(&format!("{file}:6")), "file and line: {error}");
    assert!(error.contains("htpp") && error.contains("http"), "key and nearest: {error}");

    let unit =
        Forebay::new(["serve"]).env("FOREBAY_STORAGE__MEMORY_PER_SHARD", "64Mib").run().failure(2);
    assert!(unit.contains("FOREBAY_STORAGE__MEMORY_PER_SHARD") && unit.contains("64MiB"), "{unit}");

    let name = "FOREBAY_NODE__DATA";
    let bytes =
        Forebay::new(["serve"]).env(name, OsStr::from_bytes(b"/d\xe9j\xe0")).run().failure(2);
    assert!(bytes.contains(name) && bytes.contains("UTF-8"), "{bytes}");

    let flag = Forebay::new(["serve", "--listen", "nonsense"]).run().failure(2);
    assert!(flag.contains("--listen") && flag.contains("nonsense"), "{flag}");
}
