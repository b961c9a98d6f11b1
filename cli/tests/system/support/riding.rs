//! One `topic produce` that is given its input in parts, and rides over what happens between them.

use std::io::Write;

use super::{Forebay, Running};

/// Gives `corpus` to one call of `topic produce`. `trouble` comes for every part but the last: as soon as the first
/// batch of the part is acknowledged, so that later ones of it are under way. The call ends well; gives back
/// what it has printed last.
pub(crate) fn produce_in_parts(
    produce: Forebay,
    corpus: &[u8],
    parts: usize,
    mut trouble: impl FnMut(&mut Running),
) -> String {
    let mut produce = produce.start();
    let mut stdin = produce.stdin();
    let mut sent = 0;
    for part in 0..parts {
        let end = if part + 1 == parts { corpus.len() } else { corpus.len() / parts * (part + 1) };
        let before = lines(&corpus[..sent]);
        let bytes = corpus[sent..end].to_vec();
        sent = end;
        let writer = std::thread::spawn(move || {
            stdin.write_all(&bytes).expect("the producer reads on");
            stdin
        });
        if part + 1 < parts {
            wait_for_acknowledged(&mut produce, before + 1);
            trouble(&mut produce);
        }
        stdin = writer.join().expect("a thread that only writes");
    }
    drop(stdin);
    produce.wait().success_text()
}

/// The exclusive end of the offsets in a line such as `orders/0 @41-@57  durable on …`, or `orders/0 @41  …`.
fn acknowledged_end(line: &str) -> u64 {
    let offsets = line.split_whitespace().nth(1).unwrap_or_default();
    let last = offsets.rsplit_once('@').and_then(|(_, last)| last.parse::<u64>().ok());
    last.unwrap_or_else(|| panic!("no offsets in {line:?}")) + 1
}

/// Reads acknowledgements until `records` records are acknowledged.
fn wait_for_acknowledged(produce: &mut Running, records: u64) {
    while acknowledged_end(&produce.line()) < records {}
}

fn lines(bytes: &[u8]) -> u64 {
    let lines = bytes.split(|byte| *byte == b'\n').count() - 1;
    u64::try_from(lines).expect("a small number")
}
