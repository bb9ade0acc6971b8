//! What the connector says about container groups without a pod. PURE.

use super::{Facts, before};
use crate::api::conditions::{ORPHANS_FOUND, Wanted, reason};
use crate::api::names::ANNOTATION_DELETE_ORPHANS;
use crate::pods::engine::{HOLD, Held, Hold};

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
    if let Some(why) = held.iter().map(|held| held.why).min() {
        let reason = match why {
            Hold::AnotherControlPlane => reason::ANOTHER_CONTROL_PLANE,
            Hold::TooMany => reason::TOO_MANY,
            Hold::Predecessor => reason::OF_PREDECESSOR,
        };
        return Some(Wanted::yes(ORPHANS_FOUND, reason, held_message(why, &held)));
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

/// What would be deleted, why it is not, and how to have it deleted.
fn held_message(why: Hold, held: &[&Held]) -> String {
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
    let listed = format!("{}{more}", listed.join(", "));
    let tokens: Vec<&str> = held.iter().map(|held| held.token.as_str()).collect();
    let annotate = format!(
        "annotate the connector with {ANNOTATION_DELETE_ORPHANS}={}",
        tokens.join(",")
    );
    let count = names.len();
    match why {
        Hold::AnotherControlPlane => format!(
            "another control plane works with these container groups, as after a restore or a copy of a cluster; nothing is \
             deleted that this operator has not made since it took the connector. If this cluster is the copy, stop the \
             operator here. If not, {annotate} to go on and to delete the container groups that have no pod here ({count}): \
             {listed}",
        ),
        Hold::TooMany => format!(
            "{count} container groups have lost their pods at once, which also happens when a cluster is restored or copied; \
             none is deleted for {} minutes: {listed}. To delete them now, {annotate}; to keep them, set spec.orphanPolicy: \
             Report",
            HOLD.as_secs() / 60,
        ),
        Hold::Predecessor => format!(
            "{count} container groups are left of a connector of this name that no longer exists; they have no pod and cost \
             money. To delete them, {annotate}: {listed}",
        ),
    }
}
