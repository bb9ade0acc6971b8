//! Giving rights up: from root to whom the pod names, for good.
//!
//! A process of one thread: Linux keeps all of this for each thread.

use rustix::io::Errno;
use rustix::process::{Gid, Uid, getegid, geteuid, getgroups};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::spec::User;
use crate::users::Identity;

#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    #[error("cannot give up rights: {what}: {why}")]
    System {
        what: &'static str,
        #[source]
        why: Errno,
    },
    #[error("cannot give up rights: no capability is called {0}")]
    Unknown(String),
    #[error("rights were not given up; nothing is started")]
    Kept,
}

/// Makes this process `identity`, without the capabilities that only the shim has.
///
/// # Errors
/// Some right could not be given up: then nothing may be started.
pub fn take(user: &User, identity: &Identity) -> Result<(), RightsError> {
    let failed = |what| move |why| RightsError::System { what, why };
    let mut dropped = CapabilitySet::empty();
    for name in &user.drop {
        let known = CapabilitySet::from_name(name.trim_start_matches("CAP_"));
        dropped |= known.ok_or_else(|| RightsError::Unknown(name.clone()))?;
    }
    let groups: Vec<Gid> = identity
        .groups
        .iter()
        .map(|it| Gid::from_raw(*it))
        .collect();
    set_thread_groups(&groups).map_err(failed("groups"))?;
    for capability in dropped.iter() {
        remove_capability_from_bounding_set(capability).map_err(failed("bounding set"))?;
    }
    // A kernel without them has none to clear.
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(why) => return Err(failed("ambient set")(why)),
    }
    let (uid, gid) = (Uid::from_raw(identity.user), Gid::from_raw(identity.group));
    set_thread_res_gid(gid, gid, gid).map_err(failed("group"))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed("user"))?;
    let left = if uid.is_root() {
        let now = capabilities(None).map_err(failed("capabilities"))?;
        CapabilitySets {
            effective: now.effective - dropped,
            permitted: now.permitted - dropped,
            inheritable: CapabilitySet::empty(),
        }
    } else {
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        }
    };
    set_capabilities(None, left).map_err(failed("capabilities"))?;
    if user.no_new_privileges {
        set_no_new_privs(true).map_err(failed("no_new_privs"))?;
    }
    verify(uid, gid, &groups)
}

/// What the calls have said is looked at once more: nothing may run with more.
fn verify(uid: Uid, gid: Gid, groups: &[Gid]) -> Result<(), RightsError> {
    let all = getgroups().map_err(|_| RightsError::Kept)?;
    let none_more = all.iter().all(|it| groups.contains(it));
    let back = !uid.is_root() && set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok();
    if geteuid() != uid || getegid() != gid || !none_more || back {
        return Err(RightsError::Kept);
    }
    Ok(())
}
