//! Sessions in the containers of this node's pods.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::console::{Console, Settings};
use super::script::Mark;
use super::{
    Attached, Command, ExecError, Exit, Output, Streams, TerminalSize, dialog, remark, shim,
};
use crate::api::Os;
use crate::azure::AzureError;
use crate::azure::exec::{Driver, Socket};
use crate::azure::throttle::{CallPriority, asked_by};
use crate::provider::Aci;
use crate::translate::PodKey;
use vkc_shim::session::{Task, What};
use vkc_shim::spec::SHELL as SHIM_SHELL;

/// How long the client's terminal has to tell its size: ACI takes it at the start or never.
const SIZE: Duration = Duration::from_millis(300);
/// Told to who attaches with an input.
const NO_INPUT: &str = "Azure shows the output of a container and takes no input for it: use kubectl exec -i, or set stdin: true on the container";
/// The shell that every command goes through on Linux, except where the shim is: that becomes this shell, with the rights and the
/// environment of the container's program.
const SHELL: &str = "/bin/sh";

impl Aci {
    /// Runs `command` in a container until it ends; `asked` by a user, or by a probe that goes on and on: then the session waits
    /// for the turn of its namespace.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub(in crate::provider) async fn run_command(
        &self,
        pod: &PodKey,
        container: &str,
        command: &Command,
        mut streams: Streams,
        asked: bool,
    ) -> Result<Exit, ExecError> {
        let Some(program) = command.argv.first() else {
            return Err(ExecError::NoCommand);
        };
        let size = match (&mut streams.resize, command.tty) {
            (Some(resize), true) => tokio::time::timeout(SIZE, resize.recv()).await,
            _ => Ok(None),
        };
        let size = size.ok().flatten().unwrap_or_default();
        let settings = Settings::default();
        let asked = asked.then(|| asked_by(&pod.namespace));
        if self.os() == Os::Windows {
            // Nothing between us and the program: its arguments are ACI's to split, its exit code nobody's to know.
            let words = command.argv.join(" ");
            let (console, driver) = self.open(pod, container, &words, size, asked).await?;
            return drive(driver, dialog::raw(console, settings, streams)).await;
        }
        let shell = self.shell(pod, container).await?;
        if shell == SHIM_SHELL {
            let what = shim::program(command, streams.stdin.is_some(), size);
            let led = self.lead((pod, container), what, size, asked, &mut streams);
            match led.await {
                // One that is older than its operator: it can become the shell of the image.
                Err(ExecError::NoShim(_)) => {}
                ended => return ended,
            }
        }
        let (console, driver) = self.open(pod, container, shell, size, asked).await?;
        let mark = Mark::new(RandomState::new().hash_one(container));
        let run = dialog::run(console, settings, &mark, command, &mut streams);
        match drive(driver, run).await {
            // An image without `/bin/sh` may still have the one program that was asked for.
            Err(ExecError::NoShell(_))
                if command.tty && command.argv.len() == 1 && shell == SHELL =>
            {
                let (console, driver) = self.open(pod, container, program, size, asked).await?;
                drive(driver, dialog::raw(console, settings, streams)).await
            }
            result => result,
        }
    }

    /// Has the shim in a container do `task`, with `orders` where it reads some.
    ///
    /// # Errors
    /// See [`ExecError`]. What ends the container may end the session, too: [`ExecError::Lost`].
    pub(in crate::provider) async fn have_shim_do(
        &self,
        pod: &PodKey,
        container: &str,
        task: Task,
        orders: Option<&[u8]>,
    ) -> Result<(), ExecError> {
        let program = task.program();
        let size = TerminalSize::default();
        let (console, driver) = self.open(pod, container, &program, size, None).await?;
        drive(driver, shim::run_task(console, Settings::default(), orders)).await
    }

    /// Sends SIGTERM to the program of a container; how the `kill` of its shell ended.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub(in crate::provider) async fn sigterm(
        &self,
        pod: &PodKey,
        container: &str,
    ) -> Result<Exit, ExecError> {
        let shell = self.shell(pod, container).await?;
        if shell == SHIM_SHELL {
            let done = self.have_shim_do(pod, container, Task::Terminate, None);
            match done.await {
                Ok(()) | Err(ExecError::Lost) => return Ok(Exit::Code(0)),
                // One that is older than its operator.
                Err(ExecError::NoShim(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let size = TerminalSize::default();
        let (console, driver) = self.open(pod, container, shell, size, None).await?;
        let mark = Mark::new(RandomState::new().hash_one(container));
        drive(driver, dialog::signal(console, Settings::default(), &mark)).await
    }

    /// Kills the program of a container whose first process is the shim.
    ///
    /// # Errors
    /// [`ExecError::NoShim`] where it is not; else as of [`Aci::sigterm`].
    pub(in crate::provider) async fn sigkill(
        &self,
        pod: &PodKey,
        container: &str,
    ) -> Result<(), ExecError> {
        if self.os() == Os::Windows || self.shell(pod, container).await? != SHIM_SHELL {
            return Err(ExecError::NoShim(String::new()));
        }
        match self.have_shim_do(pod, container, Task::Kill, None).await {
            Ok(()) | Err(ExecError::Lost) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Shows what a container writes from now on, until it ends. What the client types reaches the program where that has an input or
    /// a terminal of its own.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub(in crate::provider) async fn attach_to(
        &self,
        pod: &PodKey,
        container: &Attached<'_>,
        mut streams: Streams,
    ) -> Result<Exit, ExecError> {
        let name = container.name;
        let asked = Some(asked_by(&pod.namespace));
        if container.has_own && self.shell(pod, name).await? == SHIM_SHELL {
            let size = TerminalSize::default();
            let led = self.lead((pod, name), What::Attach, size, asked, &mut streams);
            // How the program has ended is the pod's to say.
            return led.await.map(|_| Exit::Unknown);
        }
        let group = self.group_name(pod);
        let of = (self.scope.resource_group.as_str(), &*group, name);
        let socket = self
            .arm
            .attach(of, asked)
            .await
            .map_err(ExecError::Attach)?;
        if streams.stdin.is_some() {
            // Who is gone needs no remark.
            let _ = streams.output.send(remark(NO_INPUT)).await;
        }
        let (console, driver) = parts(socket);
        drive(driver, follow(console, container.tty, streams)).await
    }

    /// Has the shim in one of the `running` containers be a connection to `port`.
    ///
    /// # Errors
    /// See [`ExecError`]; [`ExecError::NoShim`] where none has it.
    pub(in crate::provider) async fn be_connection(
        &self,
        pod: &PodKey,
        running: &[String],
        port: u16,
        mut streams: Streams,
    ) -> Result<Exit, ExecError> {
        let with = self.with_shim(pod).await?;
        let container = running.iter().find(|name| with.contains(name));
        let Some(container) = container.filter(|_| self.os() == Os::Linux) else {
            return Err(ExecError::NoShim(String::new()));
        };
        let (size, asked) = (TerminalSize::default(), Some(asked_by(&pod.namespace)));
        self.lead(
            (pod, container),
            What::Port(port),
            size,
            asked,
            &mut streams,
        )
        .await
    }

    /// Has the shim in a container lead a session.
    async fn lead(
        &self,
        (pod, container): (&PodKey, &str),
        what: What,
        size: TerminalSize,
        asked: Option<u64>,
        streams: &mut Streams,
    ) -> Result<Exit, ExecError> {
        let program = Task::Run.program();
        let (console, driver) = self.open(pod, container, &program, size, asked).await?;
        drive(
            driver,
            shim::run(console, Settings::default(), what, streams),
        )
        .await
    }

    /// The shell of a container. Nothing else is ever started in one with the shim: Azure starts it with the rights that the
    /// container begins with, which are root's where the shim needs them.
    pub(in crate::provider) async fn shell(
        &self,
        pod: &PodKey,
        container: &str,
    ) -> Result<&'static str, AzureError> {
        let with = self.with_shim(pod).await?;
        let has_shim = with.iter().any(|name| name == container);
        Ok(if has_shim { SHIM_SHELL } else { SHELL })
    }

    /// The containers of `pod` that have the shim. Its group is looked at when it was not seen yet.
    async fn with_shim(&self, pod: &PodKey) -> Result<Arc<[String]>, AzureError> {
        let name = self.group_name(pod);
        if let Some(with) = self.shims.with(&name) {
            return Ok(with);
        }
        let group = &self.scope.resource_group;
        let seen = self
            .arm
            .look_at_group(group, &name, CallPriority::Interactive);
        if let Some(seen) = seen.await? {
            self.shims.note(&name, &seen);
        }
        Ok(self.shims.with(&name).unwrap_or_default())
    }

    async fn open(
        &self,
        pod: &PodKey,
        container: &str,
        command: &str,
        size: TerminalSize,
        asked: Option<u64>,
    ) -> Result<(Console, Driver), AzureError> {
        let group = self.group_name(pod);
        let of = (self.scope.resource_group.as_str(), &*group, container);
        let size = (size.rows, size.columns);
        let socket = self.arm.exec(of, command, size, asked).await?;
        Ok(parts(socket))
    }
}

fn parts(socket: Socket) -> (Console, Driver) {
    let console = Console {
        input: socket.input,
        output: socket.output,
    };
    (console, socket.driver)
}

/// Runs a session and what moves its messages. What was shown last is read before a broken connection counts.
async fn drive<T>(
    driver: Driver,
    session: impl Future<Output = Result<T, ExecError>>,
) -> Result<T, ExecError> {
    let (moved, ended) = tokio::join!(driver.run(), session);
    match (moved, ended) {
        (Err(error), Err(ExecError::Lost | ExecError::NoShell(_) | ExecError::NoShim(_))) => {
            Err(error.into())
        }
        (_, ended) => ended,
    }
}

/// Passes output on. ACI shows it as a terminal would, with CR LF; to a client without a terminal newlines are newlines.
async fn follow(console: Console, tty: bool, streams: Streams) -> Result<Exit, ExecError> {
    let Streams { output, gone, .. } = streams;
    let Console {
        input: _input,
        output: mut shown,
    } = console;
    let mut held = false;
    loop {
        let bytes = tokio::select! {
            bytes = shown.recv() => bytes,
            () = gone.cancelled() => None,
        };
        let Some(bytes) = bytes else { break };
        let bytes = if tty {
            bytes
        } else {
            Bytes::from(without_returns(&bytes, &mut held))
        };
        if output.send((Output::Stdout, bytes)).await.is_err() {
            break;
        }
    }
    Ok(Exit::Unknown)
}

/// `bytes` with CR LF as LF; `held` is a CR at the end of what came before.
fn without_returns(bytes: &[u8], held: &mut bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 1);
    for byte in bytes {
        if std::mem::take(held) && *byte != b'\n' {
            out.push(b'\r');
        }
        if *byte == b'\r' {
            *held = true;
        } else {
            out.push(*byte);
        }
    }
    out
}
