//! What the people who run a cluster see of it, and do: three nodes, and fewer of them.

use serde_json::Value;

use super::support::{Cluster, Forebay};

/// A client command that asks these nodes alone.
fn ask<const N: usize>(cluster: &Cluster, places: &[usize], arguments: [&str; N]) -> Forebay {
    let endpoints: Vec<_> = places.iter().map(|place| cluster.nodes[*place].endpoint()).collect();
    Forebay::new(arguments).env("FOREBAY_ENDPOINT", endpoints.join(","))
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

/// What `cluster health` finds, with its exit code, once it is as wanted.
fn health_when(
    cluster: &Cluster,
    places: &[usize],
    wanted: impl Fn(&Value) -> bool,
) -> (Option<i32>, Value) {
    loop {
        let looked = ask(cluster, places, ["cluster", "health", "--format", "json"]).run();
        let health = json(&looked.stdout);
        if wanted(&health) {
            return (looked.code, health);
        }
    }
}

fn is_healthy(health: &Value) -> bool {
    health["healthy"] == true
}

/// The messages of concerns of this kind.
fn concerns(health: &Value, reason: &str) -> Vec<String> {
    let all = health["concerns"].as_array().expect("a list");
    let of_kind = all.iter().filter(|concern| concern["reason"] == reason);
    of_kind.map(|concern| concern["message"].as_str().expect("text").to_owned()).collect()
}

/// Events of this kind, as messages.
fn events(cluster: &Cluster, places: &[usize], kind: &str) -> Vec<String> {
    let listed = ask(cluster, places, ["cluster", "events", "--format", "json"]).run();
    let listed = json(&listed.success());
    let all = listed["events"].as_array().expect("a list").clone();
    let of_kind = all.iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event["message"].as_str().expect("text").to_owned()).collect()
}

/// Whether a node's replicas have all that their leaders have.
fn holds_everything(cluster: &Cluster, place: usize) -> bool {
    let listed = cluster.forebay(["cluster", "members", "--format", "json"]).run().success();
    let member = &json(&listed)["members"][place];
    member["answers"] == true && member["lag_records"] == 0
}

#[test]
fn cluster_says_how_it_is_moves_its_leaders_and_tells_what_has_happened() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    // A node is ready before it has seen the others.
    health_when(&cluster, &[0, 1, 2], |health| health["nodes"] == 3 && is_healthy(health));
    cluster.forebay(["topic", "create", "orders"]).run().success();
    cluster.forebay(["topic", "produce", "orders"]).run_with(b"one\ntwo\nthree\n").success();

    let (code, health) = health_when(&cluster, &[0, 1, 2], is_healthy);
    assert_eq!((code, &health["concerns"]), (Some(0), &serde_json::json!([])));
    let text = cluster.forebay(["cluster", "health"]).run().success_text();
    assert!(text.starts_with("healthy: 3 of 3 nodes answer"), "{text}");
    let info = json(&cluster.forebay(["cluster", "info", "--format", "json"]).run().success());
    let counts = ["nodes", "topics", "partitions", "replicas"].map(|name| info[name].as_u64());
    assert_eq!(counts, [Some(3), Some(1), Some(1), Some(3)]);

    // A follower is asked, and has it done by the leader.
    let leader = cluster.leader("orders");
    let to = (leader + 1) % 3;
    let (place, number) = ("orders/0", (to + 1).to_string());
    let asked = (leader + 2) % 3;
    let transfer = ["cluster", "transfer-leader", place, "--to", &number, "--format", "json"];
    let moved = json(&ask(&cluster, &[asked], transfer).run().success());
    assert_eq!((&moved["from"], &moved["leader"]), (&(leader + 1).into(), &(to + 1).into()));
    assert_eq!(cluster.leader("orders"), to);
    let handed = format!("node {} hands over to node {}", leader + 1, to + 1);
    assert!(events(&cluster, &[asked], "leader_transferred").contains(&handed));
    let again = ask(&cluster, &[asked], transfer).run().failure(1);
    assert!(again.contains("leads the partition already"), "{again}");

    // A follower is killed.
    cluster.nodes[asked].kill();
    let rest = [leader, to];
    let (code, health) = health_when(&cluster, &rest, |health| {
        let told = concerns(health, "NOT_IN_SYNC");
        told.iter().any(|message| message.contains("does not answer since"))
    });
    assert_eq!(code, Some(3));
    let told = concerns(&health, "NOT_IN_SYNC").join("\n");
    let expected =
        format!("orders/0: 1 of 3 replicas is not in sync: node {} does not answer", asked + 1);
    assert!(told.starts_with(&expected), "{told}");
    let text = ask(&cluster, &rest, ["cluster", "health"]).run();
    assert_eq!((text.code, text.stderr.as_str()), (Some(3), ""));
    assert!(String::from_utf8_lossy(&text.stdout).starts_with("NOT HEALTHY"));
    let members = ask(&cluster, &rest, ["cluster", "members", "--format", "json"]).run().success();
    let members = json(&members);
    let silent = &members["members"][asked];
    assert_eq!((&silent["answers"], &silent["node"]), (&false.into(), &(asked + 1).into()));

    // It comes back, and everything is well by itself.
    cluster.nodes[asked].start_again();
    let (code, _) = health_when(&cluster, &rest, is_healthy);
    assert_eq!(code, Some(0));
    let joined = format!("node {} has joined", asked + 1);
    assert!(events(&cluster, &rest, "node_joined").contains(&joined));
}

#[test]
fn last_node_of_three_leads_only_when_it_is_told_to_and_that_is_on_record() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    // A node is ready before it has seen the others.
    health_when(&cluster, &[0, 1, 2], |health| health["nodes"] == 3 && is_healthy(health));
    cluster.forebay(["topic", "create", "orders"]).run().success();
    cluster.forebay(["topic", "produce", "orders"]).run_with(b"one\ntwo\nthree\n").success();
    let leader = cluster.leader("orders");
    let (last, other) = ((leader + 1) % 3, (leader + 2) % 3);
    health_when(&cluster, &[last], is_healthy);
    while !holds_everything(&cluster, last) {}
    cluster.nodes[other].kill();
    cluster.nodes[leader].kill();
    let (code, health) = health_when(&cluster, &[last], |health| {
        !concerns(health, "READ_ONLY").is_empty() && !concerns(health, "NO_LEADER").is_empty()
    });
    assert_eq!(code, Some(3));
    let expected = "orders/0 takes no writes: 1 of 3 replicas answers, 2 must";
    assert_eq!(concerns(&health, "READ_ONLY"), [expected]);

    let number = (last + 1).to_string();
    let force = ["cluster", "force-leader", "orders/0", "--node", &number];
    let told = ask(&cluster, &[last], force).run();
    assert_eq!(told.code, Some(3), "nothing is done: {}", told.stderr);
    let told = String::from_utf8(told.stdout).expect("text");
    assert!(told.contains("below offset 3") && told.contains("not answering: nodes"), "{told}");
    assert!(told.ends_with("nothing was done; --yes does it\n"), "{told}");
    assert_eq!(events(&cluster, &[last], "unclean_election"), [""; 0]);

    let forced = ask(&cluster, &[last], force).arguments(["--yes", "--format", "json"]).run();
    let forced = json(&forced.success());
    assert_eq!((&forced["done"], &forced["kept_end"]), (&true.into(), &3.into()));
    let epoch = forced["epoch"].as_u64().expect("an epoch");
    let recorded = events(&cluster, &[last], "unclean_election");
    let expected = format!("an operator made node {number} lead in epoch {epoch}");
    assert!(recorded.len() == 1 && recorded[0].starts_with(&expected), "{recorded:?}");
    // It serves alone, and what was committed is there.
    ask(&cluster, &[last], ["topic", "produce", "orders"]).run_with(b"four\n").success();
    let consume = ["topic", "consume", "orders", "-o", ":end"];
    let consumed = ask(&cluster, &[last], consume).run().success_text();
    assert_eq!(consumed, "one\ntwo\nthree\nfour\n");

    // The others are brought in again.
    cluster.nodes[leader].start_again();
    cluster.nodes[other].start_again();
    health_when(&cluster, &[last], is_healthy);
}
