//! Help and completion, which need no server.

use super::support::Forebay;

#[test]
fn every_command_explains_itself() {
    for verb in ["create", "list", "describe", "delete", "produce", "consume"] {
        let help = Forebay::new(["topic", verb, "--help"]).run().success_text();
        assert!(help.contains("Usage: forebay topic"), "{verb}: {help}");
        assert!(help.contains("--endpoint"), "{verb} talks to a node: {help}");
        assert!(help.contains("--format"), "{verb} prints data: {help}");
    }
    let cluster = ["health", "info", "members", "events"];
    let orders = ["transfer-leader", "force-leader", "confirm-metadata"];
    for verb in cluster.into_iter().chain(orders) {
        let help = Forebay::new(["cluster", verb, "--help"]).run().success_text();
        assert!(help.contains("Usage: forebay cluster"), "{verb}: {help}");
        assert!(help.contains("--endpoint"), "{verb} talks to a node: {help}");
        assert!(help.contains("--format"), "{verb} prints data: {help}");
    }
    let serve = Forebay::new(["serve", "--help"]).run().success_text();
    for flag in ["--data", "--listen", "--http", "--shards", "--node-id", "--advertise", "--config"]
    {
        assert!(serve.contains(flag), "{flag}: {serve}");
    }
}

#[test]
fn shells_are_told_how_to_complete() {
    for (shell, expected) in
        [("bash", "_forebay()"), ("zsh", "#compdef forebay"), ("fish", "complete -c forebay")]
    {
        let script = Forebay::new(["completion", shell]).run().success_text();
        assert!(script.contains(expected) && script.contains("produce"), "{shell}");
    }
}

#[test]
fn the_version_is_told() {
    let version = Forebay::new(["--version"]).run().success_text();
    assert_eq!(version, concat!("forebay ", env!("CARGO_PKG_VERSION"), "\n"));
}
