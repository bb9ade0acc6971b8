//! exec and attach: ARM opens a session, whose `WebSocket` is elsewhere ([`crate::azure::exec`]).

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::{ArmClient, parse};
use crate::azure::error::AzureError;
use crate::azure::exec::{Authentication, Socket, connect};
use crate::azure::model::SecretText;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecRequest<'a> {
    command: &'a str,
    terminal_size: Size,
}

#[derive(Serialize)]
struct Size {
    rows: u16,
    cols: u16,
}

/// Where a session's socket is, and the word that opens it (ARM: `ContainerExecResponse`, `ContainerAttachResponse`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    web_socket_uri: String,
    #[serde(default)]
    password: SecretText,
}

impl ArmClient {
    /// Starts `command`, one program without arguments, on a terminal of this size in a container (ARM: Containers -
    /// Execute Command), and connects to it. `asked_by`: see [`PermitRequest`](crate::azure::throttle::PermitRequest).
    pub async fn exec(
        &self,
        (rg, group, container): (&str, &str, &str),
        command: &str,
        (rows, cols): (u16, u16),
        asked_by: Option<u64>,
    ) -> Result<Socket, AzureError> {
        let body = ExecRequest {
            command,
            terminal_size: Size { rows, cols },
        };
        let url = self.group_url(rg, &[group, "containers", container, "exec"])?;
        let call = Call::post("exec", url).with(&body)?.asked_by(asked_by);
        let session: Session = parse(&self.send(&call).await?)?;
        let client = self.sockets.sockets();
        let password = Authentication::FirstMessage(session.password);
        connect(client, &session.web_socket_uri, password).await
    }

    /// Connects to the output of a container from now on (ARM: Containers - Attach).
    pub async fn attach(
        &self,
        (rg, group, container): (&str, &str, &str),
        asked_by: Option<u64>,
    ) -> Result<Socket, AzureError> {
        let url = self.group_url(rg, &[group, "containers", container, "attach"])?;
        let call = Call::post("attach", url).asked_by(asked_by);
        let session: Session = parse(&self.send(&call).await?)?;
        let client = self.sockets.sockets();
        let password = Authentication::HeaderAndFirstMessage(session.password);
        connect(client, &session.web_socket_uri, password).await
    }
}
