//! The shim in a group: which containers have it, what it does there, and how it gets there.
//!
//! The first init container copies it into a volume that the others mount read-only. What it is to do in a container is in a volume
//! of that container's alone, since the environment of one must not be seen by another; what only the first one does, filling
//! volumes with files of their own modes, in a volume of its own. See ADR 14 for who is root where.

mod bringer;
mod marks;
mod needs;
mod rights;
mod sidecars;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use vkc_shim::spec::{
    Attached, Content, FILE, File, Host, MessageFile, ORDERS, PROGRAM, PROGRAMS, Spec, User,
    VOLUMES, Variable,
};
use zeroize::Zeroizing;

use super::budget::{Amount, Exceeded, Of, base64, written};
use super::names;
use super::review::Review;
use crate::azure::model::{
    self, ContainerProperties, EmptyDir, SecretBytes, SecretText, VolumeMount,
};

pub(super) use bringer::{Fills, bringer, mode_for, place_of};
pub(super) use marks::{has_mark, mark};
pub(super) use needs::Needs;
pub(super) use rights::Who;

use marks::text;
use rights::begin_as_root;
use sidecars::Sidecars;

/// Reason of the note that the shim is there.
pub(super) const SHIM: &str = "ShimAdded";
const MESSAGE: &str = "spec.containers[].terminationMessagePath: another than /dev/termination-log";
const DEFAULT_MESSAGE: &str = "/dev/termination-log";
const DIRECTORY: &str = "spec.containers[].workingDir: of a container with the shim";
/// What a refusal calls its orders.
const ORDERED: &str = "what the shim is to do";

/// What the pod says for the shim of each of its containers.
#[derive(Debug, Default)]
pub(super) struct OfPod {
    hosts: Vec<Host>,
    /// `fsGroup`.
    pub(super) group: Option<u32>,
    groups: Vec<u32>,
    strict: bool,
    sidecars: Sidecars,
}

impl OfPod {
    pub(super) fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else {
            return Self::default();
        };
        let hosts = spec.host_aliases.iter().flatten().map(|alias| Host {
            ip: alias.ip.clone(),
            names: alias.hostnames.clone().unwrap_or_default(),
        });
        let context = spec.security_context.as_ref();
        let group = context.and_then(|it| it.fs_group).and_then(number);
        let further = context.and_then(|it| it.supplemental_groups.as_deref());
        let further = further
            .unwrap_or_default()
            .iter()
            .copied()
            .filter_map(number);
        Self {
            hosts: hosts.collect(),
            group,
            groups: further.chain(group).collect(),
            strict: context.and_then(|it| it.supplemental_groups_policy.as_deref())
                == Some("Strict"),
            sidecars: Sidecars::of(spec),
        }
    }

    /// Whether what comes after init container `index`, a sidecar, can wait until it has started.
    pub(super) fn waits_for(&self, index: usize) -> bool {
        self.sidecars.has(index)
    }

    /// What the shim does in a container, before it is looked at.
    pub(super) fn part(
        &self,
        container: &Container,
        index: usize,
        review: &mut Review<'_>,
    ) -> Part {
        let mut part = Part {
            needed: review.shim.always,
            spec: Spec::new(),
            ..Part::default()
        };
        if !self.hosts.is_empty() && review.shim.may() {
            part.spec.hosts.clone_from(&self.hosts);
            part.as_root();
        }
        if review.shim.may() {
            part.spec.after = self.sidecars.before(index, review);
            part.needed |= !part.spec.after.is_empty();
        }
        let path = container.termination_message_path.as_deref();
        let path = path
            .filter(|path| !path.is_empty())
            .unwrap_or(DEFAULT_MESSAGE);
        let own = path != DEFAULT_MESSAGE;
        review.field(MESSAGE, own, &[index]);
        if own && review.shim.may() {
            part.as_root();
        }
        let attach = Attached {
            terminal: container.tty == Some(true),
            input: container.stdin == Some(true),
            once: container.stdin == Some(true) && container.stdin_once == Some(true),
        };
        if (attach.terminal || attach.input) && review.shim.may() {
            // The place where people attach is root's to make.
            part.as_root();
            part.spec.attach = Some(attach);
        }
        part.spec.message = Some(MessageFile {
            path: format!("/{}", path.trim_start_matches('/')),
            required: own,
        });
        part
    }
}

fn number(id: i64) -> Option<u32> {
    u32::try_from(id).ok()
}

/// What the shim does in one container.
#[derive(Debug, Default)]
pub(super) struct Part {
    needed: bool,
    /// Whether it places something where only root may.
    root: bool,
    spec: Spec,
    /// What is beside the orders, in base64.
    beside: BTreeMap<String, SecretText>,
    /// The command where everybody may see it.
    words: Vec<String>,
}

impl Part {
    pub(super) fn is_needed(&self) -> bool {
        self.needed
    }

    pub(super) fn need(&mut self) {
        self.needed = true;
    }

    fn as_root(&mut self) {
        self.needed = true;
        self.root = true;
    }

    /// A variable that ACI cannot give.
    pub(super) fn set(&mut self, name: String, value: &str) {
        self.needed = true;
        let value = text(value);
        self.spec.env.push(Variable { name, value });
    }

    /// The command: `hidden`, or for everybody to see.
    pub(super) fn command(&mut self, words: &[Zeroizing<String>], hidden: bool) {
        if hidden {
            self.spec.command = words.iter().map(|word| text(word)).collect();
        } else {
            self.words = words.iter().map(|word| (**word).clone()).collect();
        }
    }

    /// It will place a file that is not known yet.
    pub(super) fn will_place(&mut self) {
        self.as_root();
    }

    pub(super) fn start_in(&mut self, directory: &str, index: usize, review: &mut Review<'_>) {
        review.field(DIRECTORY, true, &[index]);
        self.spec.working_dir = Some(directory.to_owned());
    }

    /// A file at `path` of the container with `bytes`, which are not known while the pod is only reviewed.
    pub(super) fn file(
        &mut self,
        path: String,
        bytes: Option<FileBytes<'_>>,
        mode: u32,
        group: Option<u32>,
        at: &dyn std::fmt::Display,
        review: &mut Review<'_>,
    ) -> Result<(), Exceeded> {
        self.as_root();
        let content = content(bytes, &mut self.beside, at, review)?;
        self.spec.files.push(File {
            path,
            content,
            mode,
            group,
        });
        Ok(())
    }

    /// Puts the shim before the program of `container`. `who` it is to run as; `context` of ACI changes where the shim has to
    /// begin as root. The volume of its orders.
    pub(super) fn put_before(
        mut self,
        name: &str,
        container: &mut ContainerProperties,
        who: &Who<'_>,
        of_pod: &OfPod,
        review: &mut Review<'_>,
    ) -> Option<model::Volume> {
        if !self.needed {
            return None;
        }
        if self.root
            && let Some(user) = who.less_than_root(container.security_context.as_ref())
        {
            let mut user = User {
                name: user,
                group: who.group,
                groups: of_pod.groups.clone(),
                strict: of_pod.strict,
                ..User::default()
            };
            let own = container.environment_variables.iter().map(|it| &it.name);
            let mut names = own.chain(self.spec.env.iter().map(|it| &it.name));
            user.keep_home = names.any(|name| name == "HOME");
            begin_as_root(&mut container.security_context, &mut user);
            self.spec.user = Some(user);
        }
        container.command = vec![PROGRAM.to_owned(), "run".to_owned()];
        if self.spec.command.is_empty() {
            container.command.push("--".to_owned());
            container.command.append(&mut self.words);
        }
        for probe in [
            &mut container.liveness_probe,
            &mut container.readiness_probe,
        ] {
            if let Some(exec) = probe.as_mut().and_then(|probe| probe.exec.as_mut()) {
                let before = [PROGRAM, "exec", "--"].map(str::to_owned);
                exec.command.splice(0..0, before);
            }
        }
        let volume = orders(
            &format!("vkc-shim/of/{name}"),
            &self.spec,
            self.beside,
            review,
        )?;
        container
            .volume_mounts
            .push(mount(&volume.name, ORDERS, true));
        Some(volume)
    }
}

/// Mounts the shim in a container that begins with it, or whose volumes it brings up to date.
pub(super) fn mount_programs(container: &mut ContainerProperties) {
    let mut mounts = container.volume_mounts.iter();
    let needs = mounts.any(|it| it.mount_path == ORDERS || it.mount_path.starts_with(VOLUMES));
    if needs {
        let programs = mount(&programs().name, PROGRAMS, true);
        container.volume_mounts.push(programs);
    }
}

/// What is in a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileBytes<'s> {
    pub(super) bytes: &'s SecretBytes,
    /// Whether the pod says it itself: then the pod's address may be in it. A Secret that looks so is not touched.
    pub(super) own: bool,
}

/// Puts `bytes` beside the orders, or into them when the pod's address is in them.
fn content(
    bytes: Option<FileBytes<'_>>,
    beside: &mut BTreeMap<String, SecretText>,
    at: &dyn std::fmt::Display,
    review: &mut Review<'_>,
) -> Result<Content, Exceeded> {
    let own = bytes.is_some_and(|it| it.own);
    let bytes = bytes.map(|it| it.bytes.expose()).unwrap_or_default();
    let said = std::str::from_utf8(bytes).ok().filter(|_| own);
    if let Some(said) = said.filter(|said| has_mark(said)) {
        return Ok(Content::Text(text(said)));
    }
    let name = format!("f{}", beside.len());
    let length = base64(bytes.len());
    let frame = Amount::own(FRAME + name.len());
    review.spend(Of::Base64, Amount::foreign(length), ORDERED, at)?;
    review.spend(Of::Bytes, frame.and(Amount::foreign(length)), ORDERED, at)?;
    beside.insert(name.clone(), SecretBytes::new(bytes.to_vec()).base64());
    Ok(Content::From(name))
}

/// Bytes of a file in a request without its name and content: `"":"",`.
const FRAME: usize = 6;

/// The volume of orders.
fn orders(
    name: &str,
    spec: &Spec,
    mut beside: BTreeMap<String, SecretText>,
    review: &mut Review<'_>,
) -> Option<model::Volume> {
    let written_out = match spec.write() {
        Ok(bytes) => SecretBytes::new(bytes.to_vec()),
        Err(error) => {
            review.refuse(
                "spec".to_owned(),
                format!("{ORDERED} cannot be written: {error}"),
            );
            return None;
        }
    };
    let length = base64(written_out.expose().len());
    let amount = Amount::own(FRAME + written(FILE)).and(Amount::foreign(length));
    review
        .spend(Of::Base64, Amount::foreign(length), ORDERED, &"spec")
        .ok()?;
    review.spend(Of::Bytes, amount, ORDERED, &"spec").ok()?;
    beside.insert(FILE.to_owned(), written_out.base64());
    Some(model::Volume {
        name: names::volume(name),
        secret: Some(beside),
        ..model::Volume::default()
    })
}

/// The volume that the shim is in.
fn programs() -> model::Volume {
    model::Volume {
        name: names::volume("vkc-shim/bin"),
        empty_dir: Some(EmptyDir {}),
        ..model::Volume::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
    }
}

#[cfg(test)]
mod tests;
