//! What real processes wrote down goes through the protocol again, to the same actions.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use forebay_replication::trace::{Beginning, Step, replay};
use tempfile::TempDir;

use super::support::{Cluster, fresh_folder};

/// The lines of a trace. The last one may be half, of a process that was killed.
fn read(path: &Path) -> (Beginning, Vec<Step>) {
    let text = BufReader::new(File::open(path).expect("a trace"));
    let lines: Vec<_> = text.lines().collect::<Result<_, _>>().expect("text");
    let (first, steps) = lines.split_first().expect("a first line");
    let (last, whole) = steps.split_last().expect("more lines");
    let mut steps: Vec<Step> =
        whole.iter().map(|line| serde_json::from_str(line).expect("a step")).collect();
    steps.extend(serde_json::from_str::<Step>(last));
    (serde_json::from_str(first).expect("a beginning"), steps)
}

fn traces(folder: &TempDir) -> Vec<(Beginning, Vec<Step>)> {
    let files = fs::read_dir(folder).expect("a folder");
    files.map(|file| read(&file.expect("a file").path())).collect()
}

#[test]
fn traces_of_a_failover_lead_through_the_protocol_to_the_same_actions() {
    let folder = fresh_folder();
    let setting = ("FOREBAY_CLUSTER__TRACE", folder.path().to_str().expect("UTF-8"));
    let Some(mut cluster) = Cluster::start_with(3, &[setting]) else { return };
    cluster.forebay(["topic", "create", "events"]).run().success();
    cluster.forebay(["topic", "produce", "events"]).run_with(b"before\n").success();
    let leader = cluster.leader("events");
    cluster.nodes[leader].kill();
    cluster.forebay(["topic", "produce", "events"]).run_with(b"meanwhile\n").success();
    cluster.nodes[leader].start_again();
    cluster.forebay(["topic", "produce", "events"]).run_with(b"after\n").success();

    let traces = traces(&folder);
    let lives = traces.len();
    assert!(lives >= 4, "three replicas, one of them with two lives: {lives}");
    let mut actions = 0;
    for (beginning, steps) in traces {
        actions += steps.iter().map(|step| step.actions.len()).sum::<usize>();
        if let Err(divergence) = replay(beginning, steps) {
            panic!("{divergence}");
        }
    }
    assert!(actions > 50, "a failover takes more than {actions} actions");
}

#[test]
fn trace_with_another_event_leads_to_other_actions() {
    let folder = fresh_folder();
    let setting = ("FOREBAY_CLUSTER__TRACE", folder.path().to_str().expect("UTF-8"));
    let Some(cluster) = Cluster::start_with(1, &[setting]) else { return };
    cluster.forebay(["topic", "create", "events", "--replication-factor", "1"]).run().success();
    cluster.forebay(["topic", "produce", "events"]).run_with(b"one\n").success();
    for (beginning, mut steps) in traces(&folder) {
        let acts =
            steps.iter().position(|step| !step.actions.is_empty()).expect("it did something");
        steps.remove(acts);
        assert!(replay(beginning, steps).is_err(), "something is missing, and nobody notices");
    }
}
