//! One rule each, where a transcript would say less than a few assertions. Most are done twice: as it is, and with the
//! rule switched off, to see that the test would notice.

mod clients;
mod commit;
mod membership;
mod metadata;
mod truncation;

use forebay_format::Offset;
use forebay_replication::{Alarm, Answer, Config, Mutation, WriteRefusal};

use crate::script::Script;
use crate::world::Told;

fn broken(rule: Mutation) -> Config {
    Config { mutation: Some(rule), ..Config::default() }
}

/// What writes were answered, in order.
fn answers(script: &Script) -> Vec<(u64, Answer)> {
    let answer = |told: &Told| match told {
        Told::Answer(token, answer) => Some((token.0, *answer)),
        _ => None,
    };
    script.world.told.iter().filter_map(answer).collect()
}

fn alarms(script: &Script) -> Vec<Alarm> {
    let alarm = |told: &Told| match told {
        Told::Alarm(_, alarm) => Some(*alarm),
        _ => None,
    };
    script.world.told.iter().filter_map(alarm).collect()
}

fn acked(script: &Script, token: u64) -> Option<Offset> {
    answers(script).iter().find_map(|(other, answer)| match answer {
        Answer::Acked { base_offset, .. } if *other == token => Some(*base_offset),
        _ => None,
    })
}

fn refused(script: &Script, token: u64) -> Option<WriteRefusal> {
    answers(script).iter().find_map(|(other, answer)| match answer {
        Answer::Refused(why) if *other == token => Some(*why),
        _ => None,
    })
}
