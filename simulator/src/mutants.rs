//! Every rule switched off, one at a time: in how many seeds somebody notices, and who. A rule whose
//! absence nobody notices is a hole in the simulator.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use forebay_replication::Mutation;

use crate::campaign::Campaign;

/// How a mutation fared.
#[derive(Debug, Clone)]
pub struct Caught {
    /// The rule that was off.
    pub mutation: Mutation,
    /// In how many seeds somebody noticed.
    pub seeds: usize,
    /// The first seed of them.
    pub first: Option<u64>,
    /// Who noticed first, and how often.
    pub by: BTreeMap<String, u64>,
}

/// Runs the first `seeds` seeds with each mutation.
pub fn try_all(seeds: u64, jobs: usize, mut done: impl FnMut(&Caught)) -> Vec<Caught> {
    let mut all = Vec::new();
    for mutation in Mutation::ALL {
        let caught = try_one(mutation, seeds, jobs);
        done(&caught);
        all.push(caught);
    }
    all
}

fn try_one(mutation: Mutation, seeds: u64, jobs: usize) -> Caught {
    let campaign = Campaign { seeds: 0..seeds, jobs, mutation: Some(mutation) };
    let failed = campaign.run(|_, _| {}).failed;
    let mut by = BTreeMap::new();
    for noticed in failed.iter().filter_map(crate::run::Report::caught_by) {
        *by.entry(noticed).or_default() += 1;
    }
    Caught { mutation, seeds: failed.len(), first: failed.first().map(|report| report.seed), by }
}

const BEGIN: &str = "<!-- mutations: written by `forebay-simulate mutations --write` -->";
const END: &str = "<!-- end of mutations -->";

/// `page` with the table in the place of the one it has. `None`: it has no place for one.
pub fn write_table(page: &str, seeds: u64, all: &[Caught]) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let mut table =
        format!("| rule switched off | caught, of {seeds} seeds | noticed first by |\n");
    table.push_str("| --- | ---: | --- |\n");
    for caught in all {
        let by: Vec<_> = caught.by.iter().map(|(who, times)| format!("{who} {times}×")).collect();
        // Writing to a string cannot fail.
        let _written =
            writeln!(table, "| {:?} | {} | {} |", caught.mutation, caught.seeds, by.join(", "));
    }
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_takes_the_place_of_the_one_before_and_leaves_the_rest() {
        let caught = Caught {
            mutation: Mutation::R5LengthAlone,
            seeds: 3,
            first: Some(1),
            by: BTreeMap::from([("I1".to_owned(), 2), ("I7".to_owned(), 1)]),
        };
        let page = format!("above\n{BEGIN}\nold\n{END}\nbelow\n");
        let written = write_table(&page, 9, &[caught]).expect("a page with a place");
        assert!(written.starts_with("above\n") && written.ends_with("\nbelow\n"), "{written}");
        assert!(written.contains("| R5LengthAlone | 3 | I1 2×, I7 1× |"), "{written}");
        assert!(!written.contains("old"), "{written}");
        assert!(write_table("no place", 9, &[]).is_none());
    }
}
