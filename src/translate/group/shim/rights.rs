//! Who is root: the shim, where it places something for another, until it has.

use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec, SecurityContext};
use vkc_shim::spec::{CAPABILITIES, User};

use super::{Part, number};
use crate::azure::model::{self, Capabilities};
use crate::translate::group::review::Review;

/// Whom a container runs as.
#[derive(Debug)]
pub(in crate::translate::group) struct Who<'a> {
    user: Option<i64>,
    /// The image's, where the pod says nothing and it is read.
    of_image: Option<&'a str>,
    pub(super) group: Option<u32>,
}

impl<'a> Who<'a> {
    /// `part` decides whether the image has to be asked.
    pub(in crate::translate::group) fn of(
        container: &Container,
        pod: Option<&PodSpec>,
        part: &Part,
        review: &mut Review<'a>,
    ) -> Self {
        let own = container.security_context.as_ref();
        let of_pod = pod.and_then(|spec| spec.security_context.as_ref());
        let either = |own_id: fn(&SecurityContext) -> Option<i64>,
                      pod_id: fn(&PodSecurityContext) -> Option<i64>| {
            own.and_then(own_id).or_else(|| of_pod.and_then(pod_id))
        };
        let user = either(|it| it.run_as_user, |it| it.run_as_user);
        let group = either(|it| it.run_as_group, |it| it.run_as_group).and_then(number);
        let image = container.image.as_deref().unwrap_or_default();
        let of_image = if user.is_none() && part.root && !image.is_empty() {
            review.image(image).map(|image| image.user.as_str())
        } else {
            None
        };
        Self {
            user,
            of_image,
            group,
        }
    }

    /// The user, when it is not root, or root without some of the capabilities that the shim needs; `None` while it is not known.
    pub(super) fn less_than_root(
        &self,
        context: Option<&model::SecurityContext>,
    ) -> Option<String> {
        let user = match (self.user, self.of_image) {
            (Some(user), _) => user.to_string(),
            (None, image) => image?.to_owned(),
        };
        let name = user.split(':').next().unwrap_or_default();
        if !matches!(name, "" | "0" | "root") {
            return Some(user);
        }
        let capabilities = context.and_then(|context| context.capabilities.as_ref());
        let mut drops = capabilities
            .iter()
            .flat_map(|it| &it.drop)
            .map(|name| plain(name));
        drops
            .any(|name| name == "ALL" || CAPABILITIES.contains(&name.as_str()))
            .then(|| "0".to_owned())
    }
}

/// The name of a capability as the shim calls it.
fn plain(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").unwrap_or(&name).to_owned()
}

/// Has ACI start the container as root with the capabilities that the shim needs, and the shim give them up.
pub(super) fn begin_as_root(context: &mut Option<model::SecurityContext>, user: &mut User) {
    let context = context.get_or_insert_default();
    user.no_new_privileges = context.allow_privilege_escalation == Some(false);
    context.run_as_user = Some(0);
    context.run_as_group = Some(0);
    if context.privileged == Some(true) {
        return;
    }
    let mut capabilities = context.capabilities.take().unwrap_or_default();
    let Capabilities { add, drop } = &mut capabilities;
    let has = |list: &[String], name: &str| list.iter().any(|it| plain(it) == name);
    let without_all = has(drop, "ALL");
    let mut more = Vec::new();
    for name in CAPABILITIES {
        let (added, dropped) = (has(add, name) || has(add, "ALL"), has(drop, name));
        if dropped || (without_all && !added) {
            user.drop.push(name.to_owned());
            more.push(name.to_owned());
        }
    }
    drop.retain(|name| !CAPABILITIES.contains(&plain(name).as_str()));
    for name in more {
        if !has(add, &name) {
            add.push(name);
        }
    }
    context.capabilities = (capabilities != Capabilities::default()).then_some(capabilities);
}
