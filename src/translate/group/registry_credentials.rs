//! Pull secrets: from what a Secret holds to the credentials of the registries that the pod's images use.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::PodSpec;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::budget::{Amount, Of};
use super::containers::MAX_CONTAINERS;
use super::resolved::{Found, Object, Reference};
use super::review::Review;
use crate::azure::model::{RegistryCredential, SecretText};

/// Reasons of the Events; the first as a kubelet has it.
const NOT_FOUND: &str = "FailedToRetrieveImagePullSecret";
const UNUSABLE: &str = "ImagePullSecretUnusable";
const SHARED: &str = "ImagePullSecretShared";
/// Docker's own registry, as ACI wants it.
const DOCKER: &str = "index.docker.io";
/// Azure Container Registry in the public cloud, in China and for the US government.
const AZURE: [&str; 3] = [".azurecr.io", ".azurecr.cn", ".azurecr.us"];

/// `.dockerconfigjson`.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: Auths,
}

type Auths = BTreeMap<String, Auth>;

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<SecretText>,
    #[serde(default, rename = "auth")]
    encoded: Option<SecretText>,
    #[serde(default, rename = "identitytoken")]
    identity_token: Option<SecretText>,
}

/// What a pull secret has for the images whose address begins with a host and a path.
struct Entry {
    host: String,
    path: String,
    /// Unless there is none that ACI takes.
    login: Result<(String, SecretText), &'static str>,
    /// Where the Secret stands in the pod, and what it is called.
    place: (String, Reference),
}

/// The credentials of the registries that the images of `spec` come from, one for each: that is what ACI takes. A Secret
/// that is missing or of no use is told, and the pod goes on without it, as with a kubelet.
///
/// `shim`: the image of the shim and its login, when the group has it. For an Azure Container Registry that no Secret is for, the group
/// gets the identity `identity`, if there is one.
pub(super) fn credentials(
    spec: &PodSpec,
    shim: Option<(&str, Option<&(String, SecretText)>)>,
    identity: Option<&str>,
    review: &mut Review<'_>,
) -> Vec<RegistryCredential> {
    let entries = entries(spec, review);
    let mut used: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let images = spec
        .containers
        .iter()
        .take(MAX_CONTAINERS)
        .chain(
            spec.init_containers
                .iter()
                .flatten()
                .take(2 * MAX_CONTAINERS),
        )
        .filter_map(|container| container.image.as_deref())
        .chain(shim.map(|(image, _)| image));
    for image in images {
        used.entry(registry_server(image)).or_default().push(image);
    }
    let mut out = Vec::new();
    for (server, images) in used {
        // Only where the pod has nothing to pull from there: it must not pull with the operator's login.
        let of_shim = shim.filter(|(image, _)| images == [*image]);
        let of_shim = of_shim.and_then(|(_, login)| login.cloned());
        let login = login_for(&server, &images, &entries, review).or(of_shim);
        let credential = match login {
            Some((username, password)) => RegistryCredential {
                server,
                username: Some(username),
                password: Some(password),
                identity: None,
            },
            None if is_azure(&server) && identity.is_some() => RegistryCredential {
                server,
                identity: identity.map(str::to_owned),
                ..RegistryCredential::default()
            },
            None => continue,
        };
        out.push(credential);
    }
    out
}

/// What the pull secrets of `spec` hold, the most special first, as a kubelet tries them.
fn entries(spec: &PodSpec, review: &mut Review<'_>) -> Vec<Entry> {
    let mut out = Vec::new();
    let mut seen = BTreeSet::new();
    for (n, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        // Once more it would say what it has said, behind that.
        if !seen.insert(secret.name.as_str()) {
            continue;
        }
        let path = format!("spec.imagePullSecrets[{n}]");
        let reference = Reference::Secret(secret.name.clone());
        let object = match review.look(&reference) {
            Found::Here(object) => object,
            Found::Unknown => continue,
            Found::Absent => {
                let message = format!("{reference} does not exist; images are pulled without it");
                review.note(NOT_FOUND, &path, message);
                continue;
            }
        };
        let Some(auths) = auths(object) else {
            let message = format!(
                "{reference} holds neither a readable .dockerconfigjson nor a .dockercfg; images are pulled without it"
            );
            review.note(UNUSABLE, &path, message);
            continue;
        };
        out.extend(auths.iter().map(|(server, auth)| Entry {
            host: host(server),
            path: scope(server),
            login: login(auth).ok_or(if auth.identity_token.is_some() {
                "an identity token, which ACI does not take"
            } else {
                "no user name and password"
            }),
            place: (path.clone(), reference.clone()),
        }));
    }
    // Stable: of equals the first Secret's comes first.
    out.sort_by_key(|entry| (Reverse(entry.path.len()), entry.host.contains('*')));
    out
}

/// The user name and password for the `images` of `server`. ACI takes one pair for all of them; an image that another one
/// would be for is told.
fn login_for(
    server: &str,
    images: &[&str],
    entries: &[Entry],
    review: &mut Review<'_>,
) -> Option<(String, SecretText)> {
    let fits = |entry: &Entry, image: &str| covers(&entry.path, image);
    let mut chosen: Option<(&Entry, &(String, SecretText))> = None;
    for entry in entries.iter().filter(|entry| matches(&entry.host, server)) {
        if !images.iter().any(|image| fits(entry, image)) {
            continue;
        }
        match (&entry.login, chosen) {
            (Ok(login), None) => chosen = Some((entry, login)),
            (Err(what), None) => {
                let (path, reference) = &entry.place;
                let message =
                    format!("{reference} has {what} for {server}; images are pulled without it");
                review.note(UNUSABLE, path, message);
            }
            (_, Some(_)) => {}
        }
    }
    let (entry, login) = chosen?;
    if let Some(image) = images.iter().find(|image| !fits(entry, image)) {
        let (path, reference) = &entry.place;
        let message = format!(
            "ACI takes one user for each registry: {image} is pulled as the user of {reference} for {server}{}",
            entry.path
        );
        review.note(SHARED, path, message);
    }
    let (user, password) = login;
    let copied = Amount::foreign(user.len() + password.expose().len());
    let (path, _) = &entry.place;
    let what = "the credentials of the registries";
    review.spend(Of::Bytes, copied, what, path).ok()?;
    Some(login.clone())
}

/// Whether `server` is an Azure Container Registry: a token of the identity is sent there, so the list is short.
fn is_azure(server: &str) -> bool {
    AZURE.iter().any(|suffix| server.ends_with(suffix))
}

fn auths(object: &Object) -> Option<Auths> {
    if let Some(config) = object.data.get(".dockerconfigjson") {
        let config: DockerConfig = serde_json::from_slice(config.expose()).ok()?;
        return Some(config.auths);
    }
    serde_json::from_slice(object.data.get(".dockercfg")?.expose()).ok()
}

/// User name and password for `image` in what a pull secret holds.
pub fn login_for_image(object: &Object, image: &str) -> Option<(String, SecretText)> {
    let (auths, server) = (auths(object)?, registry_server(image));
    let all = auths.iter();
    let fitting =
        all.filter(|(known, _)| matches(&host(known), &server) && covers(&scope(known), image));
    let longest = fitting.max_by_key(|(known, _)| scope(known).len());
    login(longest?.1)
}

/// User name and password; `auth` is `user:password` in base64, and only the first colon divides.
fn login(auth: &Auth) -> Option<(String, SecretText)> {
    let full = |text: &&SecretText| !text.expose().is_empty();
    if let Some(encoded) = auth.encoded.as_ref().filter(full) {
        let bytes = Zeroizing::new(STANDARD.decode(encoded.expose().trim()).ok()?);
        let text = std::str::from_utf8(&bytes).ok()?.trim_end_matches('\0');
        let (username, password) = text.split_once(':')?;
        return (!username.is_empty() && !password.is_empty())
            .then(|| (username.to_owned(), SecretText::new(password.to_owned())));
    }
    let username = auth.username.clone().filter(|name| !name.is_empty())?;
    let password = auth.password.as_ref().filter(full)?;
    Some((username, password.clone()))
}

/// The host of a server as pull secrets write it: without scheme and path, and Docker's own under one name.
fn host(server: &str) -> String {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let host = server.split_once('/').map_or(server, |(host, _)| host);
    match host.to_ascii_lowercase().as_str() {
        "docker.io" | "registry-1.docker.io" => DOCKER.to_owned(),
        other => other.to_owned(),
    }
}

/// The path of a server as pull secrets write it; the version of the API, which `docker login` writes, counts for nothing.
fn scope(server: &str) -> String {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let path = server.split_once('/').map_or("", |(_, path)| path);
    let path = ["v1", "v2"]
        .iter()
        .find_map(|version| path.strip_prefix(version))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .unwrap_or(path);
    match path.trim_start_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

/// Whether what stands for `scope` stands for `image`, too.
fn covers(scope: &str, image: &str) -> bool {
    let path = match image.split_once('/') {
        Some((first, path)) if is_host(first) => path,
        _ => image,
    };
    scope
        .strip_prefix('/')
        .is_none_or(|scope| path.starts_with(scope))
}

/// The registry of an image as ACI names it: what stands before the first slash when it can be a host, else Docker's own.
pub fn registry_server(image: &str) -> String {
    match image.split_once('/') {
        Some((first, _)) if is_host(first) => host(first),
        _ => DOCKER.to_owned(),
    }
}

/// Whether what stands before the first slash of an image can be a host.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

/// Whether `host`, which may have `*` for a label or the beginning of one, is that of `registry`.
fn matches(host: &str, registry: &str) -> bool {
    let (ours, theirs) = (host.split('.'), registry.split('.'));
    ours.clone().count() == theirs.clone().count()
        && ours
            .zip(theirs)
            .all(|(pattern, label)| match pattern.split_once('*') {
                Some((before, after)) => {
                    label.len() >= before.len() + after.len()
                        && label.starts_with(before)
                        && label.ends_with(after)
                }
                None => pattern == label,
            })
}

#[cfg(test)]
mod tests;
