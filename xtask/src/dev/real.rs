//! The steps of the walk-through that only real processes can pass (`--run`).

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::session::Session;
use super::stand_ins::{BARE, LISTENING, PAGE};

/// For each step.
const DEADLINE: Duration = Duration::from_mins(2);
const DEPLOYMENT: &str = "deployment/aci-helloworld";
/// What a process of ours is known by among all of this machine.
const MARK: &str = "the-walk-through-sleeps";

/// A Job, and a Pod that is deleted while it runs.
const MANIFEST: &str = include_str!("real/ends.yaml");

/// A pod whose files change while it runs, as a user who is not root.
const CHANGING: &str = include_str!("real/changing.yaml");

/// A pod with a program that takes no SIGTERM and fails its probe, and with another one that goes on.
const STUBBORN: &str = include_str!("real/stubborn.yaml");

/// A pod whose image has no shell: one program and nothing else.
const BARE_POD: &str = include_str!("real/bare.yaml");

/// A pod that ends badly if its program starts before its sidecar is ready.
const ORDERED: &str = include_str!("real/ordered.yaml");

impl Session {
    /// Log, exec, port-forward, a Job that ends, a delete that ends a process.
    pub(super) async fn see_processes(&mut self) -> Result<()> {
        self.until_says(&["logs", DEPLOYMENT], LISTENING).await?;
        let command = ["exec", DEPLOYMENT, "--", "sh", "-c", "cat /proc/1/cmdline"];
        self.until_says(&command, "/bin/web").await?;
        self.say("logs and exec are those of a real process");
        let page = self.forwarded_page(DEPLOYMENT, 80, "").await?;
        ensure!(
            page.contains(PAGE),
            "through port-forward came another page: {page}"
        );
        self.say("kubectl port-forward leads to its page");

        let manifest = MANIFEST.replace("MARK", MARK);
        self.apply(&manifest).await?;
        let wait = [
            "wait",
            "job/walk-through",
            "--for=condition=Complete",
            "--timeout=100s",
        ];
        self.kubectl(&wait).await?;
        self.until_says(&["logs", "job/walk-through"], "the answer is 42")
            .await?;
        self.say("a Job has run to its end, and its log is there");
        let wait = [
            "wait",
            "pod/walk-through",
            "--for=condition=Ready",
            "--timeout=100s",
        ];
        self.kubectl(&wait).await?;
        ensure!(
            runs(MARK),
            "the pod walk-through is ready, and no process of this machine is its"
        );
        let delete = ["delete", "pod/walk-through", "job/walk-through"];
        self.kubectl(&delete).await?;
        let deadline = Instant::now() + DEADLINE;
        while runs(MARK) {
            ensure!(
                Instant::now() < deadline,
                "the pod is deleted, and its process still runs"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.say("a pod was deleted, and its process has ended");
        self.see_changes().await?;
        self.see_a_kill().await?;
        self.see_sessions_without_a_shell().await?;
        self.see_input().await?;
        self.see_an_order().await
    }

    /// A changed label and a changed `ConfigMap` reach the files of a pod that runs.
    pub(super) async fn see_changes(&mut self) -> Result<()> {
        const POD: &str = "walk-through-files";
        self.apply(CHANGING).await?;
        let ready = format!("pod/{POD}");
        let wait = ["wait", &ready, "--for=condition=Ready", "--timeout=100s"];
        self.kubectl(&wait).await?;
        let cat = |file: &'static str| ["exec", POD, "--", "cat", file];
        self.until_says(&cat("/files/settings"), "colour=red")
            .await?;
        let label = ["label", &ready, "step=goes-on", "--overwrite"];
        self.kubectl(&label).await?;
        let began = Instant::now();
        self.until_says(&cat("/files/labels"), "goes-on").await?;
        let by_label = began.elapsed().as_secs_f64();
        self.apply(&CHANGING.replace("colour=red", "colour=blue"))
            .await?;
        let began = Instant::now();
        self.until_says(&cat("/files/settings"), "colour=blue")
            .await?;
        let by_map = began.elapsed().as_secs_f64();
        self.say(&format!(
            "a changed label was in a file of a running pod after {by_label:.1} s, a changed ConfigMap after {by_map:.1} s"
        ));
        let delete = ["delete", &ready, "configmap/walk-through"];
        self.kubectl(&delete).await.map(drop)
    }

    /// A container that ignores SIGTERM is killed and starts again, and its neighbour goes on.
    pub(super) async fn see_a_kill(&mut self) -> Result<()> {
        const POD: &str = "pod/walk-through-stubborn";
        self.apply(STUBBORN).await?;
        let last = r#"-o=jsonpath={.status.containerStatuses[?(@.name=="stubborn")].lastState.terminated.exitCode}"#;
        self.until_says(&["get", POD, last], "137").await?;
        let steady =
            r#"-o=jsonpath=restarts:{.status.containerStatuses[?(@.name=="steady")].restartCount}"#;
        self.until_says(&["get", POD, steady], "restarts:0").await?;
        self.say("a container that ignored SIGTERM was killed and starts again; the other one of its pod goes on");
        self.kubectl(&["delete", POD]).await.map(drop)
    }

    /// exec in a container without a shell, by the shim.
    pub(super) async fn see_sessions_without_a_shell(&mut self) -> Result<()> {
        const POD: &str = "walk-through-bare";
        self.apply(&BARE_POD.replace("IMAGE", BARE)).await?;
        let ready = format!("pod/{POD}");
        let wait = ["wait", &ready, "--for=condition=Ready", "--timeout=100s"];
        self.kubectl(&wait).await?;
        let before = ["--namespace=default", "exec", "-i", POD, "--", "/busybox"];
        let exec = |program: &[&'static str]| [&before[..], program].concat();
        let began = Instant::now();
        let printf = exec(&["printf", "<%s>", "a b", "$x", "'\""]);
        let words = self.run(&printf, "").await?;
        let took = began.elapsed().as_secs_f64();
        ensure!(words.stdout == "<a b><$x><'\">", "{words:?}");
        let script = "printf out; printf err >&2; id -u; printf %s \"$COLOUR\"; exit 7";
        let both = self.run(&exec(&["sh", "-c", script]), "").await?;
        ensure!(both.stdout == "out1000\nred and blue", "{both:?}");
        ensure!(
            both.stderr.starts_with("err") && both.stderr.contains("exit code 7"),
            "{both:?}"
        );
        // NUL bytes and ends of lines of all kinds.
        let bytes = "\0\u{1}a\r\nb\u{4}\u{3}\n".repeat(20_000);
        let back = self.run(&exec(&["cat"]), &bytes).await?;
        ensure!(back.stdout == bytes, "other bytes came back");
        self.say(&format!(
            "exec in a container without a shell: words, both outputs, exit code, {} bytes to and fro; the first took {took:.2} s",
            bytes.len()
        ));
        let hosts = self.forwarded_page(&ready, 8080, "etc/hosts").await?;
        ensure!(
            hosts.contains("10.0.0.5") && hosts.contains("db"),
            "through port-forward came: {hosts}"
        );
        self.say("kubectl port-forward leads to what listens on the pod's loopback address only");
        self.kubectl(&["delete", &ready]).await.map(drop)
    }

    /// A program starts when the sidecar before it has.
    pub(super) async fn see_an_order(&mut self) -> Result<()> {
        const POD: &str = "pod/walk-through-ordered";
        self.apply(ORDERED).await?;
        let code = "-o=jsonpath=code:{.status.containerStatuses[0].state.terminated.exitCode}";
        self.until_says(&["get", POD, code], "code:0").await?;
        self.until_says(&["logs", POD, "--container=main"], "yes")
            .await?;
        self.say("a container that comes after a sidecar has started when its startup probe would have succeeded");
        self.kubectl(&["delete", POD]).await.map(drop)
    }

    /// What is typed at `kubectl run -i`, which attaches, reaches the program.
    pub(super) async fn see_input(&mut self) -> Result<()> {
        const POD: &str = "walk-through-input";
        const WHERE: &str = r#"{"spec":{"automountServiceAccountToken":false,
            "terminationGracePeriodSeconds":1,"securityContext":{"runAsUser":1000},
            "nodeSelector":{"kubernetes.io/os":"linux","type":"virtual-kubelet"},
            "tolerations":[{"key":"virtual-kubelet.io/provider","value":"azure","effect":"NoSchedule"}]}}"#;
        const PROGRAM: &str = "while read -r line; do echo \"got $line\"; done; exit 3";
        let overrides = format!("--overrides={WHERE}");
        let run = [
            "run",
            POD,
            "--namespace=default",
            "--image=mcr.microsoft.com/cbl-mariner/busybox:2.0",
            "--restart=Never",
            "--quiet",
            "--rm",
            "-i",
            &overrides,
            "--command",
            "--",
            "sh",
            "-c",
            PROGRAM,
        ];
        let typed = self.run(&run, "one\ntwo\n").await?;
        ensure!(typed.stdout.contains("got one\ngot two\n"), "{typed:?}");
        // As on any node: the pod's own exit code is kubectl's.
        ensure!(typed.status.code() == Some(3), "{typed:?}");
        self.say("kubectl run -i: what was typed reached the program, its output and its exit code came back");
        Ok(())
    }

    /// Some work in the container of the Linux Deployment: where it really runs it uses nothing by itself.
    pub(super) async fn keep_busy(&self) -> Result<()> {
        const WORK: &str = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let command = [
            "--namespace=default",
            "exec",
            DEPLOYMENT,
            "--",
            "sh",
            "-c",
            WORK,
        ];
        self.run(&command, "").await.map(drop)
    }

    /// Asks until the answer holds a text.
    async fn until_says(&mut self, args: &[&str], text: &str) -> Result<()> {
        let args = [&["--namespace=default"], args].concat();
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.check_processes()?;
            let output = self.run(&args, "").await?;
            if output.stdout.contains(text) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "kubectl {} does not say {text:?} but: {}{}",
                args.join(" "),
                output.stdout,
                output.stderr
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// A page of a pod through the API server.
    async fn forwarded_page(&self, pod: &str, port: u16, path: &str) -> Result<String> {
        let mut child = self.kubectl_command();
        let mut child = child
            .args(["--namespace=default", "port-forward", pod])
            .arg(format!(":{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run kubectl port-forward")?;
        let stdout = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        // Forwarding from 127.0.0.1:40123 -> 80
        let local = tokio::time::timeout(DEADLINE, async {
            while let Some(line) = lines.next_line().await? {
                let port = line
                    .strip_prefix("Forwarding from 127.0.0.1:")
                    .and_then(|rest| rest.split(' ').next()?.parse::<u16>().ok());
                if let Some(port) = port {
                    return Ok(port);
                }
            }
            anyhow::bail!("kubectl port-forward has ended")
        });
        let local = local.await.context("kubectl port-forward is silent")??;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()?;
        let url = format!("http://127.0.0.1:{local}/{path}");
        let page = client.get(url).send().await?.text().await?;
        child.kill().await?;
        Ok(page)
    }
}

/// Whether a process with this argument runs on this machine, in a container of its own or not.
fn runs(mark: &str) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    processes.flatten().any(|process| {
        let line = fs::read(Path::new(&process.path()).join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|word| word == mark.as_bytes())
    })
}
