//! What the connector says about container groups without a pod. PURE.

use super::{Facts, before};
use crate::api::conditions::{ORPHANS_FOUND, Wanted, reason};
use crate::api::names::ANNOTATION_DELETE_ORPHANS;
use crate::pods::engine::{HOLD, Held};

/// Names of groups in the message.
const SHOWN: usize = 10;

/// Whether there are container groups without a pod; `None` while that is not known.
pub(super) fn orphans_condition(facts: &Facts) -> Option<Wanted> {
    if facts.nodes.iter().any(|node| before(facts, node).is_some()) {
        // They are counted in a moment.
        return Wanted::kept(&facts.previous?.conditions, ORPHANS_FOUND);
    }
    let mut agents = facts
        .nodes
        .iter()
        .filter_map(|node| node.agent.as_ref())
        .filter(|agent| agent.synced)
        .peekable();
    agents.peek()?;
    let agents: Vec<_> = agents.collect();
    let held: Vec<&Held> = agents
        .iter()
        .filter_map(|agent| agent.held.as_ref())
        .collect();
    if !held.is_empty() {
        return Some(Wanted::yes(
            ORPHANS_FOUND,
            reason::TOO_MANY,
            held_message(&held),
        ));
    }
    Some(
        match agents.iter().map(|agent| agent.orphans).sum::<u32>() {
            0 => Wanted::no(
                ORPHANS_FOUND,
                reason::NO_ORPHANS,
                "every container group has its pod",
            ),
            found => Wanted::yes(
                ORPHANS_FOUND,
                reason::ORPHANS_FOUND,
                format!(
                    "{found} container groups in {} have no pod",
                    facts.spec.aci_resource_group
                ),
            ),
        },
    )
}

/// What would be deleted, when it will be, and how to have it at once.
fn held_message(held: &[&Held]) -> String {
    let names: Vec<&str> = held
        .iter()
        .flat_map(|held| held.groups.iter().map(String::as_str))
        .collect();
    let shown = names.len().min(SHOWN);
    let more = match names.len() - shown {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let listed = names.iter().take(shown).copied().collect::<Vec<_>>();
    let tokens: Vec<&str> = held.iter().map(|held| held.token.as_str()).collect();
    format!(
        "{} container groups have lost their pods at once, which also happens when a cluster is restored or copied; none is \
         deleted for {} minutes: {}{more}. To delete them now, annotate the connector with {ANNOTATION_DELETE_ORPHANS}={}; to keep them, set \
         spec.orphanPolicy: Report",
        names.len(),
        HOLD.as_secs() / 60,
        listed.join(", "),
        tokens.join(","),
    )
}
