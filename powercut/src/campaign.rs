//! Many cuts: recordings one after the other, the cuts of each judged by several threads at once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use crate::host::{Interrupt, Scratch, format_image};
use crate::recording::{Recording, record};
use crate::report::{RecordingSummary, Report};
use crate::seed::Dice;
use crate::subject::{RigError, Subject};
use crate::trial::{Court, Cut, Outcome};

/// How much is done, and where what is lost is kept.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) cuts: usize,
    /// A new recording is made after this many.
    pub(crate) cuts_per_recording: usize,
    pub(crate) seed: u64,
    pub(crate) parallel: usize,
    pub(crate) image_bytes: u64,
    pub(crate) keep: Option<PathBuf>,
    /// End at the first cut in which something was lost.
    pub(crate) stop_at_loss: bool,
}

/// Runs the plan. Hears of every outcome as it comes.
pub(crate) fn run<S: Subject>(
    subject: &S,
    plan: &Plan,
    interrupt: &Interrupt,
    heard: &mut dyn FnMut(Progress<'_>),
) -> Result<Report, RigError> {
    let scratch = Scratch::mount().map_err(RigError::at("cannot mount scratch memory"))?;
    let base = scratch.path("base.img");
    format_image(&base, plan.image_bytes).map_err(RigError::at("cannot make a file system"))?;
    let court = Court { subject, scratch: &scratch, keep: plan.keep.as_deref(), interrupt };
    let mut report = Report::new(plan.seed);
    let mut number = 0;
    while report.cuts() < plan.cuts && !(plan.stop_at_loss && report.has_losses()) {
        let seed = Dice::for_part(plan.seed, number).next();
        number += 1;
        let recording = record(subject, &scratch, &base, seed, interrupt)?;
        let summary = RecordingSummary::of(&recording);
        heard(Progress::Recorded(&summary));
        report.add_recording(summary);
        let cuts = plan.cuts_per_recording.min(plan.cuts - report.cuts());
        judge_all(&court, plan.parallel, &recording, cuts, &mut |outcome| {
            heard(Progress::Judged(&outcome));
            report.add(outcome);
            plan.stop_at_loss && report.has_losses()
        })?;
    }
    Ok(report)
}

/// Something worth a line while a campaign runs.
#[derive(Debug)]
pub(crate) enum Progress<'a> {
    Recorded(&'a RecordingSummary),
    Judged(&'a Outcome),
}

/// `take` answers whether that was enough.
fn judge_all<S: Subject>(
    court: &Court<'_, S>,
    parallel: usize,
    recording: &Recording<S::Fact>,
    cuts: usize,
    take: &mut dyn FnMut(Outcome) -> bool,
) -> Result<(), RigError> {
    let next = AtomicUsize::new(0);
    let (results, inbox) = sync_channel(parallel);
    std::thread::scope(|scope| {
        // In here, so that it is gone, and no thread waits to send, when this returns early.
        let inbox = inbox;
        for _ in 0..parallel.min(cuts) {
            let (results, next) = (results.clone(), &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= cuts || court.interrupt.is_raised() {
                        return;
                    }
                    let part = 1 + u64::try_from(index).expect("few enough cuts");
                    let seed = Dice::for_part(recording.seed, part).next();
                    let outcome = court.try_cut(recording, Cut::choose::<S>(recording, seed));
                    if results.send(outcome).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        for outcome in &inbox {
            if take(outcome?) {
                return Ok(());
            }
        }
        if court.interrupt.is_raised() { Err(RigError::Interrupted) } else { Ok(()) }
    })
}
