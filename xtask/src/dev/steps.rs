//! The steps of the walk-through.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Args;
use super::checks;
use super::session::{CONNECTOR, NAMESPACE, Session};
use super::view::{Os, View};

/// From `kubectl apply` to every row of the tables, and for each step of the removal.
const STEP_DEADLINE: Duration = Duration::from_mins(2);

impl Session {
    /// What an administrator installs before: CRD, namespace, RBAC.
    pub(super) async fn install(&self) -> Result<()> {
        self.kubectl(&["apply", "-k", &self.path("config/crd")])
            .await?;
        self.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "crd/virtualkubeletconnectors.virtual-kubelet.io",
        ])
        .await?;
        self.kubectl(&["apply", "-f", &self.path("config/manager/namespace.yaml")])
            .await?;
        self.kubectl(&["apply", "-k", &self.path("config/rbac")])
            .await?;
        self.say("applied config/crd, config/rbac and the namespace");
        Ok(())
    }

    /// The connector by the command of the walk-through, pointed at the emulator, and the two Deployments as they are.
    pub(super) async fn install_connector(&self) -> Result<()> {
        let emulator = self.emulator()?;
        let principal = emulator.principal().clone();
        let url = emulator.url().to_owned();
        let ca = emulator.ca_file().display().to_string();
        let args = [
            "install-connector",
            "--connector-name",
            CONNECTOR,
            "--os-type",
            "Both",
            "--aci-resource-group",
            "aci-rg",
            "--location",
            "East US",
            "--service-principal",
            &principal.client_id,
            "--tenant",
            &principal.tenant_id,
            "--subscription",
            &principal.subscription_id,
            "--resource-manager-endpoint",
            &url,
            "--authority-host",
            &url,
            "--audience",
            &url,
            "--ca-file",
            &ca,
        ];
        let secret = ("AZURE_CLIENT_SECRET", principal.client_secret.as_str());
        self.vkc(&args, &[secret]).await?;
        for name in ["aci-helloworld", "nanoserver-iis"] {
            let file = format!("config/samples/{name}.yaml");
            self.kubectl(&["apply", "--namespace=default", "-f", &self.path(&file)])
                .await?;
            self.say(&format!("applied {file}, unmodified"));
        }
        Ok(())
    }

    /// Waits for every row of the walk-through, then shows the tables and asks the Linux pod for its page.
    pub(super) async fn see_it_run(&mut self) -> Result<()> {
        let both = [Os::Linux, Os::Windows];
        let view = self
            .until("both pods run", |view| checks::running(view, &both))
            .await?;
        self.say("both nodes are ready and both pods run");
        self.tables().await?;
        if let Some(ip) = view.pod_ip(Os::Linux) {
            let client = reqwest::Client::builder()
                .timeout(Duration::from_secs(5))
                .no_proxy()
                .build()?;
            let answer = client.get(format!("http://{ip}/")).send().await;
            println!("\n$ curl http://{ip}/");
            match answer {
                Ok(answer) => {
                    let status = answer.status();
                    let text = answer.text().await.unwrap_or_default();
                    println!(
                        "{status}, {} bytes: {}",
                        text.len(),
                        text.lines().next().unwrap_or_default()
                    );
                }
                Err(_) => {
                    println!("no answer: the emulator could not serve port 80 on this machine");
                }
            }
        }
        println!();
        Ok(())
    }

    /// Both becomes Linux, then nothing: each time exactly what should go is gone.
    pub(super) async fn see_it_removed(&mut self) -> Result<()> {
        let before = self.view().await?;
        let linux_pod = before
            .pod_uid(Os::Linux)
            .context("the Linux pod is gone before the removal")?;
        let linux_node = before
            .node_uid(Os::Linux)
            .context("the Linux node is gone before the removal")?;
        let windows_pod = before
            .pod_uid(Os::Windows)
            .context("the Windows pod is gone before the removal")?;

        let mut args = vec!["remove-connector", "--connector-name", CONNECTOR];
        self.vkc(
            &[&args[..], &["--os-type", "Windows", "--graceful"]].concat(),
            &[],
        )
        .await?;
        self.until("the Windows node is drained and gone", |view| {
            checks::only_linux(view, &linux_node, &linux_pod, &windows_pod)
        })
        .await?;
        self.say("the Windows node is drained and gone, its Deployment waits for a node; Linux was not touched");

        args.extend(["--os-type", "Linux", "--graceful"]);
        self.vkc(&args, &[]).await?;
        self.until("everything of the connector is gone", checks::removed)
            .await?;
        self.say("the connector, its nodes, leases, pods and container groups are gone");
        Ok(())
    }

    pub(super) async fn tables(&self) -> Result<()> {
        for args in [
            &["get", "vkc"][..],
            &["get", "nodes"],
            &["get", "pods", "--namespace=default", "-o", "wide"],
        ] {
            println!("\n$ kubectl {}", args.join(" "));
            let output = self.run(args, "").await?;
            print!("{}{}", output.stdout, output.stderr);
        }
        Ok(())
    }

    /// Takes the samples out of a cluster that is not ours, while the operator is there to do its part.
    pub(super) async fn clean_up(&self, args: &Args) {
        if args.kubeconfig.is_none() || args.keep {
            return;
        }
        let args = [
            "remove-connector",
            "--connector-name",
            CONNECTOR,
            "--os-type",
            "Both",
        ];
        if let Err(error) = self.vkc(&args, &[]).await {
            println!("{error:#}");
        }
        for sample in ["aci-helloworld", "nanoserver-iis"] {
            let file = self.path(&format!("config/samples/{sample}.yaml"));
            let args = [
                "delete",
                "--namespace=default",
                "--ignore-not-found",
                "--timeout=60s",
                "-f",
                &file,
            ];
            if let Err(error) = self.kubectl(&args).await {
                println!("{error:#}");
            }
        }
        println!(
            "The samples are deleted; the CRD, the RBAC and namespace {NAMESPACE} stay in the cluster."
        );
    }

    async fn view(&self) -> Result<View> {
        View::fetch(&self.client().await?, self.emulator()?).await
    }

    /// Looks until `check` has nothing to object to. At the deadline the last objection is the error.
    async fn until(
        &mut self,
        what: &str,
        check: impl Fn(&View) -> Result<(), String>,
    ) -> Result<View> {
        let deadline = Instant::now() + STEP_DEADLINE;
        let client = self.client().await?;
        loop {
            self.check_processes()?;
            let view = View::fetch(&client, self.emulator()?).await?;
            match check(&view) {
                Ok(()) => return Ok(view),
                Err(objection) => ensure!(
                    Instant::now() < deadline,
                    "not so after {} s: {what}: {objection}",
                    STEP_DEADLINE.as_secs()
                ),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
