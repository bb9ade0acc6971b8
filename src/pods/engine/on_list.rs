//! What complete lists of the groups say. Facts only: what follows is for `rules` and `next`.

use std::collections::HashSet;
use std::time::Duration;

use super::record::Record;
use super::stage::{Exists, Made, Orphan, Stage};
use super::{BULK_THRESHOLD, Effect, Engine, Now, cadence};
use crate::provider::{Failure, GroupSummary, Listing};
use crate::tenure::Maker;
use crate::translate::PodKey;

/// The first lists look for orphans soon after the start, later ones rarely.
const EARLY_SWEEP: Duration = Duration::from_secs(30);
const EARLY: Duration = Duration::from_secs(90);
const SWEEP: Duration = Duration::from_secs(300);
/// An orphan must have been seen for this long before its pod is asked for.
const ORPHAN_AGE: Duration = Duration::from_secs(20);

impl Engine {
    pub(super) fn groups_listed(&mut self, now: Now, listing: &Listing, effects: &mut Vec<Effect>) {
        let first = !std::mem::replace(&mut self.node.lists.groups, true);
        self.list_failures = 0;
        let read_at = now.mono.saturating_sub(listing.age);
        let many = listing.groups.len() > BULK_THRESHOLD;
        let familiar = self.makers_of_our_pods_groups(listing);
        for summary in &listing.groups {
            let made = match &summary.maker {
                Maker::Us => Made::Here,
                Maker::Predecessor => Made::Predecessor,
                Maker::Other => Made::Elsewhere,
                Maker::Unknown(who) if !familiar.contains(who) => Made::Elsewhere,
                Maker::Former | Maker::Unknown(_) => Made::Before,
            };
            self.listed(now, read_at, summary, made, many);
        }
        let shown: HashSet<&PodKey> = listing.groups.iter().map(|group| &group.key).collect();
        self.not_listed(now, read_at, &shown, effects);
        if first {
            self.touch_all();
        }
        // Only then is it known how many groups start.
        let mut settled = self.apply_rules_to_touched(now, effects);
        self.touched.append(&mut settled);
        self.plan_next_list(now, listing.all, effects);
    }

    /// Processes nobody remembers that have made groups of pods that we know: they were holders before the Lease was lost.
    fn makers_of_our_pods_groups(&self, listing: &Listing) -> HashSet<String> {
        let maker = |group: &GroupSummary| match &group.maker {
            Maker::Unknown(who) => {
                let record = self.records.get(&group.key);
                let ours = record.is_some_and(|record| !record.is_orphan());
                ours.then(|| who.clone())
            }
            _ => None,
        };
        listing.groups.iter().filter_map(maker).collect()
    }

    /// A group that a list has shown.
    fn listed(
        &mut self,
        now: Now,
        read_at: Duration,
        summary: &GroupSummary,
        made: Made,
        many: bool,
    ) {
        let key = &summary.key;
        let Some(record) = self.records.get_mut(key) else {
            let orphan = Orphan::Listed {
                since: read_at,
                twice: false,
            };
            let name = summary.name.as_str().into();
            let mut record = Record::new(key.clone(), name, now, Stage::Orphaned(orphan));
            record.exists = Exists::Yes;
            record.made = made;
            self.records.insert(key.clone(), record);
            self.touched.push(key.clone());
            return;
        };
        if made == Made::Here {
            record.made = made;
        }
        let settling = is_settling(&summary.provisioning_state);
        match &mut record.stage {
            Stage::Orphaned(orphan) => {
                // Its pod may come back, and must find it.
                record.exists = Exists::Yes;
                if let Orphan::Listed { since, twice } = orphan {
                    *twice |= read_at.saturating_sub(*since) >= ORPHAN_AGE;
                }
            }
            // A group that was there before us: adopt it under the name it has.
            Stage::Unsynced => {
                record.group = summary.name.as_str().into();
                record.exists = Exists::Yes;
                // Of many that still start, the next list tells which have come further.
                record.poll_now = !(settling && many);
            }
            // It may be from before its create failed, or its delete succeeded.
            Stage::Creating if record.look_first => record.exists = Exists::Yes,
            Stage::Finished(_) => record.exists = Exists::Yes,
            Stage::Starting { polls: 0, .. } if !settling => record.poll_soon(),
            Stage::Starting { .. } | Stage::Running { .. }
                if record
                    .missing_since
                    .is_some_and(|missing| read_at > missing) =>
            {
                record.missing_since = None;
            }
            _ => return,
        }
        self.touched.push(key.clone());
    }

    /// What follows for groups that a complete list does not show.
    fn not_listed(
        &mut self,
        now: Now,
        read_at: Duration,
        shown: &HashSet<&PodKey>,
        effects: &mut Vec<Effect>,
    ) {
        for (key, record) in &mut self.records {
            if shown.contains(key) || record.in_flight.is_some() {
                continue;
            }
            let missing = record
                .missing_since
                .is_some_and(|missing| read_at > missing);
            match record.stage {
                Stage::Orphaned(Orphan::Listed { since, .. }) if read_at > since => {
                    record.exists = Exists::No;
                }
                Stage::Orphaned(Orphan::Confirmed { .. }) | Stage::Finished(_)
                    if read_at > record.base =>
                {
                    record.exists = Exists::No;
                }
                // A 404 and a list that began later agree.
                Stage::Starting { .. } | Stage::Running { .. } if missing => {
                    record.group_lost(now, effects);
                }
                _ => continue,
            }
            self.touched.push(key.clone());
        }
    }

    fn plan_next_list(&mut self, now: Now, groups: usize, effects: &mut Vec<Effect>) {
        let many = self.starting_unpolled() > BULK_THRESHOLD;
        if std::mem::replace(&mut self.node.bulk_listing, many) && !many {
            self.touch_unpolled();
        }
        let after = if many {
            cadence::bulk(groups)
        } else if now.mono < EARLY || self.orphans().next().is_some() {
            EARLY_SWEEP
        } else {
            SWEEP
        };
        effects.push(Effect::List { after });
    }

    /// One more group is being provisioned: when there are many, lists tell how they come on.
    pub(super) fn note_bulk(&mut self, effects: &mut Vec<Effect>) {
        if !self.node.bulk_listing && self.starting_unpolled() > BULK_THRESHOLD {
            self.node.bulk_listing = true;
            self.touch_unpolled();
            effects.push(Effect::List {
                after: cadence::bulk(0),
            });
        }
    }

    fn starting_unpolled(&self) -> usize {
        self.records
            .values()
            .filter(|record| record.is_unpolled())
            .count()
    }

    fn touch_unpolled(&mut self) {
        let unpolled = self.records.values().filter(|record| record.is_unpolled());
        self.touched
            .extend(unpolled.map(|record| record.key.clone()));
    }

    pub(super) fn list_failed(&mut self, failure: &Failure, effects: &mut Vec<Effect>) {
        self.list_failures = self.list_failures.saturating_add(1);
        effects.push(Effect::List {
            after: cadence::after_failure(failure, self.list_failures),
        });
    }
}

impl Record {
    fn is_unpolled(&self) -> bool {
        matches!(self.stage, Stage::Starting { polls: 0, .. })
    }
}

/// True while a provisioning state says that the group is on its way.
pub(super) fn is_settling(state: &str) -> bool {
    [
        "Pending",
        "Creating",
        "Accepted",
        "Updating",
        "PreProvisioned",
        "NotSpecified",
    ]
    .iter()
    .any(|settling| state.eq_ignore_ascii_case(settling))
}
