//! The edges between crates, from `cargo metadata`: ours among each other, and the libraries that must
//! not come near some of them.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Our crates, and which of ours each may use. Only dependencies of the finished crate count:
/// a crate's tests may use what they like.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("forebay-proto", &[]),
    ("forebay-format", &[]),
    ("forebay-engine", &["forebay-format"]),
    ("forebay-replication", &["forebay-format"]),
    ("forebay-checker", &["forebay-format"]),
    ("forebay-simulator", &["forebay-checker", "forebay-format", "forebay-replication"]),
    (
        "forebay-server",
        &["forebay-engine", "forebay-format", "forebay-proto", "forebay-replication"],
    ),
    ("forebay-client", &["forebay-format", "forebay-proto"]),
    ("forebay-cli", &["forebay-client", "forebay-server"]),
    ("forebay-benches", &["forebay-client", "forebay-engine", "forebay-format", "forebay-proto"]),
    ("forebay-power-cut", &["forebay-client"]),
    ("forebay-faults", &["forebay-checker", "forebay-client", "forebay-format", "forebay-proto"]),
];

/// Libraries that a crate must not reach, not even through others. A library is reached in this sense
/// when any crate of the workspace asks for the feature that leads there, as cargo unites features.
const MUST_NOT_REACH: [(&str, &[&str]); 4] = [
    ("forebay-proto", &["glommio"]),
    ("forebay-format", &["tokio", "glommio", "tonic", "prost", "hyper"]),
    ("forebay-engine", &["tokio", "tonic", "prost", "hyper", "h2", "axum", "etcd-client"]),
    ("forebay-client", &["glommio"]),
];

/// From a crate's name to the names of what it depends on.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(super::workspace().join("Cargo.toml"))
        .other_options(
            ["--offline", "--filter-platform", "x86_64-unknown-linux-gnu"].map(String::from),
        )
        .exec()
        .expect("cargo metadata, offline because whoever runs this test has just built it")
}

/// The normal dependencies of every crate in the build.
fn graph(metadata: &Metadata) -> Graph {
    let name = |id: &cargo_metadata::PackageId| metadata[id].name.to_string();
    let resolve = metadata.resolve.as_ref().expect("metadata with dependencies");
    let normal = |dependency: &&cargo_metadata::NodeDep| {
        dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
    };
    let edges = |node: &cargo_metadata::Node| {
        node.deps.iter().filter(normal).map(|dependency| name(&dependency.pkg)).collect()
    };
    resolve.nodes.iter().map(|node| (name(&node.id), edges(node))).collect()
}

/// Everything that can be reached from `start`.
fn reachable(graph: &Graph, start: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![start.to_owned()];
    while let Some(name) = waiting.pop() {
        for next in graph.get(&name).into_iter().flatten() {
            if seen.insert(next.clone()) {
                waiting.push(next.clone());
            }
        }
    }
    seen
}

/// What is wrong with the graph, one line each.
fn forbidden_edges(ours: &BTreeSet<String>, graph: &Graph) -> Vec<String> {
    let mut wrong = Vec::new();
    for krate in ours {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| name == krate) else {
            wrong.push(format!("{krate} is in no row of MAY_USE: say what it may use"));
            continue;
        };
        let uses = graph.get(krate).into_iter().flatten().filter(|used| ours.contains(*used));
        for used in uses.filter(|used| !allowed.contains(&used.as_str())) {
            wrong.push(format!("{krate} must not depend on {used}"));
        }
    }
    for (krate, libraries) in MUST_NOT_REACH {
        let reached = reachable(graph, krate);
        for library in libraries.iter().filter(|library| reached.contains(**library)) {
            wrong.push(format!("{krate} must not reach {library}, not even through another crate"));
        }
    }
    wrong
}

fn our_crates(metadata: &Metadata) -> BTreeSet<String> {
    metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect()
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let metadata = metadata();
    let wrong = forbidden_edges(&our_crates(&metadata), &graph(&metadata));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_forbidden_edge_between_crates_is_found() {
    let metadata = metadata();
    let ours = our_crates(&metadata);
    let mut graph = graph(&metadata);
    graph.entry("forebay-engine".into()).or_default().insert("forebay-proto".into());
    let wrong = forbidden_edges(&ours, &graph);
    let found = |line: &str| wrong.iter().any(|wrong| wrong == line);
    assert!(found("forebay-engine must not depend on forebay-proto"), "{wrong:#?}");
    assert!(
        found("forebay-engine must not reach tonic, not even through another crate"),
        "{wrong:#?}"
    );
}

#[test]
fn a_crate_without_a_row_in_the_table_is_found() {
    let ours = BTreeSet::from(["forebay-newcomer".to_owned()]);
    let wrong = forbidden_edges(&ours, &Graph::new());
    assert_eq!(wrong, ["forebay-newcomer is in no row of MAY_USE: say what it may use"]);
}
