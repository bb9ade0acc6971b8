//! A certificate that the node signs itself.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};

use super::{CertificateError, Certified, unusable};

/// Its life; a kubelet's own is one year.
const LIFE: SignedDuration = SignedDuration::from_hours(24 * 365);
const BEFORE: SignedDuration = SignedDuration::from_hours(1);

/// A new key and its certificate, valid from an hour ago for a year.
pub(super) fn make(node: &str, ip: IpAddr, now: Timestamp) -> Result<Certified, CertificateError> {
    let key = KeyPair::generate().map_err(unusable)?;
    let mut params = params(node, ip)?;
    let from = now.saturating_sub(BEFORE).unwrap_or(now);
    let until = from.saturating_add(LIFE).unwrap_or(from);
    // The type of a date is that of a crate which only rcgen names.
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since =
        |at: Timestamp| Duration::from_secs(u64::try_from(at.as_second()).unwrap_or_default());
    params.not_before = epoch + since(from);
    params.not_after = epoch + since(until);
    let made = params.self_signed(&key).map_err(unusable)?;
    Certified::from_pem(made.pem().as_bytes(), key.serialize_pem().as_bytes())
}

/// Names and purposes of a kubelet's serving certificate.
pub(super) fn params(node: &str, ip: IpAddr) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(unusable)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("system:node:{node}"));
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:nodes");
    params.subject_alt_names = vec![
        SanType::DnsName(node.try_into().map_err(unusable)?),
        SanType::IpAddress(ip),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}
