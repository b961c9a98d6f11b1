//! The edges between modules, and the homes of `unsafe`, glommio and tokio.

use std::path::{Path, PathBuf};

use super::scan::{self, Named};

/// The layers of `engine/src`, bottom up: each may use those before it.
const ENGINE_LAYERS: [&str; 4] = ["io", "segment", "log", "shard"];

/// Modules of `server/src`, and which of the others each may use. What is in no row may use all.
const SERVER_MAY_USE: [(&str, &[&str]); 10] = [
    ("clock", &[]),
    ("config", &[]),
    ("leadership", &["clock", "config"]),
    ("faults", &["clock"]),
    ("net", &["clock", "config"]),
    ("operations", &["clock", "config", "leadership"]),
    ("bridge", &["clock", "config", "leadership", "operations"]),
    ("replication", &["bridge", "clock", "faults", "leadership", "net", "operations"]),
    ("catalog", &["clock", "config", "leadership", "replication"]),
    (
        "grpc",
        &[
            "bridge",
            "catalog",
            "clock",
            "config",
            "faults",
            "leadership",
            "net",
            "operations",
            "replication",
        ],
    ),
];

/// Where the data path runs, which knows no tokio.
const TOKIO_FREE: [&str; 7] = [
    "engine/src",
    "server/src/grpc/carry",
    "server/src/grpc/consume",
    "server/src/grpc/produce",
    "server/src/grpc/replicate",
    "server/src/net",
    "server/src/replication",
];

/// The only folders where a line of `unsafe` may stand.
const UNSAFE_HOMES: [&str; 2] = ["engine/src/io", "server/src/net"];

/// Where glommio may be named. Its files are for `engine/src/io` alone. `testing.rs` starts executors for the
/// engine's own tests.
const GLOMMIO_HOMES: [&str; 7] = [
    "engine/src/io",
    "engine/src/runtime",
    "engine/src/runtime.rs",
    "engine/src/testing.rs",
    "server/src/net",
    "server/src/bridge.rs",
    "server/src/bridge",
];

/// The only place of the server that knows glommio and tokio both.
const BRIDGE: [&str; 2] = ["server/src/bridge.rs", "server/src/bridge"];

/// What a source file (its path is relative to the workspace) does that it must not, one line each.
fn violations(file: &Path, source: &str) -> Vec<String> {
    let mut parts = file.iter();
    let krate = parts.next().and_then(|name| name.to_str()).unwrap_or_default();
    let below_src: PathBuf = parts.skip_while(|part| *part != "src").skip(1).collect();
    let named = scan::paths(&below_src, source);
    let mut wrong = Vec::new();
    let mut report = |named: &Named, what: String| {
        wrong.push(format!("{}:{}: {what}", file.display(), named.line));
    };
    let is = |named: &Named, word: &str| named.path.first().is_some_and(|first| first == word);

    for name in &named {
        if name.path == ["unsafe"] && !in_one_of(file, &UNSAFE_HOMES) {
            report(name, format!("`unsafe` outside {}", UNSAFE_HOMES.join(" and ")));
        }
        if is(name, "glommio") && name.path.len() > 1 {
            if !in_one_of(file, &GLOMMIO_HOMES) && in_one_of(file, &["engine/src", "server/src"]) {
                report(name, format!("glommio outside {}", GLOMMIO_HOMES.join(", ")));
            }
            let files = name.path.get(1).is_some_and(|module| module == "io");
            if files && !file.starts_with("engine/src/io") {
                report(name, "glommio's files outside engine/src/io".to_owned());
            }
        }
        if is(name, "tokio") && name.path.len() > 1 && in_one_of(file, &TOKIO_FREE) {
            report(name, format!("tokio in {}", TOKIO_FREE.join(", ")));
        }
        let forbidden = match krate {
            "engine" => upward(&below_src, name),
            "server" => sideways(&below_src, name),
            _ => None,
        };
        if let Some(what) = forbidden {
            report(name, what);
        }
    }

    let glommio = named.iter().find(|name| is(name, "glommio") && name.path.len() > 1);
    let tokio = named.iter().find(|name| is(name, "tokio") && name.path.len() > 1);
    if let (Some(_), Some(tokio), false) = (glommio, tokio, in_one_of(file, &BRIDGE)) {
        report(tokio, "tokio and glommio in one file, which only the bridge may".to_owned());
    }
    wrong
}

fn in_one_of(file: &Path, homes: &[&str]) -> bool {
    homes.iter().any(|home| file.starts_with(home))
}

/// Says so when a file in one layer of the engine names a higher one.
fn upward(below_src: &Path, name: &Named) -> Option<String> {
    let rank = |module: &str| ENGINE_LAYERS.iter().position(|layer| *layer == module);
    let own = below_src.iter().next()?.to_str()?;
    let own_rank = rank(own.trim_end_matches(".rs"))?;
    let [root, used, ..] = name.path.as_slice() else { return None };
    let used_rank = rank(used).filter(|_| root == "crate")?;
    (used_rank > own_rank).then(|| {
        format!(
            "`{}` uses `{used}`; the order is {}",
            ENGINE_LAYERS[own_rank],
            ENGINE_LAYERS.join(" → ")
        )
    })
}

/// Says so when a module of the server names one that it may not use.
fn sideways(below_src: &Path, name: &Named) -> Option<String> {
    let own = below_src.iter().next()?.to_str()?.trim_end_matches(".rs");
    let (_, allowed) = SERVER_MAY_USE.iter().find(|(module, _)| *module == own)?;
    let [root, used, ..] = name.path.as_slice() else { return None };
    let module = used.starts_with(char::is_lowercase);
    let forbidden = root == "crate" && module && used != own && !allowed.contains(&used.as_str());
    forbidden.then(|| format!("`{own}` must not use `{used}`"))
}

#[test]
fn modules_use_only_what_the_architecture_allows() {
    let root = super::workspace();
    let mut wrong = Vec::new();
    for file in super::rust_files_below("") {
        let source = std::fs::read_to_string(root.join(&file)).expect("a source in UTF-8");
        wrong.extend(violations(&file, &source));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_lower_layer_that_uses_a_higher_one_is_found() {
    let found = violations(
        Path::new("engine/src/segment/made_up.rs"),
        "use crate::{io::Buffer, log::Log};\nfn f() { super::super::shard::start() }",
    );
    assert_eq!(
        found,
        [
            "engine/src/segment/made_up.rs:1: `segment` uses `log`; the order is io → segment → log → shard",
            "engine/src/segment/made_up.rs:2: `segment` uses `shard`; the order is io → segment → log → shard",
        ]
    );
}

#[test]
fn a_module_of_the_server_that_uses_a_forbidden_one_is_found() {
    let source = "use crate::{clock, grpc::Services};";
    let found = violations(Path::new("server/src/net/made_up.rs"), source);
    assert_eq!(found, ["server/src/net/made_up.rs:1: `net` must not use `grpc`"]);
    for (below, above) in [
        ("net", "replication"),
        ("leadership", "operations"),
        ("operations", "replication"),
        ("bridge", "replication"),
        ("replication", "catalog"),
        ("replication", "config"),
        ("replication", "grpc"),
        ("replication", "shard"),
    ] {
        let source = format!("fn f() {{ crate::{above}::start() }}");
        let found = violations(&Path::new("server/src").join(below).join("made_up.rs"), &source);
        assert_eq!(
            found,
            [format!("server/src/{below}/made_up.rs:1: `{below}` must not use `{above}`")]
        );
    }
}

#[test]
fn unsafe_outside_its_homes_is_found() {
    let source = "// unsafe in a comment is none\nfn f() { unsafe { g() } }";
    let found = violations(Path::new("client/src/made_up.rs"), source);
    assert_eq!(
        found,
        ["client/src/made_up.rs:2: `unsafe` outside engine/src/io and server/src/net"]
    );
    assert_eq!(violations(Path::new("engine/src/io/made_up.rs"), source), Vec::<String>::new());
}

#[test]
fn glommio_outside_its_homes_is_found() {
    let found = violations(Path::new("engine/src/log/made_up.rs"), "use glommio::io::DmaFile;");
    assert_eq!(found.len(), 2, "neither the runtime nor its files belong there: {found:#?}");
    let found = violations(Path::new("server/src/grpc/made_up.rs"), "use glommio::spawn_local;");
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn tokio_beside_glommio_is_found_outside_the_bridge() {
    let source = "use glommio::spawn_local;\nuse tokio::sync::oneshot;";
    let found = violations(Path::new("benches/src/made_up.rs"), source);
    assert_eq!(
        found,
        ["benches/src/made_up.rs:2: tokio and glommio in one file, which only the bridge may"]
    );
    let found = violations(Path::new("server/src/net/made_up.rs"), source);
    assert_eq!(found.len(), 2, "tokio alone does not belong there either: {found:#?}");
    for file in ["server/src/replication/made_up.rs", "server/src/grpc/replicate/made_up.rs"] {
        let found = violations(Path::new(file), "use tokio::sync::oneshot;");
        assert_eq!(found.len(), 1, "{file}: {found:#?}");
    }
    assert_eq!(violations(Path::new("server/src/bridge.rs"), source), Vec::<String>::new());
}
