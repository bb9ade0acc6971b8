//! What an emulator has left behind that was killed, and what is left at an ordinary end.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{cgroups, mounts, network, tools::Tools};

/// From SIGKILL to the end of processes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Ends what an earlier emulator of this folder has started, and removes its namespaces, links, mounts and files. Images that
/// are unpacked and shares stay. What cannot be removed is said, and in nobody's way: names are new ones.
pub(super) async fn leftovers(tools: &Tools, folder: &Path, tag: &str) {
    if folder.join("runc").is_dir() {
        match tools.containers().await {
            Ok(ids) => {
                for id in ids {
                    tracing::info!(container = id, "left by an emulator before: ended");
                    if let Err(error) = tools.forget(&id).await {
                        tracing::warn!(container = id, %error, "cannot be removed");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "what an emulator has left cannot be listed"),
        }
    }
    // What the runtime knows no more because its files are gone.
    let until = tokio::time::Instant::now() + PATIENCE;
    while cgroups::kill(tag) > 0 && tokio::time::Instant::now() < until {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // Before their namespaces, with which the kernel would remove them some time later.
    for link in names("/sys/class/net", |name| {
        name.starts_with('v') && name.ends_with(tag)
    }) {
        if let Err(error) = tools.ip(&["link", "del", &link]).await {
            tracing::warn!(link, %error, "cannot be removed");
        }
    }
    let prefix = format!("aci{tag}-");
    for name in names("/run/netns", |name| name.starts_with(&prefix)) {
        if let Err(error) = tools.ip(&["netns", "del", &name]).await {
            tracing::warn!(namespace = name, %error, "cannot be removed");
        }
    }
    let bridge = network::bridge(tag);
    if Path::new("/sys/class/net").join(&bridge).exists()
        && let Err(error) = tools.ip(&["link", "del", &bridge]).await
    {
        tracing::warn!(bridge, %error, "cannot be removed");
    }
    at_the_end(folder, tag);
}

/// Names in a folder of the system.
fn names(folder: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| wanted(name))
        .collect()
}

/// Mounts, files and control groups.
pub(super) fn at_the_end(folder: &Path, tag: &str) {
    if let Err(error) = mounts::unmount_below(&folder.join("groups")) {
        tracing::warn!(%error, "a mount stays");
        // What is mounted there is not to be deleted.
        return;
    }
    let gone: [PathBuf; 2] = ["groups", "runc"].map(|name| folder.join(name));
    for path in gone.iter().filter(|path| path.exists()) {
        if let Err(error) = fs::remove_dir_all(path) {
            tracing::warn!(path = %path.display(), %error, "stays");
        }
    }
    cgroups::remove(tag);
}
