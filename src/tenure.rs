//! Who holds a connector and who held it before, and what the mark on a container group says by that. PURE.
//!
//! A control plane that was copied works with the same groups as the one it was copied from, and one that was restored has
//! forgotten some of them; cluster, connectors and even Leases have the same UIDs in all of them. What differs is the
//! process: each group carries the identity of the process that made it and when, and the connector's Lease remembers who
//! has held it and until when each of them may have written. A group that none of them can have made is the work of another
//! control plane. Only times of one clock are compared: the mark's and the Lease's are both of the process that made them.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

/// Holders that are remembered. Those before them are not told from strangers by the time of their groups.
pub const REMEMBERED: usize = 32;

/// Which process made a group, and when, as its tags say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    /// Identity of the process: no other has it, not even one in the same pod.
    pub by: String,
    pub at: Timestamp,
}

/// One holder's time with a connector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenure {
    /// Identity of this process.
    pub holder: String,
    /// Holders before, and until when each may have written, by its own clock.
    pub former: BTreeMap<String, Timestamp>,
}

/// Who made a group of our cluster, connector and node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maker {
    Us,
    /// A holder before this one, or nobody says.
    Former,
    /// Another control plane: a former holder made it after its time was over.
    Other,
    /// A process that was no holder as far as is remembered.
    Unknown(String),
    /// A connector of the same name that no longer exists.
    Predecessor,
}

impl Tenure {
    /// Who made a group with this mark.
    pub fn maker(&self, mark: Option<&Mark>) -> Maker {
        let Some(mark) = mark else {
            return Maker::Former;
        };
        if mark.by == self.holder {
            return Maker::Us;
        }
        match self.former.get(&mark.by) {
            Some(until) if mark.at <= *until => Maker::Former,
            Some(_) => Maker::Other,
            None if self.has_forgotten(mark.at) => Maker::Former,
            None => Maker::Unknown(mark.by.clone()),
        }
    }

    /// Whether somebody may have held the connector at that time who is not remembered any more.
    fn has_forgotten(&self, at: Timestamp) -> bool {
        let first = self.former.values().min();
        self.former.len() >= REMEMBERED && first.is_some_and(|first| at < *first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn mark(by: &str, second: i64) -> Mark {
        Mark {
            by: by.to_owned(),
            at: at(second),
        }
    }

    #[test]
    fn a_group_that_no_holder_can_have_made_is_told_from_one_that_a_holder_made() {
        let tenure = Tenure {
            holder: "c".to_owned(),
            former: [("a".to_owned(), at(100)), ("b".to_owned(), at(200))].into(),
        };
        for (mark, maker) in [
            (None, Maker::Former),
            (Some(mark("c", 1)), Maker::Us),
            (Some(mark("a", 100)), Maker::Former),
            (Some(mark("a", 101)), Maker::Other),
            (Some(mark("b", 101)), Maker::Former),
            (Some(mark("x", 50)), Maker::Unknown("x".to_owned())),
        ] {
            assert_eq!(tenure.maker(mark.as_ref()), maker, "{mark:?}");
        }
    }

    #[test]
    fn who_held_it_before_all_that_is_remembered_is_no_stranger() {
        let former = |n: usize| (format!("r{n}"), at(1000 + i64::try_from(n).unwrap()));
        let tenure = Tenure {
            holder: "c".to_owned(),
            former: (0..REMEMBERED).map(former).collect(),
        };
        assert_eq!(tenure.maker(Some(&mark("x", 999))), Maker::Former);
        let stranger = Maker::Unknown("x".to_owned());
        assert_eq!(tenure.maker(Some(&mark("x", 1000))), stranger);
    }
}
