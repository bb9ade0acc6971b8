//! The files of secret, configMap, downwardAPI and projected volumes: ACI has one flat kind for them all, `secret`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use super::empty_dir;
use crate::azure::model::{self, SecretBytes, SecretText};
use crate::translate::fields::Fields;
use crate::translate::resolved::{Found, Reference};
use crate::translate::review::Review;

const DIRECTORY: &str = "spec.volumes[]: a file in a directory (a path with a slash)";
const MODES: &str = "spec.volumes[]: file modes other than 0644";
const BUNDLE: &str = "spec.volumes[].projected.sources[].clusterTrustBundle";
const CERTIFICATE: &str = "spec.volumes[].projected.sources[].podCertificate";
const LIFETIME: &str = "spec.volumes[].projected.sources[].serviceAccountToken.expirationSeconds";
/// What the API server writes where a pod names no mode.
const DEFAULT_MODE: i32 = 0o644;

/// Lifetime of a token for which the API server gives a long one to programs that do not read it again
/// (`--service-account-extend-token-expiration`); the service account's own volume has it.
const EXTENDED: i64 = 3607;

/// Files of one volume.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// By path: content in base64, and the field of the pod that names the file.
    files: BTreeMap<String, (SecretText, String)>,
    /// The directories of the volume, also of files that are optional and missing.
    directories: BTreeSet<String>,
}

/// The files of `volume`, when it is of a kind that has them; without content, or none, while nothing is fetched.
pub(super) fn files(
    volume: &Volume,
    index: usize,
    fields: &Fields<'_>,
    review: &mut Review<'_>,
) -> Files {
    let mut files = Files::default();
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
    if mode.is_some_and(|mode| mode != DEFAULT_MODE) {
        review.at(MODES, path);
    }
    files
}

impl Files {
    /// The whole volume. ACI has no directories in it.
    pub(super) fn all(&self, review: &mut Review<'_>) -> model::Volume {
        self.volume("", review)
    }

    /// The volume of what is in the directory `path`; `None` when there is no such directory.
    pub(super) fn below(&self, path: &str, review: &mut Review<'_>) -> Option<model::Volume> {
        let directory = self.directories.contains(path);
        directory.then(|| self.volume(&format!("{path}/"), review))
    }

    /// A volume without any files is an empty directory, which ACI has under another name.
    fn volume(&self, prefix: &str, review: &mut Review<'_>) -> model::Volume {
        let mut files = BTreeMap::new();
        for (path, (content, at)) in &self.files {
            let Some(name) = path.strip_prefix(prefix) else {
                continue;
            };
            if name.contains('/') {
                review.at(DIRECTORY, at.clone());
            }
            files.insert(name.to_owned(), content.clone());
        }
        if files.is_empty() {
            return empty_dir();
        }
        model::Volume {
            secret: Some(files),
            ..model::Volume::default()
        }
    }

    /// One source of a projected volume.
    fn project(
        &mut self,
        source: &VolumeProjection,
        path: &str,
        fields: &Fields<'_>,
        review: &mut Review<'_>,
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
        review: &mut Review<'_>,
    ) {
        let optional = optional == Some(true);
        let found = review.object(reference, optional, path);
        let items = items.unwrap_or_default();
        if let (Found::Here(object), []) = (found, items) {
            for (key, content) in object.data.iter().chain(&object.binary) {
                self.add(key, content.base64(), path, review);
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
            self.directories(file);
            let content = match found {
                Found::Absent => continue,
                Found::Unknown => SecretText::default(),
                Found::Here(object) => {
                    match review.key(object, reference, key, optional, true, &path) {
                        Some(content) => content.base64(),
                        None => continue,
                    }
                }
            };
            self.add(file, content, &path, review);
        }
    }

    fn token(
        &mut self,
        token: &ServiceAccountTokenProjection,
        path: &str,
        review: &mut Review<'_>,
    ) {
        let ServiceAccountTokenProjection {
            audience,
            expiration_seconds,
            path: file,
        } = token;
        if audience.as_deref().is_some_and(|it| !it.is_empty())
            || *expiration_seconds != Some(EXTENDED)
        {
            review.at(LIFETIME, format!("{path}.expirationSeconds"));
        }
        let reference = Reference::ServiceAccountToken {
            audience: audience.clone().filter(|audience| !audience.is_empty()),
            expiration_seconds: *expiration_seconds,
        };
        let content = match review.entry(&reference, Reference::TOKEN, false, false, path) {
            Found::Absent => return,
            Found::Unknown => SecretText::default(),
            Found::Here(content) => content.base64(),
        };
        self.add(file, content, path, review);
    }

    fn downward(
        &mut self,
        items: &[DownwardAPIVolumeFile],
        path: &str,
        fields: &Fields<'_>,
        review: &mut Review<'_>,
    ) {
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
            let text = match (field_ref, resource_field_ref) {
                (Some(field), _) => fields.field(field, &path, review),
                (None, Some(resource)) => fields.resource(resource, None, &path, review),
                (None, None) => {
                    review.refuse(path.clone(), "it names no field".to_owned());
                    None
                }
            };
            if let Some(text) = text {
                let content = SecretBytes::new(text.into_bytes()).base64();
                self.add(file, content, &path, review);
            }
        }
    }

    fn add(&mut self, file: &str, content: SecretText, path: &str, review: &mut Review<'_>) {
        self.directories(file);
        let entry = (content, path.to_owned());
        if self.files.insert(file.to_owned(), entry).is_some() {
            let message =
                format!("the volume has two files {file:?}; give one of them another path");
            review.refuse(path.to_owned(), message);
        }
    }

    /// Notes the directories that the path `file` leads through.
    fn directories(&mut self, file: &str) {
        let ends = file.match_indices('/').map(|(end, _)| end);
        let directories = ends.filter_map(|end| file.get(..end));
        self.directories.extend(directories.map(str::to_owned));
    }
}

#[cfg(test)]
mod tests;
