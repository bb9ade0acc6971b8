//! Shares of Azure Files: in a pod (`azureFile`, CSI) and in a `PersistentVolume`.
//!
//! Meaning of a CSI volume's attributes as in the documentation of `file.csi.azure.com` (driver-parameters.md). ACI mounts
//! a whole share by SMB with the key of its storage account, which comes from a Secret.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    AzureFilePersistentVolumeSource, AzureFileVolumeSource, CSIPersistentVolumeSource,
    CSIVolumeSource,
};

use crate::azure::model::{self, AzureFile, SecretText};
use crate::translate::group::budget::{Amount, Of};
use crate::translate::group::resolved::{Found, Object, Reference};
use crate::translate::group::review::{NOT_FOR_ACI, Review};

/// Name of the CSI driver of Azure Files.
pub(super) const DRIVER: &str = "file.csi.azure.com";
const OPTIONS: &str = "spec.volumes[].csi.volumeAttributes: mountOptions";
/// Keys of a Secret, in the order in which they are looked for.
const ACCOUNT_NAME: [&str; 2] = ["azurestorageaccountname", "accountname"];
const ACCOUNT_KEY: [&str; 2] = ["azurestorageaccountkey", "accountkey"];

/// Names that the attribute `shareName` may hold placeholders of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    /// Namespace of the claim.
    pub(super) namespace: &'a str,
    /// Name of the claim.
    pub(super) claim: &'a str,
    /// Name of the volume.
    pub(super) volume: &'a str,
}

/// What is to be mounted.
struct Share {
    name: String,
    /// Account where the Secret names none.
    account: Option<String>,
    secret: Reference,
    read_only: bool,
    /// Address that the volume's author wants to be asked.
    server: Option<String>,
}

/// `spec.volumes[].azureFile`.
pub(super) fn in_tree(
    source: &AzureFileVolumeSource,
    path: &str,
    review: &mut Review<'_>,
) -> Option<model::Volume> {
    let AzureFileVolumeSource {
        read_only,
        secret_name,
        share_name,
    } = source;
    let share = Share {
        name: share_name.clone(),
        account: None,
        secret: Reference::Secret(secret_name.clone()),
        read_only: *read_only == Some(true),
        server: None,
    };
    mount(share, path, review)
}

/// Whether `spec.volumes[].csi` is of the one driver that ACI does the work of; else it is refused.
pub(super) fn is_for_us(source: &CSIVolumeSource, path: &str, review: &mut Review<'_>) -> bool {
    let ours = source.driver == DRIVER;
    if !ours {
        let message = format!(
            "ACI runs no CSI drivers, so there is no {}; of their volumes it has those of {DRIVER}",
            source.driver
        );
        review.refuse(format!("{path}.csi.driver"), message);
    }
    ours
}

/// `spec.volumes[].csi` of a pod in `namespace`.
pub(super) fn inline(
    source: &CSIVolumeSource,
    namespace: &str,
    path: &str,
    review: &mut Review<'_>,
) -> Option<model::Volume> {
    let CSIVolumeSource {
        driver: _,
        fs_type: _,
        node_publish_secret_ref,
        read_only,
        volume_attributes,
    } = source;
    let attributes = Attributes(volume_attributes.as_ref());
    let at = format!("{path}.volumeAttributes");
    if let Some(why) = attributes.unfit() {
        review.refuse(at, why);
        return None;
    }
    if attributes
        .get("secretNamespace")
        .is_some_and(|it| it != namespace)
    {
        let message = "a pod's own volume can use Secrets of the pod's namespace only".to_owned();
        review.refuse(at, message);
        return None;
    }
    let known = node_publish_secret_ref.as_ref().map(|it| it.name.as_str());
    let known = known.filter(|name| !name.is_empty());
    let Some(secret) = attributes.get("secretName").or(known) else {
        let message = "it names no Secret with the storage account's key; set nodePublishSecretRef and secretName";
        review.refuse(at, message.to_owned());
        return None;
    };
    let Some(name) = attributes.get("shareName") else {
        review.refuse(at, "it names no share; set shareName".to_owned());
        return None;
    };
    let options = attributes.get("mountOptions").unwrap_or_default();
    if !options.is_empty() {
        review.at(OPTIONS, at);
    }
    // The Node authorizer knows the Secret by the reference, not by the attribute.
    let secret = if known == Some(secret) {
        Reference::Secret(secret.to_owned())
    } else {
        Reference::SecretIn {
            namespace: namespace.to_owned(),
            name: secret.to_owned(),
        }
    };
    let share = Share {
        name: name.to_owned(),
        account: attributes.get("storageAccount").map(str::to_owned),
        secret,
        read_only: *read_only == Some(true) || is_read_only(options),
        server: attributes.get("server").map(str::to_owned),
    };
    mount(share, path, review)
}

/// `azureFile` of a `PersistentVolume` whose claim is in `namespace`.
pub(super) fn of_in_tree_volume(
    source: &AzureFilePersistentVolumeSource,
    namespace: &str,
    read_only: bool,
    path: &str,
    review: &mut Review<'_>,
) -> Option<model::Volume> {
    let AzureFilePersistentVolumeSource {
        read_only: own,
        secret_name,
        secret_namespace,
        share_name,
    } = source;
    let own_namespace = secret_namespace.as_deref().filter(|it| !it.is_empty());
    let share = Share {
        name: share_name.clone(),
        account: None,
        secret: Reference::SecretIn {
            namespace: own_namespace.unwrap_or(namespace).to_owned(),
            name: secret_name.clone(),
        },
        read_only: read_only || *own == Some(true),
        server: None,
    };
    mount(share, path, review)
}

/// `csi` of a `PersistentVolume`.
///
/// A handle of the driver's own making is `resource group#account#share#disk#UUID#namespace of the Secret`; attributes
/// count for more than its parts.
pub(super) fn of_csi_volume(
    source: &CSIPersistentVolumeSource,
    names: Names<'_>,
    read_only: bool,
    path: &str,
    review: &mut Review<'_>,
) -> Option<model::Volume> {
    let attributes = Attributes(source.volume_attributes.as_ref());
    if let Some(why) = attributes.unfit() {
        let message = format!("PersistentVolume {}: {why}", names.volume);
        review.refuse_until_present(NOT_FOR_ACI, path.to_owned(), message);
        return None;
    }
    let part = |n: usize| {
        let handle = &source.volume_handle;
        let part = handle.split('#').nth(n).filter(|_| handle.contains('#'));
        part.filter(|part| !part.is_empty())
    };
    let account = attributes.get("storageAccount").or(part(1));
    let Some(name) = attributes.get("shareName").or(part(2)) else {
        let message = format!(
            "PersistentVolume {} names no share; set shareName in its volumeAttributes",
            names.volume
        );
        review.refuse_until_present(NOT_FOR_ACI, path.to_owned(), message);
        return None;
    };
    let Some(secret) = secret(source, &attributes, account, part(5)) else {
        let message = format!(
            "PersistentVolume {} names no Secret with the storage account's key; set its nodeStageSecretRef",
            names.volume
        );
        review.refuse_until_present(NOT_FOR_ACI, path.to_owned(), message);
        return None;
    };
    let share = Share {
        name: name
            .replace("${pvc.metadata.name}", names.claim)
            .replace("${pvc.metadata.namespace}", names.namespace)
            .replace("${pv.metadata.name}", names.volume),
        account: account.map(str::to_owned),
        secret,
        read_only: read_only || source.read_only == Some(true),
        server: attributes.get("server").map(str::to_owned),
    };
    mount(share, path, review)
}

/// The Secret of a `PersistentVolume`: what the Node authorizer knows counts first, then what the driver would read.
fn secret(
    source: &CSIPersistentVolumeSource,
    attributes: &Attributes<'_>,
    account: Option<&str>,
    namespace: Option<&str>,
) -> Option<Reference> {
    let named = [
        &source.node_stage_secret_ref,
        &source.node_publish_secret_ref,
    ];
    for reference in named.into_iter().flatten() {
        if let (Some(name), Some(namespace)) = (&reference.name, &reference.namespace) {
            return Some(Reference::SecretIn {
                namespace: namespace.clone(),
                name: name.clone(),
            });
        }
    }
    let namespace = attributes
        .get("secretNamespace")
        .or(namespace)
        .or(attributes.get("csi.storage.k8s.io/pvc/namespace"))
        .unwrap_or("default");
    let by_account = account.map(|account| format!("azure-storage-account-{account}-secret"));
    let name = attributes.get("secretName").map(str::to_owned);
    Some(Reference::SecretIn {
        namespace: namespace.to_owned(),
        name: name.or(by_account)?,
    })
}

/// Whether one of the comma-separated mount `options` is `ro`.
pub(super) fn is_read_only(options: &str) -> bool {
    options.split(',').any(|option| option.trim() == "ro")
}

/// A share of which nothing is known yet.
pub(super) fn unknown() -> model::Volume {
    model::Volume {
        azure_file: Some(AzureFile::default()),
        ..model::Volume::default()
    }
}

/// ARM's form of `share`, with the account and its key from the Secret.
fn mount(share: Share, path: &str, review: &mut Review<'_>) -> Option<model::Volume> {
    if share.name.is_empty() || share.name.contains('/') {
        let message = "it needs the name of a share, without a folder in it".to_owned();
        review.refuse(path.to_owned(), message);
        return None;
    }
    let secret = match review.object(&share.secret, false, path) {
        Found::Unknown => return Some(unknown()),
        Found::Absent => return None,
        Found::Here(secret) => secret,
    };
    // Any number of volumes may name the same Secret: its keys are gone through and the account's is copied for each.
    let mut pay = |bytes: usize| {
        let what = "the storage account's key in each volume";
        let copied = Amount::foreign(bytes);
        review.spend(Of::Bytes, copied, what, &path).ok()
    };
    pay(secret.data.len())?;
    let [account, key] = [ACCOUNT_NAME, ACCOUNT_KEY].map(|keys| value(secret, keys));
    pay([account, key].into_iter().flatten().map(str::len).sum())?;
    let account = account.map(str::to_owned).or(share.account);
    let key = key.map(|key| SecretText::new(key.to_owned()));
    let missing = [
        (account.is_none(), ACCOUNT_NAME),
        (key.is_none(), ACCOUNT_KEY),
    ];
    for (_, [name, _]) in missing.iter().filter(|(missing, _)| *missing) {
        let message = format!(
            "{} has no key {name}, or no text under it; add it and the pod starts",
            share.secret
        );
        review.refuse_mount(path, &message);
    }
    let (account, key) = (account?, key?);
    if let Some(server) = share.server.filter(|server| !is_of(server, &account)) {
        let message = format!(
            "the server {server} is not the one of storage account {account}; ACI mounts <account>.file.<suffix of the cloud> only"
        );
        review.refuse_until_present(NOT_FOR_ACI, path.to_owned(), message);
        return None;
    }
    Some(model::Volume {
        azure_file: Some(AzureFile {
            share_name: share.name,
            storage_account_name: account,
            storage_account_key: Some(key),
            read_only: share.read_only.then_some(true),
        }),
        ..model::Volume::default()
    })
}

/// The first of `keys` that `secret` has a text under, without white space around it; the case of keys does not count.
fn value<'a>(secret: &'a Object, keys: [&str; 2]) -> Option<&'a str> {
    keys.iter().find_map(|key| {
        let mut entries = secret.data.iter();
        let (_, bytes) = entries.find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        let text = std::str::from_utf8(bytes.expose()).ok()?.trim();
        (!text.is_empty()).then_some(text)
    })
}

/// Whether `server` is the address of `account` itself, maybe over a private link: then it is what ACI mounts.
fn is_of(server: &str, account: &str) -> bool {
    let rest = server
        .split_once('.')
        .filter(|(name, _)| name.eq_ignore_ascii_case(account));
    rest.is_some_and(|(_, rest)| rest.starts_with("file.") || rest.starts_with("privatelink.file."))
}

/// Attributes of a CSI volume; their names' case does not count, and an empty value is none.
struct Attributes<'a>(Option<&'a BTreeMap<String, String>>);

impl<'a> Attributes<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let mut all = self.0.into_iter().flatten();
        let (_, value) = all.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        let value = value.trim();
        (!value.is_empty()).then_some(value)
    }

    /// Why ACI cannot do what they ask for.
    fn unfit(&self) -> Option<String> {
        let is = |name: &str, ok: &[&str]| {
            let value = self.get(name);
            value.filter(|value| !ok.iter().any(|ok| ok.eq_ignore_ascii_case(value)))
        };
        if let Some(protocol) = is("protocol", &["smb"]) {
            return Some(format!(
                "the protocol is {protocol}; ACI mounts shares by SMB only"
            ));
        }
        if let Some(kind) = is("fsType", &["cifs", "smb"]) {
            return Some(format!(
                "the fsType is {kind}; ACI mounts shares by SMB only"
            ));
        }
        if self.get("diskName").is_some() {
            return Some("it is a disk in a share (diskName); ACI mounts shares only".to_owned());
        }
        if self.get("folderName").is_some() {
            let why = "it is a folder of a share (folderName); ACI mounts whole shares only, so use a share of its own";
            return Some(why.to_owned());
        }
        if is("mountWithManagedIdentity", &["false"]).is_some() || self.get("clientID").is_some() {
            let why = "it is mounted with an identity; here ACI mounts shares with the account's key only, so name a Secret";
            return Some(why.to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests;
