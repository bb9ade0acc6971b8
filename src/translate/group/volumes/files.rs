//! The files of secret, configMap, downwardAPI and projected volumes: ACI has one flat kind for them all, `secret`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use super::empty_dir;
use super::mounts::clean;
use crate::azure::model::{self, SecretBytes};
use crate::translate::changing::{is_service_account, shows_metadata};
use crate::translate::group::budget::{Amount, Exceeded, Of, base64, written};
use crate::translate::group::fields::Fields;
use crate::translate::group::resolved::{Found, Reference};
use crate::translate::group::review::Review;
use crate::translate::group::shim::{FileBytes, has_mark};
use crate::translate::identity::short_hash;

const MODES: &str = "spec.volumes[]: file modes other than 0644";
const CHANGES: &str = "spec.volumes[].*.items[].fieldRef: metadata.annotations or metadata.labels";
const BUNDLE: &str = "spec.volumes[].projected.sources[].clusterTrustBundle";
const CERTIFICATE: &str = "spec.volumes[].projected.sources[].podCertificate";
const LIFETIME: &str = "spec.volumes[].projected.sources[].serviceAccountToken.expirationSeconds";
/// What the API server writes where a pod names no mode.
const DEFAULT_MODE: i32 = 0o644;

/// Lifetime of a token for which the API server gives a long one to programs that do not read it again
/// (`--service-account-extend-token-expiration`); the service account's own volume has it.
const EXTENDED: i64 = 3607;

/// Longest path that Linux takes (`PATH_MAX`, with the null byte at its end).
const MAX_PATH: usize = 4095;
/// What a refusal calls them when there is too much.
const FILES: &str = "the files of Secrets and ConfigMaps";
/// Bytes of a file in a request without its name and content: `"":"",`.
const FRAME: usize = 6;

/// Files of one volume. Their base64 is made only where they are mounted.
#[derive(Debug, Default)]
pub(super) struct Files<'a> {
    by_path: BTreeMap<String, Content<'a>>,
    /// Paths of the directories that hold files; empty for the volume itself.
    directories: BTreeSet<String>,
    /// Paths of files that are optional and missing: their directories are there.
    missing: BTreeSet<String>,
    /// The mode of files, and of those that have another.
    mode: i32,
    modes: BTreeMap<String, i32>,
    /// Whether the shim has to write them: ACI gives files no modes, does not know the pod's address, and changes nothing.
    pub(super) by_shim: bool,
    /// Whether something in them changes that programs wait for.
    waited_for: bool,
    /// What is in them, by the versions of the objects and by the pod's own texts: another one is another content.
    version: Vec<String>,
}

/// What is in a file.
#[derive(Debug)]
enum Content<'a> {
    Unknown,
    /// It is of what the pod refers to.
    Of(&'a SecretBytes),
    /// The pod says it itself.
    Own(SecretBytes),
}

/// The files of `volume`, when it is of a kind that has them; without content, or none, while nothing is fetched.
pub(super) fn files<'a>(
    volume: &Volume,
    index: usize,
    fields: &Fields<'_>,
    review: &mut Review<'a>,
) -> Files<'a> {
    let mut files = Files {
        mode: DEFAULT_MODE,
        ..Files::default()
    };
    let path = format!("spec.volumes[{index}]");
    let mode = if let Some(secret) = &volume.secret {
        let path = format!("{path}.secret");
        let reference = Reference::Secret(secret.secret_name.clone().unwrap_or_default());
        files.object(
            &reference,
            secret.items.as_deref(),
            secret.optional,
            &path,
            review,
        );
        secret.default_mode
    } else if let Some(map) = &volume.config_map {
        let path = format!("{path}.configMap");
        let reference = Reference::ConfigMap(map.name.clone());
        files.object(
            &reference,
            map.items.as_deref(),
            map.optional,
            &path,
            review,
        );
        map.default_mode
    } else if let Some(downward) = &volume.downward_api {
        let items = downward.items.as_deref().unwrap_or_default();
        files.downward(items, &format!("{path}.downwardAPI"), fields, review);
        downward.default_mode
    } else if let Some(projected) = &volume.projected {
        for (n, source) in projected.sources.iter().flatten().enumerate() {
            let path = format!("{path}.projected.sources[{n}]");
            files.project(source, &path, fields, review);
        }
        projected.default_mode
    } else {
        None
    };
    files.refuse_ambiguous(&path, review);
    if mode.is_some_and(|mode| mode != DEFAULT_MODE) {
        review.at(MODES, path.clone());
    }
    files.mode = mode.unwrap_or(DEFAULT_MODE);
    let special = files.mode != DEFAULT_MODE
        || files.modes.values().any(|mode| *mode != DEFAULT_MODE)
        || files.by_path.values().any(Content::has_mark);
    files.by_shim = review.shim.may() && (special || files.is_updated(volume, &path, review));
    files
}

impl Content<'_> {
    fn bytes(&self) -> Option<FileBytes<'_>> {
        let (bytes, own) = match self {
            Self::Unknown => return None,
            Self::Of(bytes) => (*bytes, false),
            Self::Own(bytes) => (bytes, true),
        };
        Some(FileBytes { bytes, own })
    }

    /// Whether the pod's address is to be in it. A Secret that looks so does not count.
    fn has_mark(&self) -> bool {
        match self {
            Self::Own(bytes) => std::str::from_utf8(bytes.expose()).is_ok_and(has_mark),
            Self::Unknown | Self::Of(_) => false,
        }
    }
}

impl<'a> Files<'a> {
    /// Whether the shim is there to bring the files of `volume` up to date.
    fn is_updated(&self, volume: &Volume, path: &str, review: &mut Review<'_>) -> bool {
        if self.waited_for {
            return true;
        }
        let is_accounts = |projected| is_service_account(&volume.name, projected);
        let is_account = volume.projected.as_ref().is_some_and(is_accounts);
        let updates = !is_account && !self.version.is_empty() && review.shim.updates();
        if updates {
            review.shim.need(path.to_owned());
        }
        updates
    }

    /// What is in them, as text of which another one is another content.
    pub(super) fn version(&self) -> &[String] {
        &self.version
    }

    /// The file `path`, without content while it is not fetched, and its mode.
    pub(super) fn file(&self, path: &str) -> Option<(Option<FileBytes<'_>>, u32)> {
        let content = self.by_path.get(path)?;
        Some((content.bytes(), self.mode_of(path)))
    }

    /// Whether the file `path` is optional and not there.
    pub(super) fn is_missing(&self, path: &str) -> bool {
        self.missing.contains(path)
    }

    /// All files in the directory `path` and below, by their paths from there.
    pub(super) fn below<'s>(
        &'s self,
        path: &'s str,
    ) -> impl Iterator<Item = (&'s str, Option<FileBytes<'s>>, u32)> + use<'s, 'a> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
        self.by_path.range(from).map_while(move |(file, content)| {
            let below = file.strip_prefix(prefix.as_str())?;
            Some((below, content.bytes(), self.mode_of(file)))
        })
    }

    fn mode_of(&self, path: &str) -> u32 {
        let mode = self.modes.get(path).unwrap_or(&self.mode);
        u32::try_from(*mode).unwrap_or_default() & 0o777
    }

    fn has_mode(&mut self, file: &str, mode: Option<i32>) {
        if let (Some(mode), Some(file)) = (mode, clean(file)) {
            self.modes.insert(file, mode);
        }
    }

    /// The directories that hold files, at `path` and below; `path` itself when it is the whole of an empty volume, or a
    /// directory of which all files are optional and missing. None when `path` is no directory.
    /// No more than `most`.
    pub(super) fn directories<'s>(&'s self, path: &'s str, most: usize) -> Vec<&'s str> {
        let prefix = format!("{path}/");
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let mut found: Vec<&str> = if path.is_empty() {
            let all = self.directories.iter().take(most);
            all.map(String::as_str).collect()
        } else {
            let below = self.directories.range::<str, _>(from);
            let below = below.take_while(|it| it.starts_with(&prefix));
            let own = self.directories.get(path).into_iter();
            own.chain(below).take(most).map(String::as_str).collect()
        };
        let mut missing = self.missing.range::<str, _>(from);
        if found.is_empty()
            && (path.is_empty() || missing.next().is_some_and(|it| it.starts_with(&prefix)))
        {
            found.push(path);
        }
        found
    }

    /// The volume of the files in the directory `path`, and not deeper: ACI has no directories in it. Without any files it
    /// is an empty directory, which ACI has under another name.
    pub(super) fn directory(
        &self,
        path: &str,
        at: &str,
        review: &mut Review<'_>,
    ) -> Result<model::Volume, Exceeded> {
        let prefix = if path.is_empty() {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut out = BTreeMap::new();
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        for (path, content) in self.by_path.range::<str, _>(from) {
            let Some(name) = path.strip_prefix(&prefix) else {
                break;
            };
            if name.contains('/') {
                continue;
            }
            let (bytes, amount): (_, fn(usize) -> Amount) = match content {
                Content::Unknown => (None, Amount::foreign),
                Content::Of(bytes) => (Some(*bytes), Amount::foreign),
                Content::Own(bytes) => (Some(bytes), Amount::own),
            };
            let length = base64(bytes.map_or(0, |bytes| bytes.expose().len()));
            let frame = Amount::own(FRAME + written(name));
            review.spend(Of::Base64, amount(length), FILES, &at)?;
            review.spend(Of::Bytes, frame.and(amount(length)), FILES, &at)?;
            let content = bytes.map(SecretBytes::base64).unwrap_or_default();
            out.insert(name.to_owned(), content);
        }
        if out.is_empty() {
            return Ok(empty_dir());
        }
        Ok(model::Volume {
            secret: Some(out),
            ..model::Volume::default()
        })
    }

    /// One source of a projected volume.
    fn project(
        &mut self,
        source: &VolumeProjection,
        path: &str,
        fields: &Fields<'_>,
        review: &mut Review<'a>,
    ) {
        let VolumeProjection {
            cluster_trust_bundle,
            config_map,
            downward_api,
            pod_certificate,
            secret,
            service_account_token,
        } = source;
        if let Some(secret) = secret {
            let reference = Reference::Secret(secret.name.clone());
            let path = format!("{path}.secret");
            self.object(
                &reference,
                secret.items.as_deref(),
                secret.optional,
                &path,
                review,
            );
        }
        if let Some(map) = config_map {
            let reference = Reference::ConfigMap(map.name.clone());
            let path = format!("{path}.configMap");
            self.object(
                &reference,
                map.items.as_deref(),
                map.optional,
                &path,
                review,
            );
        }
        if let Some(downward) = downward_api {
            let items = downward.items.as_deref().unwrap_or_default();
            self.downward(items, &format!("{path}.downwardAPI"), fields, review);
        }
        if let Some(token) = service_account_token {
            self.token(token, &format!("{path}.serviceAccountToken"), review);
        }
        if cluster_trust_bundle.is_some() {
            review.at(BUNDLE, format!("{path}.clusterTrustBundle"));
        }
        if pod_certificate.is_some() {
            review.at(CERTIFICATE, format!("{path}.podCertificate"));
        }
    }

    /// The entries of a Secret or `ConfigMap`: those of `items`, or all under their own names.
    fn object(
        &mut self,
        reference: &Reference,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        path: &str,
        review: &mut Review<'a>,
    ) {
        let optional = optional == Some(true);
        let found = review.object(reference, optional, path);
        let version = match found {
            Found::Here(object) => &object.version,
            Found::Absent | Found::Unknown => "",
        };
        self.version.push(format!("{reference} {version}"));
        let items = items.unwrap_or_default();
        if let (Found::Here(object), []) = (found, items) {
            for (key, content) in object.data.iter().chain(&object.binary) {
                let one = Amount::foreign(1);
                if self
                    .add(key, Content::Of(content), one, path, review)
                    .is_err()
                {
                    return;
                }
            }
        }
        for (n, item) in items.iter().enumerate() {
            let path = format!("{path}.items[{n}]");
            let KeyToPath {
                key,
                mode,
                path: file,
            } = item;
            if mode.is_some_and(|mode| mode != DEFAULT_MODE) {
                review.at(MODES, path.clone());
            }
            self.has_mode(file, *mode);
            let content = match found {
                Found::Absent => None,
                Found::Unknown => Some(Content::Unknown),
                Found::Here(object) => {
                    let content = review.key(object, reference, key, optional, true, &path);
                    content.map(Content::Of)
                }
            };
            let Some(content) = content else {
                self.missing.extend(clean(file));
                continue;
            };
            let one = Amount::own(1);
            if self.add(file, content, one, &path, review).is_err() {
                return;
            }
        }
    }

    fn token(
        &mut self,
        token: &ServiceAccountTokenProjection,
        path: &str,
        review: &mut Review<'a>,
    ) {
        let ServiceAccountTokenProjection {
            audience,
            expiration_seconds,
            path: file,
        } = token;
        if audience.as_deref().is_some_and(|it| !it.is_empty())
            || *expiration_seconds != Some(EXTENDED)
        {
            self.waited_for |= review.updated(LIFETIME, format!("{path}.expirationSeconds"));
        }
        let reference = Reference::ServiceAccountToken {
            audience: audience.clone().filter(|audience| !audience.is_empty()),
            expiration_seconds: *expiration_seconds,
        };
        let content = match review.entry(&reference, Reference::TOKEN, false, false, path) {
            Found::Absent => return,
            Found::Unknown => Content::Unknown,
            Found::Here(content) => Content::Of(content),
        };
        // What is too much, the pod is refused for; nothing comes behind it here.
        let _ = self.add(file, content, Amount::own(1), path, review);
    }

    fn downward(
        &mut self,
        items: &[DownwardAPIVolumeFile],
        path: &str,
        fields: &Fields<'_>,
        review: &mut Review<'_>,
    ) {
        if shows_metadata(items) {
            self.waited_for |= review.updated(CHANGES, format!("{path}.items"));
        }
        for (n, item) in items.iter().enumerate() {
            let path = format!("{path}.items[{n}]");
            let DownwardAPIVolumeFile {
                field_ref,
                mode,
                path: file,
                resource_field_ref,
            } = item;
            if mode.is_some_and(|mode| mode != DEFAULT_MODE) {
                review.at(MODES, path.clone());
            }
            self.has_mode(file, *mode);
            let text = match (field_ref, resource_field_ref) {
                (Some(field), _) => fields.field(field, &path, review),
                (None, Some(resource)) => fields.resource(resource, None, &path, review),
                (None, None) => {
                    review.refuse(path.clone(), "it names no field".to_owned());
                    None
                }
            };
            if let Some(text) = text {
                self.version.push(short_hash(&[file.clone(), text.clone()]));
                let content = Content::Own(SecretBytes::new(text.into_bytes()));
                let one = Amount::own(1);
                if self.add(file, content, one, &path, review).is_err() {
                    return;
                }
            }
        }
    }

    /// Refuses what is a file and a directory.
    fn refuse_ambiguous(&self, at: &str, review: &mut Review<'_>) {
        if self.directories.iter().all(String::is_empty) {
            return;
        }
        for file in self.by_path.keys() {
            let prefix = format!("{file}/");
            let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
            let below = self.by_path.range::<str, _>(from).next();
            if below.is_some_and(|(path, _)| path.starts_with(&prefix)) {
                let message = format!(
                    "{file:?} is both a file and a directory; give one of them another path"
                );
                review.refuse(at.to_owned(), message);
            }
        }
    }

    /// Adds a file, which counts as `one`.
    fn add(
        &mut self,
        file: &str,
        content: Content<'a>,
        one: Amount,
        path: &str,
        review: &mut Review<'_>,
    ) -> Result<(), Exceeded> {
        review.spend(Of::Files, one, "what the volumes hold", &path)?;
        let Some(file) = clean(file).filter(|file| !file.is_empty()) else {
            let message =
                format!("{file:?} is no place in the volume; it must be relative and without ..");
            review.refuse(path.to_owned(), message);
            return Ok(());
        };
        if file.len() > MAX_PATH {
            let message = format!("a path has at most {MAX_PATH} bytes; shorten it");
            review.refuse(path.to_owned(), message);
            self.missing.insert(file);
            return Ok(());
        }
        let directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
        if !self.directories.contains(directory) {
            self.directories.insert(directory.to_owned());
        }
        if self.by_path.insert(file.clone(), content).is_some() {
            let message =
                format!("the volume has two files {file:?}; give one of them another path");
            review.refuse(path.to_owned(), message);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
