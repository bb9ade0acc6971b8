use super::*;

const PEM: &str = include_str!("../certificate/good.pem");
/// Made of the certificate and key of `good.pem` by `openssl pkcs12 -export`.
const FILES: [(&[u8], &str); 7] = [
    // OpenSSL 3: PBES2 with AES-256 and PBKDF2, HMAC-SHA-256; with a second certificate.
    (include_bytes!("modern.p12"), "Grüße 🔑 1"),
    // `-legacy`, as OpenSSL 1 and macOS: triple DES for the key, RC2 with 40 bits for the certificate.
    (include_bytes!("legacy.p12"), "legacy"),
    // As Azure Key Vault: triple DES and SHA-1, without a password.
    (include_bytes!("keyvault.p12"), ""),
    // RC2 with 128 bits, triple DES with two keys.
    (include_bytes!("older.p12"), "legacy"),
    // AES-128 and AES-192, HMAC-SHA-512, one round.
    (include_bytes!("aes128.p12"), "aes"),
    // Not encrypted, HMAC-SHA-384.
    (include_bytes!("open.p12"), "open"),
    // Without the integrity check.
    (include_bytes!("nomac.p12"), "nomac"),
];

fn key_of(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    key.secret_der().to_vec()
}

#[test]
fn every_usual_kind_of_file_opens() {
    let certificate = PEM.split("-----BEGIN CERTIFICATE").nth(1).unwrap().trim();
    for (number, (file, password)) in FILES.into_iter().enumerate() {
        assert!(looks_like(file));
        let pem = to_pem(file, password).unwrap_or_else(|error| panic!("{number}: {error}"));
        assert!(pem.expose().contains(certificate), "{number}");
        assert_eq!(key_of(pem.expose()), key_of(PEM), "{number}");
        let certificates = pem.expose().matches("BEGIN CERTIFICATE").count();
        assert_eq!(certificates, if number == 0 { 2 } else { 1 });
    }
}

#[test]
fn a_wrong_password_is_told_from_a_broken_file() {
    for (number, (file, _)) in FILES.into_iter().enumerate() {
        // Without the check a wrong password may also look like a broken file, and all but never like a good one.
        let error = to_pem(file, "wrong").map(drop).unwrap_err();
        let unsure = number == 6 && error == Pkcs12Error::Malformed;
        assert!(
            error == Pkcs12Error::WrongPassword || unsure,
            "{number}: {error:?}"
        );
    }
    let (file, password) = FILES[0];
    for end in (0..file.len()).step_by(97) {
        to_pem(&file[..end], password).unwrap_err();
    }
}

/// Never a panic, never long, whatever is in the file.
#[test]
fn broken_files_are_refused() {
    // One round each: a changed file costs little.
    let (file, password) = FILES[4];
    for at in 0..file.len() {
        for flip in [0x01, 0x80] {
            let mut broken = file.to_vec();
            broken[at] ^= flip;
            let _ = to_pem(&broken, password);
        }
    }
    for (file, wanted) in [
        (vec![0x30; 200_000], Pkcs12Error::TooLarge),
        (Vec::new(), Pkcs12Error::Malformed),
        (vec![0x30, 0x80, 2, 1, 3, 0, 0], Pkcs12Error::Malformed),
        (
            vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            Pkcs12Error::Malformed,
        ),
        (vec![0x30, 3, 2, 1, 2], Pkcs12Error::Malformed),
    ] {
        assert_eq!(to_pem(&file, "").map(drop), Err(wanted));
    }
    assert!(!looks_like(PEM.as_bytes()) && !looks_like(b"0") && !looks_like(b""));
}

/// `file` with the first 2048, as openssl writes its rounds, replaced by `rounds`.
fn with_rounds(file: &[u8], rounds: [u8; 2]) -> Vec<u8> {
    let marks: Vec<usize> = (0..file.len() - 4)
        .filter(|at| file[*at..].starts_with(&[0x02, 0x02, 0x08, 0x00]))
        .collect();
    assert!(!marks.is_empty());
    let mut file = file.to_vec();
    for at in marks {
        file[at + 2..at + 4].copy_from_slice(&rounds);
    }
    file
}

#[test]
fn rounds_are_bounded_over_the_whole_file() {
    let mut budget = ciphers::Budget::default();
    let digest = ciphers::Digest::of(&[0x2b, 0x0e, 0x03, 0x02, 0x1a]).unwrap();
    let mut derive = |rounds, length| {
        ciphers::derive(
            &digest,
            ciphers::FOR_MAC,
            b"",
            b"salt",
            rounds,
            length,
            &mut budget,
        )
    };
    assert_eq!(derive(0, 20).unwrap_err(), Pkcs12Error::Malformed);
    assert_eq!(derive(u32::MAX, 20).unwrap_err(), Pkcs12Error::TooCostly);
    assert_eq!(derive(u32::MAX, 2000).unwrap_err(), Pkcs12Error::TooCostly);
    assert_eq!(derive(2_100_000, 40).unwrap_err(), Pkcs12Error::TooCostly);
    derive(10, 20).unwrap();
    assert_eq!(derive(3_999_991, 20).unwrap_err(), Pkcs12Error::TooCostly);
    // A file whose rounds are not what its check was made with does not open.
    let (file, password) = FILES[1];
    let changed = with_rounds(file, [0x07, 0xff]);
    assert_eq!(
        to_pem(&changed, password).map(drop),
        Err(Pkcs12Error::WrongPassword)
    );
}
