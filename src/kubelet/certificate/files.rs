//! A certificate in files, such as those of a mounted Secret that cert-manager renews.

use std::path::Path;
use std::time::Duration;

use super::{CertificateError, CertificateSink, Certified};

/// The files are looked at so often.
const EVERY: Duration = Duration::from_secs(10);
/// Names as in a Secret of the type `kubernetes.io/tls`.
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Serves what the files hold, whenever they change, for ever. Files that cannot be used leave the old certificate.
pub(super) async fn run(directory: &Path, sink: &CertificateSink<'_>) {
    let mut known = None;
    let mut failed = false;
    let mut interval = tokio::time::interval(EVERY);
    loop {
        interval.tick().await;
        let files = match read(directory).await {
            Ok(files) if known.as_ref() == Some(&files) => continue,
            Ok(files) => files,
            Err(error) => {
                // Told once: while a Secret is being changed a file may be missing for a moment.
                if !std::mem::replace(&mut failed, true) {
                    sink.report_error(&error);
                }
                continue;
            }
        };
        match Certified::from_pem(&files.0, &files.1) {
            Ok(made) => {
                failed = false;
                sink.serve(&made);
            }
            Err(error) => sink.report_error(&error),
        }
        known = Some(files);
    }
}

async fn read(directory: &Path) -> Result<(Vec<u8>, Vec<u8>), CertificateError> {
    let file = async |name: &str| {
        let path = directory.join(name);
        let read = tokio::fs::read(&path).await;
        read.map_err(|source| CertificateError::Unreadable { path, source })
    };
    Ok((file(CHAIN).await?, file(KEY).await?))
}
