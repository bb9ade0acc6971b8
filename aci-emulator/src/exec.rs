//! exec and attach over `WebSocket`, as the service does it.
//!
//! exec: the first message is the password as text, then stdin as binary frames; output is one
//! merged TTY stream with CRLF and the end of the process closes the socket. attach: the password
//! comes in the `Authorization` header or as first message; output only.

mod host;
mod shell;
mod tty;
mod words;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::{
        Path, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    arm::{lifecycle::Phase, rules, world::Key},
    run::Runner,
    shared::Shared,
};
use shell::Shell;
use tty::{Tty, Wire};

/// Sessions opened and not used yet.
const WAITING: usize = 1000;
const PASSWORD_TIMEOUT: Duration = Duration::from_secs(30);
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How often an attached client is told new lines.
const ATTACH_PERIOD: Duration = Duration::from_millis(200);

/// What a socket is for. No `Debug`: environment and files hold secrets.
pub(crate) enum Session {
    Exec {
        key: Key,
        container: String,
        command: String,
        /// Rows and columns.
        size: (i64, i64),
        environment: BTreeMap<String, String>,
        files: BTreeMap<String, Vec<u8>>,
    },
    Attach {
        key: Key,
        container: String,
    },
}

impl Session {
    /// A process in a container: it sees the container's environment and secret volumes.
    pub(crate) fn exec(
        command: &str,
        size: (i64, i64),
        (key, container): (Key, &str),
        body: &Value,
    ) -> Self {
        let none = Value::Null;
        let properties = body.get("properties").unwrap_or(&none);
        let found = rules::items(properties, "containers")
            .iter()
            .find(|item| rules::text(item, "name") == Some(container));
        let of = found
            .and_then(|item| item.get("properties"))
            .unwrap_or(&none);
        let mut environment = BTreeMap::from([
            ("HOME".to_owned(), "/root".to_owned()),
            ("HOSTNAME".to_owned(), "SandboxHost".to_owned()),
            (
                "PATH".to_owned(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            ),
            ("TERM".to_owned(), "xterm".to_owned()),
        ]);
        for variable in rules::items(of, "environmentVariables") {
            let value =
                rules::text(variable, "value").or_else(|| rules::text(variable, "secureValue"));
            if let (Some(name), Some(value)) = (rules::text(variable, "name"), value) {
                environment.insert(name.to_owned(), value.to_owned());
            }
        }
        let mut files = BTreeMap::new();
        for mount in rules::items(of, "volumeMounts") {
            let volume = rules::items(properties, "volumes")
                .iter()
                .find(|volume| rules::text(volume, "name") == rules::text(mount, "name"));
            let secret = volume
                .and_then(|volume| volume.get("secret"))
                .and_then(Value::as_object);
            let path = rules::text(mount, "mountPath")
                .unwrap_or_default()
                .trim_end_matches('/');
            for (name, value) in secret.into_iter().flatten() {
                let decoded = base64::engine::general_purpose::STANDARD
                    .decode(value.as_str().unwrap_or_default());
                files.insert(format!("{path}/{name}"), decoded.unwrap_or_default());
            }
        }
        Self::Exec {
            key,
            container: container.to_owned(),
            command: command.to_owned(),
            size,
            environment,
            files,
        }
    }

    /// A look at a container's output.
    pub(crate) fn attach(key: Key, container: &str) -> Self {
        Self::Attach {
            key,
            container: container.to_owned(),
        }
    }
}

/// Sessions by id, each for one use.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Cancelled when the open sockets are to break.
    broken: CancellationToken,
    /// Password and session.
    by_id: HashMap<String, (String, Session)>,
    order: VecDeque<String>,
}

impl Sessions {
    /// Adds a session: its id and password.
    pub(crate) fn add(&self, session: Session) -> (String, String) {
        let id = uuid::Uuid::new_v4().to_string();
        // Printable junk with the end marker of the recordings.
        let junk = uuid::Uuid::new_v4()
            .into_bytes()
            .map(|byte| char::from(b'!' + byte % 94));
        let password = format!("{}[[EOM]]", String::from_iter(junk));
        let mut waiting = self.0.lock();
        let Waiting { by_id, order, .. } = &mut *waiting;
        by_id.insert(id.clone(), (password.clone(), session));
        order.push_back(id.clone());
        if order.len() > WAITING {
            order.pop_front().and_then(|old| by_id.remove(&old));
        }
        (id, password)
    }

    fn take(&self, id: &str) -> Option<(String, Session)> {
        self.0.lock().by_id.remove(id)
    }

    /// Breaks the sockets that are open, without a close.
    pub(crate) fn break_open(&self) {
        std::mem::take(&mut self.0.lock().broken).cancel();
    }

    fn broken(&self) -> CancellationToken {
        self.0.lock().broken.clone()
    }
}

/// `GET /execstream/sessionId/{id}`.
pub(crate) async fn exec_stream(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    stream(shared, &id, &headers, upgrade)
}

/// `GET /attachstream/sessionId/{id}`.
pub(crate) async fn attach_stream(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    stream(shared, &id, &headers, upgrade)
}

fn stream(
    shared: Arc<Shared>,
    id: &str,
    headers: &HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some((password, session)) = shared.sessions.take(id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let header = headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == password.as_bytes());
    let tasks = shared.tasks.clone();
    let broken = shared.sessions.broken();
    upgrade.on_upgrade(move |socket| {
        let session = serve(shared, socket, password, header, session);
        tasks.track_future(async move {
            tokio::select! {
                () = session => {}
                () = broken.cancelled() => {}
            }
        })
    })
}

async fn serve(
    shared: Arc<Shared>,
    socket: WebSocket,
    password: String,
    authenticated: bool,
    session: Session,
) {
    let mut wire = SocketWire {
        socket,
        stop: shared.stop.clone(),
    };
    if !authenticated || matches!(session, Session::Exec { .. }) {
        let first = tokio::time::timeout(PASSWORD_TIMEOUT, wire.socket.recv());
        let first = tokio::select! {
            first = first => first,
            () = shared.stop.cancelled() => return,
        };
        let right =
            matches!(&first, Ok(Some(Ok(Message::Text(text)))) if text.as_str() == password);
        if !right {
            wire.close().await;
            return;
        }
    }
    match session {
        Session::Exec {
            key,
            container,
            command,
            size,
            ..
        } if let Some((runner, id)) = real(&shared, &key, &container) => {
            // In a container that has ended a session ends at once.
            if let Some(id) = id {
                let line = runner.exec_line(&id, &command);
                host::on_terminal(&mut wire, &line, size).await;
            }
        }
        Session::Exec {
            key,
            container,
            command,
            size,
            environment,
            ..
        } if shared.config.host_shell => {
            let sigterm = || sigterm(&shared, &key, &container);
            host::exec(&mut wire, &command, &environment, size, sigterm).await;
        }
        Session::Exec {
            key,
            container,
            command,
            environment,
            files,
            ..
        } => {
            let sigterm = || sigterm(&shared, &key, &container);
            let mut shell = Shell::new(Tty::new(&mut wire), environment, files, &sigterm);
            shell.exec(&command).await;
        }
        Session::Attach { key, container } => attach(&shared, &mut wire, &key, &container).await,
    }
    wire.close().await;
}

/// Who runs a container, and as what while it runs; `None` when the clock makes it live.
fn real(shared: &Shared, key: &Key, container: &str) -> Option<(Arc<Runner>, Option<String>)> {
    let runner = shared.runner.as_ref()?;
    let now = shared.clock.now();
    let mut world = shared.world.lock();
    let life = &world.group(key, now)?.life;
    let mut lives = life.containers.iter();
    let found = lives.find(|life| life.name == container)?;
    life.driver
        .is_real()
        .then(|| (Arc::clone(runner), found.real.id.clone()))
}

/// SIGTERM for process 1 of a container; false when it does not run.
fn sigterm(shared: &Shared, key: &Key, container: &str) -> bool {
    let now = shared.clock.now();
    let mut world = shared.world.lock();
    let Some(group) = world.group(key, now) else {
        return false;
    };
    let mut lives = group.life.containers.iter_mut();
    lives
        .find(|life| life.name == container)
        .is_some_and(|life| life.sigterm(now))
}

/// Sends the log as it grows until the container ends or the client goes.
async fn attach(shared: &Shared, wire: &mut SocketWire, key: &Key, container: &str) {
    let mut sent = 0;
    loop {
        let (text, ended) = {
            let now = shared.clock.now();
            let mut world = shared.world.lock();
            let life = world.group(key, now).and_then(|group| {
                group
                    .life
                    .containers
                    .iter()
                    .find(|life| life.name == container)
            });
            let Some(life) = life else { return };
            let (text, total) = life.log.after(sent);
            sent = total;
            (text, matches!(life.phase, Phase::Ended(_)))
        };
        if !text.is_empty() && !wire.send(text.replace('\n', "\r\n").into_bytes()).await {
            return;
        }
        if ended {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(ATTACH_PERIOD) => {}
            received = wire.recv() => if received.is_none() { return },
        }
    }
}

struct SocketWire {
    socket: WebSocket,
    stop: CancellationToken,
}

impl SocketWire {
    async fn close(&mut self) {
        let closing = self.socket.send(Message::Close(None));
        if !matches!(
            tokio::time::timeout(Duration::from_secs(1), closing).await,
            Ok(Ok(()))
        ) {
            tracing::debug!("the socket was gone before its close");
        }
    }
}

impl Wire for SocketWire {
    async fn recv(&mut self) -> Option<Vec<u8>> {
        loop {
            let message = tokio::select! {
                message = self.socket.recv() => message?,
                () = self.stop.cancelled() => return None,
            };
            match message {
                Ok(Message::Binary(bytes)) => return Some(bytes.to_vec()),
                Ok(Message::Text(text)) => return Some(text.as_bytes().to_vec()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(_)) | Err(_) => return None,
            }
        }
    }

    async fn send(&mut self, bytes: Vec<u8>) -> bool {
        let sending = self.socket.send(Message::Binary(Bytes::from(bytes)));
        matches!(
            tokio::time::timeout(SEND_TIMEOUT, sending).await,
            Ok(Ok(()))
        )
    }
}
