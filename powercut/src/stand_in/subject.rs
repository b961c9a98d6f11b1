//! The stand-in under power cuts: hears what the writer says, and looks for it afterwards.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::writer::{
    BLOCK_BYTES, BLOCKS_FILE, Mistake, NAMES_DIRECTORY, block_content, name_content,
};
use crate::disk::{DiskClock, Position};
use crate::host::Child;
use crate::subject::{Loss, RigError, Stage, Stamped, Subject, Verdict};

/// What one recording writes.
const BLOCKS: u64 = 1_500;

/// The stand-in writer, right or with a mistake.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) mistake: Option<Mistake>,
}

/// What the writer says is on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Said {
    Block(u64),
    Name(u64),
}

impl Said {
    fn parse(line: &str) -> Option<Self> {
        let (what, number) = line.split_once(' ')?;
        let number = number.parse().ok()?;
        match what {
            "block" => Some(Self::Block(number)),
            "name" => Some(Self::Name(number)),
            _ => None,
        }
    }
}

impl Subject for StandIn {
    type Fact = Said;

    fn record(&self, stage: &Stage<'_>, clock: &DiskClock) -> Result<Vec<Stamped<Said>>, RigError> {
        let mut arguments = vec![
            "stand-in-writer".into(),
            "--directory".into(),
            stage.data.into(),
            "--seed".into(),
            stage.seed.to_string().into(),
            "--blocks".into(),
            BLOCKS.to_string().into(),
        ];
        if let Some(value) = self.mistake.as_ref().and_then(ValueEnum::to_possible_value) {
            arguments.extend(["--mistake".into(), value.get_name().into()]);
        }
        let program =
            std::env::current_exe().map_err(RigError::at("cannot find the rig itself"))?;
        let mut writer = Child::start(&program, &arguments, &[], None)
            .map_err(RigError::at("cannot start the stand-in writer"))?;
        let said = writer.take_stdout().expect("it was started with a pipe");
        let mut facts = Vec::new();
        for line in BufReader::new(said).lines() {
            let line = line.map_err(RigError::at("cannot hear the stand-in writer"))?;
            if stage.interrupt.is_raised() {
                return Err(RigError::Interrupted);
            }
            let at = clock.now();
            let fact = Said::parse(&line)
                .ok_or_else(|| RigError::Unusable(format!("the writer said {line:?}")))?;
            facts.push(Stamped { at, fact });
        }
        let status = writer.wait().map_err(RigError::at("cannot wait for the writer"))?;
        if status.success() {
            Ok(facts)
        } else {
            Err(RigError::Unusable(format!("the stand-in writer ended with {status}")))
        }
    }

    fn judge(
        &self,
        stage: &Stage<'_>,
        facts: &[Stamped<Said>],
        cut: Position,
    ) -> Result<Verdict, RigError> {
        let mut verdict = Verdict::default();
        let blocks = match File::open(stage.data.join(BLOCKS_FILE)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(RigError::at("cannot open the blocks")(error)),
        };
        for promise in facts.iter().filter(|promise| promise.at <= cut) {
            verdict.promises_checked += 1;
            let (kind, is_there) = match promise.fact {
                Said::Block(block) => {
                    let is_there = blocks.as_ref().is_some_and(|file| has(file, stage.seed, block));
                    ("block-lost", is_there)
                }
                Said::Name(name) => ("name-lost", names(stage.data, stage.seed, name)),
            };
            if !is_there {
                let detail = format!("{:?}, said at {}", promise.fact, promise.at);
                verdict.losses.push(Loss { kind, detail });
            }
        }
        Ok(verdict)
    }

    fn sort(fact: &Said) -> &'static str {
        match fact {
            Said::Block(_) => "block",
            Said::Name(_) => "name",
        }
    }
}

fn has(blocks: &File, seed: u64, block: u64) -> bool {
    let mut expected = vec![0; BLOCK_BYTES];
    block_content(seed, block, &mut expected);
    let mut found = vec![0; BLOCK_BYTES];
    let offset = block * u64::try_from(BLOCK_BYTES).expect("a small constant");
    blocks.read_exact_at(&mut found, offset).is_ok() && found == expected
}

fn names(data: &Path, seed: u64, name: u64) -> bool {
    let path = data.join(NAMES_DIRECTORY).join(name.to_string());
    fs::read_to_string(path).is_ok_and(|found| found == name_content(seed, name))
}
