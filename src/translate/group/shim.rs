//! The shim in a group: which containers have it, what it does there, and how it gets there.
//!
//! The first init container copies it into a volume that the others mount read-only. What it is to do in a container is in a volume
//! of that container's alone, since the environment of one must not be seen by another; what only the first one does, filling
//! volumes with files of their own modes, in a volume of its own. See ADR 14 for who is root where.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, PodSpec, SecurityContext};
use vkc_shim::spec::{
    CAPABILITIES, Content, Directory, FILE, File, Host, MessageFile, ORDERS, PROGRAM, PROGRAMS,
    Part as Piece, Spec, Text, User, VOLUMES, Variable, Which,
};
use zeroize::Zeroizing;

use super::budget::{Amount, Exceeded, Of, base64, written};
use super::names;
use super::review::Review;
use crate::api::{Os, ShimMode};
use crate::azure::model::{
    self, Capabilities, ContainerProperties, EmptyDir, InitContainer, InitContainerProperties,
    SecretBytes, SecretText, VolumeMount,
};

/// Reason of the note that the shim is there.
pub(super) const SHIM: &str = "ShimAdded";
/// Name of the init container that brings it.
pub(in crate::translate) const SHIM_CONTAINER: &str = "vkc-shim";
/// The shim in its own image.
const IN_IMAGE: &str = "/vkc-shim";
const MESSAGE: &str = "spec.containers[].terminationMessagePath: another than /dev/termination-log";
const DEFAULT_MESSAGE: &str = "/dev/termination-log";
const DIRECTORY: &str = "spec.containers[].workingDir: of a container with the shim";
/// What a refusal calls its orders.
const ORDERED: &str = "what the shim is to do";
/// Fields that are told.
const TOLD: usize = 8;
/// Bits that a kubelet adds to files of a volume for the group of the pod (`fsGroup`).
const GROUP_READS: u32 = 0o440;

/// Stands for the pod's address in texts until the shim knows it. No text of a pod can have a null byte where it is used: neither
/// the environment nor the arguments of a process can.
const POD_IP: &str = "\0podIP\0";
const POD_IPS: &str = "\0podIPs\0";

/// What stands for the pod's address, or for all of them.
pub(super) fn mark(all: bool) -> &'static str {
    if all { POD_IPS } else { POD_IP }
}

/// Whether the pod's address is to be put into `text`.
pub(super) fn has_mark(text: &str) -> bool {
    text.contains('\0') && (text.contains(POD_IP) || text.contains(POD_IPS))
}

/// `text` for the shim.
pub(super) fn text(text: &str) -> Text {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let marks = [(POD_IP, Which::PodIp), (POD_IPS, Which::PodIps)];
        let found = marks
            .into_iter()
            .filter_map(|(mark, which)| Some((rest.find(mark)?, mark.len(), which)));
        let next = found.min_by_key(|(at, ..)| *at);
        let plain = rest.get(..next.map_or(rest.len(), |(at, ..)| at));
        // What is left of null bytes no process can be given.
        let plain = Zeroizing::new(plain.unwrap_or_default().replace('\0', ""));
        if !plain.is_empty() {
            out.push(Piece::Text(plain));
        }
        let Some((at, length, which)) = next else {
            return Text(out);
        };
        out.push(Piece::Address { address: which });
        rest = rest.get(at + length..).unwrap_or_default();
    }
}

/// Whether the shim may be in the group of a pod, and what for.
#[derive(Debug, Default)]
pub(super) struct Needs {
    forbidden: Option<&'static str>,
    always: bool,
    fields: Vec<String>,
    more: usize,
}

impl Needs {
    /// What holds for a pod under `mode`; `policy`: its group is confidential and has a policy of its own.
    pub(super) fn of(mode: ShimMode, os: Os, policy: bool) -> Self {
        let forbidden = if os == Os::Windows {
            Some("it is for Linux")
        } else if mode == ShimMode::Never {
            Some("the connector forbids it (spec.shim.mode: Never)")
        } else if policy {
            Some("the policy of a confidential group names each container, and it is none of them")
        } else {
            None
        };
        Self {
            always: forbidden.is_none() && mode == ShimMode::Always,
            forbidden,
            ..Self::default()
        }
    }

    /// Why it may not be there.
    pub(super) fn forbidden(&self) -> Option<&'static str> {
        self.forbidden
    }

    /// Whether what needs it, it does.
    pub(super) fn may(&self) -> bool {
        self.forbidden.is_none()
    }

    pub(super) fn advice(&self, why: &str) -> String {
        let because = self.forbidden.unwrap_or_default();
        format!("{why}; the operator's shim would do it, and {because}")
    }

    pub(super) fn need(&mut self, field: String) {
        if self.fields.contains(&field) {
            return;
        }
        if self.fields.len() < TOLD {
            self.fields.push(field);
        } else {
            self.more += 1;
        }
    }

    /// The first field that it is there for, and what is told.
    pub(super) fn told(&self) -> Option<(String, String)> {
        let first = self.fields.first()?;
        let others = self.fields.get(1..).unwrap_or_default().join(", ");
        let also = match (others.as_str(), self.more) {
            ("", _) => String::new(),
            (others, 0) => format!(" (also for {others})"),
            (others, more) => format!(" (also for {others} and {more} more)"),
        };
        let message = format!(
            "ACI has no such thing: the operator's shim, a program in the container group, does it{also}; the connector's spec.shim may forbid it"
        );
        Some((first.clone(), message))
    }
}

/// What the pod says for the shim of each of its containers.
#[derive(Debug, Default)]
pub(super) struct OfPod {
    hosts: Vec<Host>,
    /// `fsGroup`.
    pub(super) group: Option<u32>,
    groups: Vec<u32>,
    strict: bool,
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
        }
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
        let path = container.termination_message_path.as_deref();
        let path = path
            .filter(|path| !path.is_empty())
            .unwrap_or(DEFAULT_MESSAGE);
        let own = path != DEFAULT_MESSAGE;
        review.field(MESSAGE, own, &[index]);
        if own && review.shim.may() {
            part.as_root();
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
        bytes: Option<&SecretBytes>,
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
            .push(mount(&programs().name, PROGRAMS, true));
        container
            .volume_mounts
            .push(mount(&volume.name, ORDERS, true));
        Some(volume)
    }
}

/// Whom a container runs as.
#[derive(Debug)]
pub(super) struct Who<'a> {
    user: Option<i64>,
    /// The image's, where the pod says nothing and it is read.
    of_image: Option<&'a str>,
    group: Option<u32>,
}

impl<'a> Who<'a> {
    /// `part` decides whether the image has to be asked.
    pub(super) fn of(
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
    fn less_than_root(&self, context: Option<&model::SecurityContext>) -> Option<String> {
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
    name.trim_start_matches("CAP_").to_ascii_uppercase()
}

/// Has ACI start the container as root with the capabilities that the shim needs, and the shim give them up.
fn begin_as_root(context: &mut Option<model::SecurityContext>, user: &mut User) {
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

/// What brings the shim into a group.
#[derive(Debug)]
pub(super) struct Bringer {
    pub(super) container: InitContainer,
    pub(super) volumes: Vec<model::Volume>,
}

/// Volumes that the first init container fills: with files of their own modes, or with the pod's address in them.
#[derive(Debug, Default)]
pub(super) struct Fills {
    spec: Spec,
    beside: BTreeMap<String, SecretText>,
    volumes: Vec<String>,
    group: Option<u32>,
}

impl Fills {
    /// Of a pod whose files belong to `group`.
    pub(super) fn new(group: Option<u32>) -> Self {
        Self {
            spec: Spec::new(),
            group,
            ..Self::default()
        }
    }

    /// The group's volume `name` is to be filled.
    pub(super) fn begin(&mut self, name: &str) {
        // A kubelet's directories pass their group on; those below do as they are made.
        let mode = if self.group.is_some() { 0o2755 } else { 0o755 };
        self.spec.directories.push(Directory {
            path: format!("{VOLUMES}/{name}"),
            mode,
            group: self.group,
        });
        self.volumes.push(name.to_owned());
    }

    /// The file `path` in it.
    pub(super) fn file(
        &mut self,
        name: &str,
        path: &str,
        bytes: Option<&SecretBytes>,
        mode: u32,
        at: &dyn std::fmt::Display,
        review: &mut Review<'_>,
    ) -> Result<(), Exceeded> {
        let content = content(bytes, &mut self.beside, at, review)?;
        self.spec.files.push(File {
            path: format!("{VOLUMES}/{name}/{path}"),
            content,
            mode: mode_for(self.group, mode),
            group: self.group,
        });
        Ok(())
    }
}

/// The mode of a file that is asked for with `mode`: a kubelet makes it readable for the pod's group.
pub(super) fn mode_for(group: Option<u32>, mode: u32) -> u32 {
    mode | group.map_or(0, |_| GROUP_READS)
}

/// The first init container, where one of the others has the shim (`with`) or a volume is filled.
pub(super) fn bringer(
    spec: &PodSpec,
    image: &str,
    with: bool,
    fills: Fills,
    review: &mut Review<'_>,
) -> Option<Bringer> {
    if !with && fills.volumes.is_empty() {
        return None;
    }
    let all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    if all.into_iter().any(|it| it.name == SHIM_CONTAINER) {
        let message = format!(
            "{SHIM_CONTAINER} is the name of the operator's shim; give the container another"
        );
        review.refuse("spec.containers".to_owned(), message);
    }
    let mut volumes = vec![programs()];
    let mut mounts = vec![mount(&programs().name, PROGRAMS, false)];
    if !fills.volumes.is_empty() {
        let filled = fills.volumes.iter();
        mounts.extend(filled.map(|name| mount(name, &format!("{VOLUMES}/{name}"), false)));
        let volume = orders("vkc-shim/fill", &fills.spec, fills.beside, review)?;
        mounts.push(mount(&volume.name, ORDERS, true));
        volumes.push(volume);
    }
    let properties = InitContainerProperties {
        image: image.to_owned(),
        command: vec![IN_IMAGE.to_owned(), "install".to_owned()],
        environment_variables: Vec::new(),
        volume_mounts: mounts,
        // It writes as root into empty volumes, and nothing of the pod's runs in it.
        security_context: None,
        instance_view: None,
    };
    Some(Bringer {
        container: InitContainer {
            name: SHIM_CONTAINER.to_owned(),
            properties,
        },
        volumes,
    })
}

/// Puts `bytes` beside the orders, or into them when the pod's address is in them.
fn content(
    bytes: Option<&SecretBytes>,
    beside: &mut BTreeMap<String, SecretText>,
    at: &dyn std::fmt::Display,
    review: &mut Review<'_>,
) -> Result<Content, Exceeded> {
    let bytes = bytes.map(SecretBytes::expose).unwrap_or_default();
    if let Some(said) = std::str::from_utf8(bytes)
        .ok()
        .filter(|said| has_mark(said))
    {
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

/// Whether `container` of a group, or its init container, has the shim: its command says so.
pub fn has_shim(command: &[String]) -> bool {
    command.first().is_some_and(|program| program == PROGRAM)
}

#[cfg(test)]
mod tests;
