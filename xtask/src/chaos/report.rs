//! What people read: a line now and then, and the table at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::check::{INVARIANTS, Violation};
use super::lanes::Count;
use super::world::World;

/// Violations shown of one invariant.
const SHOWN: usize = 5;

/// One line on how it goes.
pub(super) fn progress(world: &World, done: u32) -> String {
    let phases = |phase: &str| world.pods.iter().filter(|pod| pod.phase == phase).count();
    let ready = world.nodes.iter().filter(|node| node.ready).count();
    let going = world
        .pods
        .iter()
        .filter(|pod| pod.deleting.is_some())
        .count();
    let running = world
        .processes
        .iter()
        .filter(|process| process.now.is_some())
        .count();
    format!(
        "{done} acts; pods: {} Pending, {} Running, {} Succeeded, {} Failed, {going} Terminating; {} groups; {ready}/{} nodes Ready; {running} vkc",
        phases("Pending"),
        phases("Running"),
        phases("Succeeded"),
        phases("Failed"),
        world.groups.len().saturating_sub(world.foreign.len()),
        world.nodes.len(),
    )
}

/// Acts and invariants.
pub(super) fn table(counts: &BTreeMap<&'static str, Count>, violations: &[Violation]) -> String {
    let mut text = String::from("\nacts                                done  missed\n");
    for (kind, count) in counts {
        let _ = writeln!(text, "  {kind:<32} {:>5}  {:>6}", count.done, count.missed);
    }
    text.push_str("\ninvariants\n");
    for invariant in INVARIANTS {
        let of_it: Vec<&Violation> = violations
            .iter()
            .filter(|violation| violation.invariant == invariant.name)
            .collect();
        let verdict = if of_it.is_empty() {
            "ok".to_owned()
        } else {
            format!("{} VIOLATED", of_it.len())
        };
        let _ = writeln!(
            text,
            "  {:<14} {verdict:<12} {}",
            invariant.name, invariant.rule
        );
        for violation in of_it.iter().take(SHOWN) {
            let _ = writeln!(text, "      {}", violation.evidence);
        }
        if of_it.len() > SHOWN {
            let _ = writeln!(
                text,
                "      … and {} more, see violations.txt",
                of_it.len() - SHOWN
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::check::fixture;

    #[test]
    fn progress_counts_what_there_is() {
        let line = progress(&fixture::world(), 7);
        assert_eq!(
            line,
            "7 acts; pods: 0 Pending, 2 Running, 1 Succeeded, 0 Failed, 0 Terminating; 3 groups; 2/2 nodes Ready; 1 vkc"
        );
    }

    #[test]
    fn the_table_shows_violations_under_their_invariant() {
        let counts = BTreeMap::from([("Job", Count { done: 3, missed: 1 })]);
        let violation = |n: usize| Violation {
            invariant: "orphans",
            evidence: format!("group {n}"),
            settles: true,
        };
        let all: Vec<Violation> = (0..7).map(violation).collect();
        let text = table(&counts, &all);
        assert!(
            text.contains("Job                                  3       1"),
            "{text}"
        );
        assert!(text.contains("orphans        7 VIOLATED"), "{text}");
        assert!(text.contains("      group 4\n      … and 2 more"), "{text}");
        assert!(text.contains("secrets        ok"), "{text}");
    }
}
