//! The binaries of the control plane: found, or built once from pinned Go modules and kept in a cache.
//!
//! Order: the directory named by `KUBEBUILDER_ASSETS`; else the cache; else a build into the cache. The pins are the
//! `go.mod` and `go.sum` files under `xtask/control-plane/`, compiled into this crate, and the cache is keyed by
//! their text. A build goes into a directory of its own and is moved into place when complete, under a lock file,
//! so neither a Ctrl-C nor a second process leaves half a cache.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::cache;
use super::go;

/// The Kubernetes release that is built, as its API server reports it.
pub const KUBERNETES_VERSION: &str = "v1.36.3";

/// A set of pinned programs that share a module graph.
pub(super) struct Module {
    name: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
    /// Program name, and the package that is its `main`.
    programs: &'static [(&'static str, &'static str)],
    /// Folders of Go modules that are kept beside the programs: module, folder.
    folders: &'static [(&'static str, &'static str)],
}

const ETCD: Module = Module {
    name: "etcd",
    go_mod: include_str!("../../control-plane/etcd/go.mod"),
    go_sum: include_str!("../../control-plane/etcd/go.sum"),
    programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
    folders: &[],
};
pub(super) const KUBERNETES: Module = Module {
    name: "kubernetes",
    go_mod: include_str!("../../control-plane/kubernetes/go.mod"),
    go_sum: include_str!("../../control-plane/kubernetes/go.sum"),
    programs: &[
        ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        (
            "kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
        ),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
        ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ],
    folders: &[],
};
const HELM: Module = Module {
    name: "helm",
    go_mod: include_str!("../../control-plane/helm/go.mod"),
    go_sum: include_str!("../../control-plane/helm/go.sum"),
    programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
    folders: &[],
};

const METRICS_SERVER: Module = Module {
    name: "metrics-server",
    go_mod: include_str!("../../control-plane/metrics-server/go.mod"),
    go_sum: include_str!("../../control-plane/metrics-server/go.sum"),
    programs: &[(
        "metrics-server",
        "sigs.k8s.io/metrics-server/cmd/metrics-server",
    )],
    folders: &[],
};
/// The release of metrics-server that is built.
const METRICS_SERVER_VERSION: &str = "v0.8.0";

const SOURCE_CONTROLLER: Module = Module {
    name: "source-controller",
    go_mod: include_str!("../../control-plane/source-controller/go.mod"),
    go_sum: include_str!("../../control-plane/source-controller/go.sum"),
    programs: &[("source-controller", "github.com/fluxcd/source-controller")],
    folders: &[("github.com/fluxcd/source-controller", FLUX_CRDS)],
};
const KUSTOMIZE_CONTROLLER: Module = Module {
    name: "kustomize-controller",
    go_mod: include_str!("../../control-plane/kustomize-controller/go.mod"),
    go_sum: include_str!("../../control-plane/kustomize-controller/go.sum"),
    programs: &[(
        "kustomize-controller",
        "github.com/fluxcd/kustomize-controller",
    )],
    folders: &[("github.com/fluxcd/kustomize-controller", FLUX_CRDS)],
};
/// Where Flux's controllers keep their CRDs.
const FLUX_CRDS: &str = "config/crd/bases";
/// The release of Flux's controllers that is built.
const FLUX_VERSION: &str = "v1.9.0";

const KUBE_SCORE: Module = Module {
    name: "kube-score",
    go_mod: include_str!("../../control-plane/kube-score/go.mod"),
    go_sum: include_str!("../../control-plane/kube-score/go.sum"),
    programs: &[("kube-score", "github.com/zegl/kube-score/cmd/kube-score")],
    folders: &[],
};
const KUBECONFORM: Module = Module {
    name: "kubeconform",
    go_mod: include_str!("../../control-plane/kubeconform/go.mod"),
    go_sum: include_str!("../../control-plane/kubeconform/go.sum"),
    programs: &[(
        "kubeconform",
        "github.com/yannh/kubeconform/cmd/kubeconform",
    )],
    folders: &[],
};
const ACTIONLINT: Module = Module {
    name: "actionlint",
    go_mod: include_str!("../../control-plane/actionlint/go.mod"),
    go_sum: include_str!("../../control-plane/actionlint/go.sum"),
    programs: &[("actionlint", "github.com/rhysd/actionlint/cmd/actionlint")],
    folders: &[],
};

/// Programs that look at what ships.
#[derive(Debug, Clone)]
pub struct Linters {
    /// Looks at workloads.
    pub kube_score: PathBuf,
    /// Compares objects with schemas.
    pub kubeconform: PathBuf,
    /// Looks at workflows of GitHub Actions.
    pub actionlint: PathBuf,
}

/// Flux's controllers, and the folders with their CRDs.
#[derive(Debug, Clone)]
pub struct Flux {
    /// Fetches from Git.
    pub source_controller: PathBuf,
    /// Applies what it has fetched.
    pub kustomize_controller: PathBuf,
    /// Each is for `kubectl apply -f`.
    pub crds: Vec<PathBuf>,
}

/// A directory with every program of a control plane.
#[derive(Debug, Clone)]
pub struct Assets {
    dir: PathBuf,
}

impl Assets {
    /// Finds the programs, or builds them, telling `progress` what it does in short lines.
    ///
    /// Blocks: a cached set takes no time, a build some minutes.
    ///
    /// # Errors
    /// `KUBEBUILDER_ASSETS` names a directory that lacks a program (the error says which), or the build failed.
    pub fn resolve(progress: impl FnMut(&str)) -> Result<Self> {
        match env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()) {
            Some(dir) => Self::given(Path::new(&dir)),
            None => Self::cached(&cache_root()?, progress),
        }
    }

    fn given(dir: &Path) -> Result<Self> {
        let missing: Vec<&str> = program_names(&[ETCD, KUBERNETES])
            .filter(|name| !dir.join(name).is_file())
            .collect();
        ensure!(
            missing.is_empty(),
            "KUBEBUILDER_ASSETS is {}, which lacks {}; add what is missing, or unset the variable to have all of it built",
            dir.display(),
            missing.join(", ")
        );
        let dir = dir
            .canonicalize()
            .with_context(|| format!("cannot resolve {}", dir.display()))?;
        Ok(Self { dir })
    }

    fn cached(root: &Path, progress: impl FnMut(&str)) -> Result<Self> {
        let dir = cached_programs(
            &root.join("control-plane"),
            &[ETCD, KUBERNETES],
            KUBERNETES_VERSION,
            &kubernetes_flags(),
            progress,
        )?;
        Ok(Self { dir })
    }

    /// The directory, as `KUBEBUILDER_ASSETS` would name it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of one program, such as `kubectl`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The path of Helm 4, found beside the others or built into the cache at the first call.
    ///
    /// # Errors
    /// The build failed.
    pub fn helm(&self, progress: impl FnMut(&str)) -> Result<PathBuf> {
        let beside = self.program("helm");
        if beside.is_file() {
            return Ok(beside);
        }
        let base = cache_root()?.join("helm");
        let bin = cached_programs(&base, &[HELM], "v4", &kubernetes_flags(), progress)?;
        Ok(bin.join("helm"))
    }

    /// The path of metrics-server, found beside the others or built into the cache at the first call.
    ///
    /// # Errors
    /// The build failed.
    pub fn metrics_server(&self, progress: impl FnMut(&str)) -> Result<PathBuf> {
        let beside = self.program("metrics-server");
        if beside.is_file() {
            return Ok(beside);
        }
        let bin = cached_programs(
            &cache_root()?.join("metrics-server"),
            &[METRICS_SERVER],
            METRICS_SERVER_VERSION,
            &metrics_server_flags(),
            progress,
        )?;
        Ok(bin.join("metrics-server"))
    }

    /// The linters, built into the cache at the first call.
    ///
    /// # Errors
    /// The build failed.
    pub fn linters(progress: impl FnMut(&str)) -> Result<Linters> {
        let base = cache_root()?.join("linters");
        let modules = &[KUBE_SCORE, KUBECONFORM, ACTIONLINT];
        let bin = cached_programs(&base, modules, "v1", STRIPPED, progress)?;
        Ok(Linters {
            kube_score: bin.join("kube-score"),
            kubeconform: bin.join("kubeconform"),
            actionlint: bin.join("actionlint"),
        })
    }

    /// Flux's controllers, built into the cache at the first call.
    ///
    /// # Errors
    /// The build failed.
    pub fn flux(progress: impl FnMut(&str)) -> Result<Flux> {
        let base = cache_root()?.join("flux");
        let modules = &[SOURCE_CONTROLLER, KUSTOMIZE_CONTROLLER];
        let bin = cached_programs(&base, modules, FLUX_VERSION, STRIPPED, progress)?;
        let folder = |module: &Module| bin.with_file_name(module.name).join(FLUX_CRDS);
        Ok(Flux {
            source_controller: bin.join("source-controller"),
            kustomize_controller: bin.join("kustomize-controller"),
            crds: modules.iter().map(folder).collect(),
        })
    }
}

/// Writes one line of progress to standard error.
pub fn stderr_progress(line: &str) {
    eprintln!("control plane: {line}");
}

/// Where everything that survives a run is kept: `VKC_CACHE_DIR`, or the user's cache directory.
///
/// # Errors
/// None of `VKC_CACHE_DIR`, `XDG_CACHE_HOME` and `HOME` is set.
pub fn cache_root() -> Result<PathBuf> {
    let set = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(dir) = set("VKC_CACHE_DIR") {
        return std::path::absolute(&dir)
            .with_context(|| format!("cannot use VKC_CACHE_DIR {}", dir.display()));
    }
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|dir| dir.join("virtual-kubelet-connector"))
        .context("no place for a cache: set VKC_CACHE_DIR, XDG_CACHE_HOME or HOME")
}

fn program_names(modules: &'static [Module]) -> impl Iterator<Item = &'static str> {
    modules
        .iter()
        .flat_map(|module| module.programs)
        .map(|(name, _)| *name)
}

/// The version, and a hash of all that decides what is built.
fn version_key(modules: &[Module], version: &str, link_flags: &str) -> String {
    let mut text = link_flags.to_owned();
    for module in modules {
        text.push_str(module.go_mod);
        text.push_str(module.go_sum);
        for (name, package) in module.programs {
            text.push_str(name);
            text.push_str(package);
        }
    }
    cache::key(version, &text)
}

/// Leaves out symbols and debug information.
pub(super) const STRIPPED: &str = "-s -w";

/// Stamps the release, which otherwise comes from Kubernetes' own build scripts.
pub(super) fn kubernetes_flags() -> String {
    let mut flags = String::from(STRIPPED);
    let numbers = KUBERNETES_VERSION.trim_start_matches('v');
    let mut parts = numbers.split('.');
    let (major, minor) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", KUBERNETES_VERSION),
            ("gitMajor", major),
            ("gitMinor", minor),
            ("gitTreeState", "clean"),
        ] {
            flags.extend([" -X ", package, ".", name, "=", value]);
        }
    }
    flags
}

/// Stamps the release where metrics-server's own build does. Its feature gates follow another version, that of the
/// Kubernetes libraries it is made of, which stands in their code.
fn metrics_server_flags() -> String {
    format!("{STRIPPED} -X k8s.io/client-go/pkg/version.gitVersion={METRICS_SERVER_VERSION}")
}

/// The `bin` directory with the programs of `modules`, built when it is not there.
fn cached_programs(
    base: &Path,
    modules: &'static [Module],
    version: &str,
    link_flags: &str,
    mut progress: impl FnMut(&str),
) -> Result<PathBuf> {
    let key = version_key(modules, version, link_flags);
    let names: Vec<&str> = program_names(modules).collect();
    let home = cache::built(base, &key, &names, &mut progress, |work, progress| {
        let mut done = 0;
        for module in modules {
            let dir = work.join(module.name);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
            fs::write(dir.join("go.mod"), module.go_mod)?;
            fs::write(dir.join("go.sum"), module.go_sum)?;
            for (name, package) in module.programs {
                done += 1;
                let what = format!("{name} ({done}/{})", names.len());
                let output = work.join("bin").join(name);
                go::build(&dir, &output, package, link_flags, &what, progress)?;
            }
            for (of, folder) in module.folders {
                let from = go::module_dir(&dir, of)?.join(folder);
                copy_files(&from, &dir.join(folder))?;
            }
        }
        Ok(())
    })?;
    Ok(home.join("bin"))
}

/// Copies the files of a folder, without what is below it.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            // Not its mode: a module's files may not be written to.
            fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_directory_that_lacks_programs_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for present in ["etcd", "kube-apiserver", "kubectl"] {
            fs::write(dir.path().join(present), "").unwrap();
        }
        let error = Assets::given(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("lacks kube-controller-manager, kube-scheduler;"),
            "{error}"
        );
    }

    #[test]
    fn the_key_follows_the_pins() {
        let edited = Module { go_sum: "", ..ETCD };
        let key = version_key(&[ETCD], "v1", "-s");
        assert!(key.starts_with("v1-"), "{key}");
        assert_eq!(version_key(&[ETCD], "v1", "-s"), key);
        assert_ne!(version_key(&[edited], "v1", "-s"), key);
        assert_ne!(version_key(&[ETCD], "v1", "-w"), key);
    }

    #[test]
    fn the_release_is_the_pinned_one() {
        for (module, path, version) in [
            (KUBERNETES, "k8s.io/kubernetes", KUBERNETES_VERSION),
            (
                METRICS_SERVER,
                "sigs.k8s.io/metrics-server",
                METRICS_SERVER_VERSION,
            ),
        ] {
            let pin = format!("{path} {version}");
            assert!(
                module.go_mod.contains(&pin),
                "go.mod does not require {pin}"
            );
        }
    }

    #[test]
    fn a_complete_cache_is_used_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let key = version_key(&[ETCD, KUBERNETES], KUBERNETES_VERSION, &kubernetes_flags());
        let bin = root.path().join("control-plane").join(key).join("bin");
        fs::create_dir_all(&bin).unwrap();
        let assets =
            Assets::cached(root.path(), |line| panic!("no work expected: {line}")).unwrap();
        assert_eq!(assets.dir(), bin);
    }
}
