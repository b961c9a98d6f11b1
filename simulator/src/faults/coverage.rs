//! Which fault met which role, how often.

use std::fmt;

use super::kind::{FaultKind, Role};

const KINDS: usize = FaultKind::ALL.len();
const ROLES: usize = Role::ALL.len();

/// Counts of faults by kind and role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: [[u64; ROLES]; KINDS],
}

impl Coverage {
    pub(crate) const fn add(&mut self, kind: FaultKind, role: Role) {
        self.counts[kind as usize][role as usize] += 1;
    }

    /// Adds what another run has covered.
    pub fn merge(&mut self, other: &Self) {
        for (mine, its) in self.counts.iter_mut().flatten().zip(other.counts.iter().flatten()) {
            *mine += its;
        }
    }

    /// How often this fault met this role.
    pub const fn count(&self, kind: FaultKind, role: Role) -> u64 {
        self.counts[kind as usize][role as usize]
    }

    /// Faults that never met a role, with that role.
    pub fn missing(&self) -> Vec<(FaultKind, Role)> {
        let all = FaultKind::ALL.iter().flat_map(|kind| Role::ALL.map(|role| (*kind, role)));
        all.filter(|(kind, role)| self.count(*kind, *role) == 0).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {:<19} |", "fault")?;
        for role in Role::ALL {
            write!(f, " {:>9} |", role.to_string())?;
        }
        write!(f, "\n| {} |{}", "-".repeat(19), " --------: |".repeat(ROLES))?;
        for kind in FaultKind::ALL {
            write!(f, "\n| {:<19} |", kind.to_string())?;
            for role in Role::ALL {
                write!(f, " {:>9} |", self.count(kind, role))?;
            }
        }
        Ok(())
    }
}
