//! What a power cut leaves on a disk, as a pure function of the disk's log, the moment of the cut
//! and some dice.
//!
//! The fault model, for each 512-byte sector: its writes took effect in the order they started.
//! The last write to it that is on stable storage (completed before the start of a flush that
//! completed before the cut) is there, or any later one that had started before the cut. Sectors
//! are independent of each other, so a write may be torn anywhere. A sector is old or new, never
//! a mixture. Only the disk's first 4096 bytes are old or new as one: ext4 keeps its superblock
//! there, two sectors with one checksum, which it verifies before it replays the journal. It
//! relies on the disk to write them together, and a disk that does not takes ext4 away, whoever
//! wrote to it.

use super::log::{DiskLog, Position, Write};
use crate::seed::Dice;

/// What is written as a whole or not at all.
pub(crate) const SECTOR_BYTES: usize = 512;

/// Bytes that a cut left at an offset. Patches are laid over the first image in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patch<'a> {
    pub(crate) offset: u64,
    pub(crate) bytes: &'a [u8],
}

/// How a disk treats what was not flushed when the power went. All of them are within the fault
/// model; each finds other mistakes sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leniency {
    /// Nothing of it is there.
    LosesAll,
    /// All of it is there.
    KeepsAll,
    /// Each write is there whole or not at all.
    WholeWrites { kept_percent: u64 },
    /// Each sector for itself.
    Sectors { kept_percent: u64 },
    /// Each write is there, or is not, or is torn into sectors.
    Mixed,
}

impl Leniency {
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let kept_percent = 10 + dice.below(81);
        match dice.below(10) {
            0..=2 => Self::LosesAll,
            3 => Self::KeepsAll,
            4..=5 => Self::WholeWrites { kept_percent },
            6..=7 => Self::Sectors { kept_percent },
            _ => Self::Mixed,
        }
    }

    fn fate(self, dice: &mut Dice) -> Fate {
        let kept = |yes| if yes { Fate::Kept } else { Fate::Lost };
        match self {
            Self::LosesAll => Fate::Lost,
            Self::KeepsAll => Fate::Kept,
            Self::WholeWrites { kept_percent } => kept(dice.percent(kept_percent)),
            Self::Sectors { kept_percent } => Fate::Torn { kept_percent },
            Self::Mixed => match dice.below(3) {
                0 => Fate::Lost,
                1 => Fate::Kept,
                _ => Fate::Torn { kept_percent: 50 },
            },
        }
    }
}

enum Fate {
    Lost,
    Kept,
    Torn { kept_percent: u64 },
}

/// What of the log is on the disk after the power was cut at `cut`.
pub(crate) fn survivors<'a>(
    log: &'a DiskLog,
    cut: Position,
    leniency: Leniency,
    dice: &mut Dice,
) -> Vec<Patch<'a>> {
    let stable = log.stable_before(cut);
    let mut patches = Vec::new();
    for write in log.writes().iter().take_while(|write| write.started < cut) {
        let fate = if write.completed.is_some_and(|completed| completed < stable) {
            Fate::Kept
        } else {
            leniency.fate(dice)
        };
        match fate {
            Fate::Lost => {}
            Fate::Kept => patches.push(Patch { offset: write.offset, bytes: &write.bytes }),
            Fate::Torn { kept_percent } => tear(write, kept_percent, dice, &mut patches),
        }
    }
    patches
}

/// The first bytes of the disk, which are never torn.
const UNTORN_BYTES: u64 = 4096;

/// Splits at the disk's sector borders, wherever the write begins.
fn tear<'a>(write: &'a Write, kept_percent: u64, dice: &mut Dice, patches: &mut Vec<Patch<'a>>) {
    let sector_bytes = u64::try_from(SECTOR_BYTES).expect("a small constant");
    let mut offset = write.offset;
    let mut rest = write.bytes.as_slice();
    while !rest.is_empty() {
        let to_border = if offset < UNTORN_BYTES {
            UNTORN_BYTES - offset
        } else {
            sector_bytes - offset % sector_bytes
        };
        let len = usize::try_from(to_border).expect("a few sectors").min(rest.len());
        let (sector, after) = rest.split_at(len);
        if dice.percent(kept_percent) {
            patches.push(Patch { offset, bytes: sector });
        }
        offset += to_border;
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const SECTORS: usize = 16;
    const ALL: [Leniency; 5] = [
        Leniency::LosesAll,
        Leniency::KeepsAll,
        Leniency::WholeWrites { kept_percent: 50 },
        Leniency::Sectors { kept_percent: 50 },
        Leniency::Mixed,
    ];

    fn image_after(log: &DiskLog, cut: Position, leniency: Leniency, seed: u64) -> Vec<u8> {
        let mut image = vec![0; SECTORS * SECTOR_BYTES];
        for patch in survivors(log, cut, leniency, &mut Dice::new(seed)) {
            let at = usize::try_from(patch.offset).expect("a small image");
            image[at..at + patch.bytes.len()].copy_from_slice(patch.bytes);
        }
        image
    }

    /// Something a disk does; the write's bytes are all the same, so a sector names its writer.
    #[derive(Debug, Clone)]
    enum Step {
        Write { sector: usize, sectors: usize },
        Complete { which: usize },
        Flush,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..SECTORS, 1..4_usize).prop_map(|(sector, sectors)| Step::Write {
                sector,
                sectors: sectors.min(SECTORS - sector)
            }),
            4 => (0..8_usize).prop_map(|which| Step::Complete { which }),
            1 => Just(Step::Flush),
        ];
        prop::collection::vec(step, 1..60)
    }

    /// The dumb twin: for each sector its versions in order, and for each the position where it
    /// was known to be on stable storage.
    #[derive(Default)]
    struct Twin {
        versions: BTreeMap<usize, Vec<(u8, Position, Option<Position>)>>,
    }

    impl Twin {
        fn allowed(&self, sector: usize, cut: Position) -> Vec<u8> {
            let mut allowed = vec![0];
            for (value, started, stable) in self.versions.get(&sector).into_iter().flatten() {
                if *started >= cut {
                    break;
                }
                if stable.is_some_and(|stable| stable < cut) {
                    allowed.clear();
                }
                allowed.push(*value);
            }
            allowed
        }
    }

    fn play(steps: &[Step]) -> (DiskLog, Twin) {
        let mut log = DiskLog::default();
        let mut twin = Twin::default();
        let mut in_flight = Vec::new();
        let mut completed: Vec<u8> = Vec::new();
        let mut value = 0;
        for step in steps {
            match *step {
                Step::Write { sector, sectors } => {
                    value += 1;
                    let started = log.end();
                    let offset = u64::try_from(sector * SECTOR_BYTES).expect("small");
                    let index = log.start_write(offset, vec![value; sectors * SECTOR_BYTES]);
                    in_flight.push((index, value));
                    for sector in sector..sector + sectors {
                        twin.versions.entry(sector).or_default().push((value, started, None));
                    }
                }
                Step::Complete { which } if !in_flight.is_empty() => {
                    let (index, value) = in_flight.remove(which % in_flight.len());
                    log.complete_write(index);
                    completed.push(value);
                }
                Step::Complete { .. } => {}
                Step::Flush => {
                    let flush = log.start_flush();
                    let stable = log.end();
                    log.complete_flush(flush);
                    for version in twin.versions.values_mut().flatten() {
                        if version.2.is_none() && completed.contains(&version.0) {
                            version.2 = Some(stable);
                        }
                    }
                }
            }
        }
        (log, twin)
    }

    proptest! {
        #[test]
        fn every_sector_holds_its_stable_version_or_a_later_one(
            steps in steps(), cut_percent in 0..=100_u64, seed: u64,
        ) {
            let (log, twin) = play(&steps);
            let cut = Position::new(log.end().get() * cut_percent / 100);
            for leniency in ALL {
                let image = image_after(&log, cut, leniency, seed);
                for sector in 0..SECTORS {
                    let bytes = &image[sector * SECTOR_BYTES..][..SECTOR_BYTES];
                    prop_assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mixed sector");
                    let allowed = twin.allowed(sector, cut);
                    prop_assert!(
                        allowed.contains(&bytes[0]),
                        "{leniency:?}: sector {sector} holds {}, allowed {allowed:?}", bytes[0]
                    );
                }
            }
        }

        #[test]
        fn the_extremes_are_the_first_and_the_last_allowed_version(
            steps in steps(), cut_percent in 0..=100_u64,
        ) {
            let (log, twin) = play(&steps);
            let cut = Position::new(log.end().get() * cut_percent / 100);
            let oldest = image_after(&log, cut, Leniency::LosesAll, 0);
            let newest = image_after(&log, cut, Leniency::KeepsAll, 0);
            for sector in 0..SECTORS {
                let allowed = twin.allowed(sector, cut);
                prop_assert_eq!(Some(&oldest[sector * SECTOR_BYTES]), allowed.first());
                prop_assert_eq!(Some(&newest[sector * SECTOR_BYTES]), allowed.last());
            }
        }
    }

    #[test]
    fn a_torn_write_breaks_at_the_disks_sectors_not_at_its_own_start() {
        let mut log = DiskLog::default();
        log.start_write(UNTORN_BYTES + 256, vec![9; 1024]);
        let leniency = Leniency::Sectors { kept_percent: 100 };
        let patches = survivors(&log, log.end(), leniency, &mut Dice::new(1));
        let cuts: Vec<(u64, usize)> = patches.iter().map(|p| (p.offset, p.bytes.len())).collect();
        assert_eq!(cuts, [(4352, 256), (4608, 512), (5120, 256)]);
    }

    #[test]
    fn the_superblock_is_never_torn() {
        let mut log = DiskLog::default();
        log.start_write(0, vec![9; 8192]);
        let leniency = Leniency::Sectors { kept_percent: 50 };
        for seed in 0..100 {
            let patches = survivors(&log, log.end(), leniency, &mut Dice::new(seed));
            let in_front = patches.iter().filter(|patch| patch.offset < UNTORN_BYTES);
            assert!(in_front.into_iter().all(|patch| patch.bytes.len() == 4096));
        }
    }
}
