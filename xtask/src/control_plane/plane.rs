//! Start, use and stop of one control plane.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::{Api, Client};

use super::flags::{self, Layout, Ports};
use super::health::Probe;
use super::kubeconfig;
use super::kubectl::{self, Output};
use super::pki::Pki;
use super::{Assets, Options, install_tls_provider};
use crate::ports::free_port;
use crate::process::{POLL, Process, StateDir};

mod restart;

/// All of the start. Some seconds on an idle machine; the rest is for busy ones.
const START_DEADLINE: Duration = Duration::from_mins(2);

/// A running control plane. Dropping it kills and reaps all of its processes.
#[derive(Debug)]
pub struct ControlPlane {
    // Children first: fields drop in order, and they must be dead before their directory goes.
    scheduler: Mutex<Process>,
    controller_manager: Mutex<Process>,
    api_server: Mutex<Process>,
    etcd: Mutex<Process>,
    pki: Pki,
    ports: Ports,
    options: Options,
    assets: Assets,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    dir: StateDir,
}

fn locked(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ControlPlane {
    /// Starts everything and waits until a pod could be created: API server ready, the other two healthy, and the
    /// default service account and `kube-root-ca.crt` in the namespace `default`.
    ///
    /// # Errors
    /// A component cannot be started, died (the error quotes the end of its log), or was not ready in two minutes.
    pub async fn start(assets: &Assets, options: Options) -> Result<Self> {
        install_tls_provider();
        let deadline = Instant::now() + START_DEADLINE;
        let dir = match &options.dir {
            Some(path) => StateDir::kept(path)?,
            None => StateDir::temporary("vkc-control-plane")?,
        };
        let pki = Pki::create(&dir.path().join("pki"))?;
        let ports = Ports {
            etcd: free_port()?,
            etcd_peer: free_port()?,
            api: free_port()?,
            controller_manager: free_port()?,
            scheduler: free_port()?,
        };
        if options.audit_log {
            fs::write(flags::audit_policy(dir.path()), flags::AUDIT_POLICY)?;
        }
        let server = format!("https://127.0.0.1:{}", ports.api);
        let config = |name: &str, pair| -> Result<PathBuf> {
            let path = dir.path().join(format!("{name}.kubeconfig"));
            kubeconfig::write(&path, &server, &pki.ca_pair.cert, pair)?;
            Ok(path)
        };
        let kubeconfig = config("admin", &pki.admin)?;
        let manager_config = config("kube-controller-manager", &pki.controller_manager)?;
        let scheduler_config = config("kube-scheduler", &pki.scheduler)?;

        let layout = Layout {
            dir: dir.path(),
            pki: &pki,
            ports: &ports,
        };
        let etcd_flags = match &options.restore_from {
            Some(saved) => {
                copy_dir(saved, &dir.path().join("etcd"))?;
                flags::etcd_restored(&layout)
            }
            None => flags::etcd(&layout),
        };
        let mut etcd = spawn(assets, dir.path(), "etcd", etcd_flags)?;
        let mut api_server = spawn(
            assets,
            dir.path(),
            "kube-apiserver",
            flags::api_server(&layout, &options),
        )?;
        let probe = Probe::new(&pki)?;
        probe
            .wait(
                &format!("{server}/readyz"),
                deadline,
                &mut [&mut etcd, &mut api_server],
            )
            .await?;

        let flags = flags::controller_manager(&layout, &manager_config);
        let mut controller_manager = spawn(assets, dir.path(), "kube-controller-manager", flags)?;
        let flags = flags::scheduler(&layout, &scheduler_config);
        let mut scheduler = spawn(assets, dir.path(), "kube-scheduler", flags)?;
        for port in [ports.controller_manager, ports.scheduler] {
            let all = &mut [&mut api_server, &mut controller_manager, &mut scheduler];
            probe
                .wait(&format!("https://127.0.0.1:{port}/healthz"), deadline, all)
                .await?;
        }
        let plane = Self {
            scheduler: Mutex::new(scheduler),
            controller_manager: Mutex::new(controller_manager),
            api_server: Mutex::new(api_server),
            etcd: Mutex::new(etcd),
            pki,
            ports,
            options,
            kubectl: assets.program("kubectl"),
            assets: assets.clone(),
            kubeconfig,
            dir,
        };
        plane.wait_for_namespace("default", deadline).await?;
        Ok(plane)
    }

    /// Waits until pods can be created in `namespace`: its default service account and `kube-root-ca.crt` exist.
    ///
    /// # Errors
    /// They did not appear in 30 s.
    pub async fn namespace_ready(&self, namespace: &str) -> Result<()> {
        self.wait_for_namespace(namespace, Instant::now() + Duration::from_secs(30))
            .await
    }

    async fn wait_for_namespace(&self, namespace: &str, deadline: Instant) -> Result<()> {
        let client = self.client().await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
        loop {
            if accounts.get_opt("default").await?.is_some()
                && maps.get_opt("kube-root-ca.crt").await?.is_some()
            {
                return Ok(());
            }
            locked(&self.controller_manager).check()?;
            ensure!(
                Instant::now() < deadline,
                "namespace {namespace} still has no default service account or kube-root-ca.crt"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// The administrator's kubeconfig (group `system:masters`).
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's address.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api)
    }

    /// The cluster's CA as PEM.
    pub fn ca_pem(&self) -> String {
        self.pki.ca_pem()
    }

    /// The directory with state, certificates and one `<component>.log` each.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the audit log is, when [`Options::audit_log`] is set.
    pub fn audit_log(&self) -> PathBuf {
        self.dir().join("audit.log")
    }

    /// The kubectl that belongs to this plane.
    pub fn kubectl(&self) -> &Path {
        &self.kubectl
    }

    /// A new client with the administrator's rights. It belongs to the runtime it is made in.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn client(&self) -> Result<Client> {
        Self::client_for(&self.kubeconfig).await
    }

    /// A new client for any kubeconfig, such as one of [`ControlPlane::kubeconfig_for`].
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn client_for(kubeconfig: &Path) -> Result<Client> {
        kubeconfig::client(kubeconfig).await
    }

    /// A kubeconfig for any user, in one group or none, by a client certificate of the cluster's CA.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let file = file_name(user);
        let pair = self.pki.client(&format!("user-{file}"), user, group)?;
        let path = self.dir().join(format!("{file}.kubeconfig"));
        kubeconfig::write(&path, &self.url(), &self.pki.ca_pair.cert, &pair)?;
        Ok(path)
    }

    /// A kubeconfig for a service account, by a token of the `TokenRequest` API that lasts a day.
    ///
    /// # Errors
    /// The service account does not exist, or the file cannot be written.
    pub async fn kubeconfig_for_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<PathBuf> {
        let path = self.dir().join(format!(
            "{}.kubeconfig",
            file_name(&format!("{namespace}-{name}"))
        ));
        kubeconfig::for_service_account(&self.kubeconfig, &path, namespace, name).await?;
        Ok(path)
    }

    /// Runs kubectl as the administrator, for two minutes at most.
    ///
    /// # Errors
    /// kubectl cannot be started or did not end. That it failed is in the [`Output`].
    pub async fn kubectl_run(&self, args: &[&str]) -> Result<Output> {
        self.kubectl_as(&self.kubeconfig, args, "").await
    }

    /// Runs kubectl under any kubeconfig, with `input` as its standard input.
    ///
    /// # Errors
    /// As [`ControlPlane::kubectl_run`].
    pub async fn kubectl_as(
        &self,
        kubeconfig: &Path,
        args: &[&str],
        input: &str,
    ) -> Result<Output> {
        kubectl::run(&self.kubectl, kubeconfig, self.dir(), args, input).await
    }

    /// Stops the API server in its tracks (SIGSTOP): connections stay open and nobody answers.
    ///
    /// # Errors
    /// The process is gone.
    pub fn pause_api_server(&self) -> Result<()> {
        locked(&self.api_server).signal("STOP")
    }

    /// Lets a paused API server go on.
    ///
    /// # Errors
    /// The process is gone.
    pub fn resume_api_server(&self) -> Result<()> {
        locked(&self.api_server).signal("CONT")
    }

    /// Kills the API server: connections are refused until [`ControlPlane::restart_api_server`].
    pub fn kill_api_server(&self) {
        locked(&self.api_server).kill();
    }

    /// Saves what is in etcd now to the directory `to`, for [`Options::restore_from`]. etcd stands still meanwhile.
    ///
    /// # Errors
    /// The files cannot be copied.
    pub fn save_etcd(&self, to: &Path) -> Result<()> {
        let etcd = locked(&self.etcd);
        etcd.signal("STOP")?;
        let copied = copy_dir(&self.dir().join("etcd"), to);
        etcd.signal("CONT")?;
        copied
    }

    /// Makes etcd forget all that was before now, as it does every five minutes in a cluster that lives: a watch that
    /// wants to go on from before gets 410 then, once the API server does not remember either.
    ///
    /// # Errors
    /// etcd did not answer, or refused.
    pub async fn compact_etcd(&self) -> Result<()> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .build()?;
        let ask = async |path: &str, body: serde_json::Value| -> Result<serde_json::Value> {
            let url = format!("http://127.0.0.1:{}/v3/kv/{path}", self.ports.etcd);
            let answer = client.post(url).body(body.to_string()).send().await?;
            let answer = answer.error_for_status()?;
            Ok(serde_json::from_slice(&answer.bytes().await?)?)
        };
        // The key is the byte 0: there is none, and the answer's header has the revision.
        let now = ask("range", serde_json::json!({"key": "AA=="})).await?;
        let revision = now.pointer("/header/revision");
        ensure!(revision.is_some(), "etcd told no revision: {now}");
        let body = serde_json::json!({"revision": revision, "physical": true});
        ask("compaction", body).await.map(drop)
    }

    /// Name, process ID and log file of each component.
    pub fn processes(&self) -> Vec<(String, u32, PathBuf)> {
        [
            &self.etcd,
            &self.api_server,
            &self.controller_manager,
            &self.scheduler,
        ]
        .into_iter()
        .map(|process| {
            let process = locked(process);
            (
                process.name().to_owned(),
                process.id(),
                process.log().to_owned(),
            )
        })
        .collect()
    }

    /// Fails with the end of the log of a component that is not running any more.
    ///
    /// # Errors
    /// A component has ended.
    pub fn check(&self) -> Result<()> {
        [
            &self.etcd,
            &self.api_server,
            &self.controller_manager,
            &self.scheduler,
        ]
        .into_iter()
        .try_for_each(|process| locked(process).check())
    }

    /// Keeps the state directory, with its logs, when the plane ends.
    pub fn keep_dir(&mut self) {
        self.dir.keep();
    }

    /// Kills and reaps all components. Dropping does the same.
    pub async fn stop(self) {
        // Waits for the reaping of killed processes, which is short but not nothing.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn spawn(assets: &Assets, dir: &Path, name: &str, args: Vec<String>) -> Result<Process> {
    let mut command = Command::new(assets.program(name));
    command.args(args).current_dir(dir);
    Process::spawn(name, command, dir)
}

/// Keeps a user's name, such as `system:node:x`, legal as a file name.
fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_make_file_names() {
        assert_eq!(file_name("system:node:a/b.c"), "system-node-a-b.c");
    }
}
