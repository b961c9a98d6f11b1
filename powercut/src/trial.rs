//! One power cut: where, what the disk kept, and what the subject has to say afterwards.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{Leniency, Position, survivors};
use crate::host::{Backing, Interrupt, MountedImage, Scratch, copy_sparse};
use crate::recording::{DATA_DIRECTORY, Recording};
use crate::seed::Dice;
use crate::subject::{RigError, Stage, Stamped, Subject, Verdict};

/// Of 100 cuts, this many hit just after something was promised or asked.
const AIMED_PERCENT: u64 = 60;
/// How far behind the promise such a cut may be, in positions of the log.
const AIM_SPREAD: u64 = 6;

const KEPT_IMAGE: &str = "disk.img";
const KEPT_FACTS: &str = "facts.json";
const KEPT_OUTPUT: &str = "output.log";

/// A cut to be judged. With the recording, it determines the image exactly.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) seed: u64,
    pub(crate) at: Position,
    pub(crate) leniency: Leniency,
}

impl Cut {
    /// Some anywhere, more just after a fact: a promise is most at risk when it has just been made.
    pub(crate) fn choose<S: Subject>(recording: &Recording<S::Fact>, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut sorts: BTreeMap<&str, Vec<Position>> = BTreeMap::new();
        for stamped in &recording.facts {
            sorts.entry(S::sort(&stamped.fact)).or_default().push(stamped.at);
        }
        let sorts: Vec<Vec<Position>> = sorts.into_values().collect();
        let end = recording.log.end().get();
        let at = if !sorts.is_empty() && dice.percent(AIMED_PERCENT) {
            let sort = &sorts[dice.index(sorts.len())];
            let fact = sort[dice.index(sort.len())];
            (fact.get() + dice.below(AIM_SPREAD)).min(end)
        } else {
            dice.below(end + 1)
        };
        Self { seed, at: Position::new(at), leniency: Leniency::random(&mut dice) }
    }
}

/// What became of a cut.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    pub(crate) recording_seed: u64,
    pub(crate) seed: u64,
    pub(crate) cut: Position,
    pub(crate) log_end: Position,
    pub(crate) leniency: String,
    pub(crate) verdict: Verdict,
    /// The directory with the image as the cut left it, and what is needed to judge it again.
    pub(crate) kept: Option<PathBuf>,
}

/// What is kept beside an image.
#[derive(Serialize, Deserialize)]
struct KeptFacts<F> {
    recording_seed: u64,
    cut: Position,
    facts: Vec<Stamped<F>>,
}

/// Judges cuts, one at a time.
#[derive(Debug)]
pub(crate) struct Court<'a, S> {
    pub(crate) subject: &'a S,
    pub(crate) scratch: &'a Scratch,
    /// Where images are kept in which something was lost.
    pub(crate) keep: Option<&'a Path>,
    pub(crate) interrupt: &'a Interrupt,
}

impl<S: Subject> Court<'_, S> {
    /// Rebuilds what the cut left, mounts it, and has the subject judged on it.
    pub(crate) fn try_cut(
        &self,
        recording: &Recording<S::Fact>,
        cut: Cut,
    ) -> Result<Outcome, RigError> {
        let files = TrialFiles::new(self.scratch, cut.seed)?;
        rebuild(recording, cut, &files.image()).map_err(RigError::at("cannot rebuild an image"))?;
        if self.keep.is_some() {
            copy_sparse(&files.image(), &files.pristine())
                .map_err(RigError::at("cannot copy an image"))?;
        }
        let verdict = self.judge_image(&files, recording.seed, &recording.facts, cut.at)?;
        let kept = match self.keep {
            Some(keep) if !verdict.losses.is_empty() => {
                let directory = keep.join(format!("cut-{:016x}", cut.seed));
                let facts = KeptFacts {
                    recording_seed: recording.seed,
                    cut: cut.at,
                    facts: recording.facts.clone(),
                };
                files
                    .keep_in(&directory, &facts)
                    .map_err(RigError::at(format!("cannot write to {}", directory.display())))?;
                Some(directory)
            }
            _ => None,
        };
        Ok(Outcome {
            recording_seed: recording.seed,
            seed: cut.seed,
            cut: cut.at,
            log_end: recording.log.end(),
            leniency: format!("{:?}", cut.leniency),
            verdict,
            kept,
        })
    }

    /// Judges an image that an earlier run kept.
    pub(crate) fn try_kept(&self, directory: &Path) -> Result<Verdict, RigError> {
        let cannot_read = format!("cannot read {}", directory.display());
        let files = TrialFiles::new(self.scratch, 0)?;
        let facts = fs::read(directory.join(KEPT_FACTS)).map_err(RigError::at(&cannot_read))?;
        let facts: KeptFacts<S::Fact> =
            serde_json::from_slice(&facts).map_err(RigError::at(&cannot_read))?;
        copy_sparse(&directory.join(KEPT_IMAGE), &files.image())
            .map_err(RigError::at(&cannot_read))?;
        self.judge_image(&files, facts.recording_seed, &facts.facts, facts.cut)
    }

    fn judge_image(
        &self,
        files: &TrialFiles,
        recording_seed: u64,
        facts: &[Stamped<S::Fact>],
        cut: Position,
    ) -> Result<Verdict, RigError> {
        let directory = files.mount_point();
        let mounted = MountedImage::mount(&files.image(), Backing::Scratch, &directory)
            .map_err(RigError::at("cannot mount the image that a cut left"))?;
        let stage = Stage {
            data: &directory.join(DATA_DIRECTORY),
            process_log: files.output(),
            seed: recording_seed,
            interrupt: self.interrupt,
        };
        let verdict = self.subject.judge(&stage, facts, cut);
        mounted.unmount().map_err(RigError::at("cannot unmount the image that a cut left"))?;
        verdict
    }
}

fn rebuild<F>(recording: &Recording<F>, cut: Cut, image: &Path) -> io::Result<()> {
    let file: File = copy_sparse(&recording.base, image)?;
    let mut dice = Dice::for_part(cut.seed, 1);
    for patch in survivors(&recording.log, cut.at, cut.leniency, &mut dice) {
        file.write_all_at(patch.bytes, patch.offset)?;
    }
    Ok(())
}

/// What one trial has in scratch memory; gone with it.
struct TrialFiles {
    directory: PathBuf,
}

impl TrialFiles {
    fn new(scratch: &Scratch, seed: u64) -> Result<Self, RigError> {
        let files = scratch.directory(&format!("cut-{seed:016x}")).and_then(|directory| {
            let files = Self { directory };
            fs::create_dir(files.mount_point())?;
            Ok(files)
        });
        files.map_err(RigError::at("cannot make a directory for a cut"))
    }

    fn image(&self) -> PathBuf {
        self.directory.join(KEPT_IMAGE)
    }

    fn pristine(&self) -> PathBuf {
        self.directory.join("pristine.img")
    }

    fn output(&self) -> PathBuf {
        self.directory.join(KEPT_OUTPUT)
    }

    fn mount_point(&self) -> PathBuf {
        self.directory.join("ext4")
    }

    fn keep_in<F: Serialize>(&self, directory: &Path, facts: &KeptFacts<F>) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        copy_sparse(&self.pristine(), &directory.join(KEPT_IMAGE))?;
        fs::write(directory.join(KEPT_FACTS), serde_json::to_vec(facts)?)?;
        if self.output().exists() {
            fs::copy(self.output(), directory.join(KEPT_OUTPUT))?;
        }
        Ok(())
    }
}

impl Drop for TrialFiles {
    fn drop(&mut self) {
        // Still mounted after a failure: then it goes with the scratch memory. Not removed
        // recursively, so that a mount that stayed is never emptied.
        for file in [self.image(), self.pristine(), self.output()] {
            drop(fs::remove_file(file));
        }
        drop(fs::remove_dir(self.mount_point()));
        drop(fs::remove_dir(&self.directory));
    }
}
