//! Certificates and keys of one control plane, made at its start and written to its state directory.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chrono::{Datelike as _, Days, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// First address of the service range of [`super::flags`]: the API server's own service address.
pub const API_SERVICE_IP: [u8; 4] = [10, 96, 0, 1];

/// A certificate and its key as PEM files.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// Everything that the components need. Paths are absolute.
#[derive(Debug)]
pub(super) struct Pki {
    dir: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
    /// The cluster's CA: serving and client certificates, and signer of CSRs.
    pub(super) ca_pair: Pair,
    /// Its own CA for the aggregation layer's request headers.
    pub(super) front_proxy_ca: PathBuf,
    pub(super) front_proxy_client: Pair,
    /// One serving certificate for all components: all of them listen on loopback.
    pub(super) serving: Pair,
    pub(super) service_account_key: PathBuf,
    pub(super) service_account_pub: PathBuf,
    pub(super) kubelet_client: Pair,
    pub(super) admin: Pair,
    pub(super) controller_manager: Pair,
    pub(super) scheduler: Pair,
}

impl Pki {
    pub(super) fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let ca = authority("kubernetes")?;
        let ca_pair = write_pair(dir, "ca", &ca.pem(), ca.key())?;
        let front = authority("front-proxy-ca")?;
        let front_proxy_ca = dir.join("front-proxy-ca.crt");
        fs::write(&front_proxy_ca, front.pem())?;
        let front_proxy_client = client(
            dir,
            "front-proxy-client",
            &front,
            "front-proxy-client",
            None,
        )?;

        let service_account = KeyPair::generate()?;
        let service_account_key = dir.join("service-account.key");
        write_secret(&service_account_key, &service_account.serialize_pem())?;
        let service_account_pub = dir.join("service-account.pub");
        fs::write(&service_account_pub, service_account.public_key_pem())?;

        Ok(Self {
            serving: serving(dir, &ca)?,
            // The names are kubeadm's: RBAC's bootstrap roles know them.
            kubelet_client: client(
                dir,
                "kubelet-client",
                &ca,
                "kube-apiserver-kubelet-client",
                Some("system:masters"),
            )?,
            admin: client(
                dir,
                "admin",
                &ca,
                "kubernetes-admin",
                Some("system:masters"),
            )?,
            controller_manager: client(
                dir,
                "controller-manager",
                &ca,
                "system:kube-controller-manager",
                None,
            )?,
            scheduler: client(dir, "scheduler", &ca, "system:kube-scheduler", None)?,
            dir: dir.to_owned(),
            ca,
            ca_pair,
            front_proxy_ca,
            front_proxy_client,
            service_account_key,
            service_account_pub,
        })
    }

    pub(super) fn ca_pem(&self) -> String {
        self.ca.pem()
    }

    /// A client certificate for any identity, under `<file>.crt` and `.key`.
    pub(super) fn client(&self, file: &str, user: &str, group: Option<&str>) -> Result<Pair> {
        client(&self.dir, file, &self.ca, user, group)
    }
}

fn params(common_name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    let yesterday = Utc::now()
        .date_naive()
        .checked_sub_days(Days::new(1))
        .unwrap_or_default();
    let (month, day) = (
        u8::try_from(yesterday.month())?,
        u8::try_from(yesterday.day())?,
    );
    params.not_before = rcgen::date_time_ymd(yesterday.year(), month, day);
    params.not_after = rcgen::date_time_ymd(yesterday.year() + 10, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn authority(common_name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = params(common_name)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn client(
    dir: &Path,
    file: &str,
    issuer: &CertifiedIssuer<'static, KeyPair>,
    user: &str,
    group: Option<&str>,
) -> Result<Pair> {
    // The API server reads the user from the common name and the group from the organisation.
    let mut params = params(user)?;
    if let Some(group) = group {
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, issuer)?;
    write_pair(dir, file, &cert.pem(), &key)
}

fn serving(dir: &Path, issuer: &CertifiedIssuer<'static, KeyPair>) -> Result<Pair> {
    let mut params = params("kube-apiserver")?;
    for name in [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ] {
        params
            .subject_alt_names
            .push(SanType::DnsName(name.try_into()?));
    }
    for ip in [IpAddr::from([127, 0, 0, 1]), IpAddr::from(API_SERVICE_IP)] {
        params.subject_alt_names.push(SanType::IpAddress(ip));
    }
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, issuer)?;
    write_pair(dir, "serving", &cert.pem(), &key)
}

fn write_pair(dir: &Path, file: &str, cert: &str, key: &KeyPair) -> Result<Pair> {
    let pair = Pair {
        cert: dir.join(format!("{file}.crt")),
        key: dir.join(format!("{file}.key")),
    };
    fs::write(&pair.cert, cert).with_context(|| format!("cannot write {}", pair.cert.display()))?;
    write_secret(&pair.key, &key.serialize_pem())?;
    Ok(pair)
}

/// Writes a file that only its owner can read.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
