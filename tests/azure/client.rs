//! The ARM client against a scripted TLS server: what it sends, and what it makes of every kind of answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;
use vkc::azure::model::{ContainerGroup, SecretText};
use vkc::azure::{
    ArmClient, AzureError, Credential, Deletion, Endpoints, ErrorClass, Limiters, Observer,
};

mod calls;
mod faults;
mod fenced;
mod recorded;
mod tokens;

use crate::server::{Answer, Seen, Server};

const SECRET: &str = "not-to-be-seen";
const GROUPS: &str =
    "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.ContainerInstance/containerGroups";

fn credential(secret: &str) -> Credential {
    Credential::ServicePrincipalSecret {
        tenant_id: "tenant".to_owned(),
        client_id: "client".to_owned(),
        secret: SecretText::new(secret.to_owned()),
    }
}

fn client_with(arm: &str, server: &Server, observer: Arc<dyn Observer>) -> ArmClient {
    let endpoints = Endpoints::custom(arm, &server.address, None, Some(&server.ca_base64)).unwrap();
    ArmClient::new(
        endpoints,
        "sub".to_owned(),
        credential(SECRET),
        &Limiters::new(),
        observer,
    )
    .unwrap()
}

fn client_as(credential: Credential, server: &Server) -> ArmClient {
    let endpoints = Endpoints::custom(
        &server.address,
        &server.address,
        None,
        Some(&server.ca_base64),
    )
    .unwrap();
    ArmClient::new(
        endpoints,
        "sub".to_owned(),
        credential,
        &Limiters::new(),
        Arc::new(()),
    )
    .unwrap()
}

fn client(server: &Server) -> ArmClient {
    client_with(&server.address, server, Arc::new(()))
}

/// A server that gives the answers in turn and repeats the last one.
async fn answering(answers: Vec<Answer>) -> Server {
    let next = AtomicUsize::new(0);
    Server::start(move |_| {
        let index = next.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        answers[index].clone()
    })
    .await
}

fn group(name: &str) -> serde_json::Value {
    json!({"name": name, "location": "eastus", "properties": {"provisioningState": "Pending", "containers": null}})
}

#[derive(Default)]
struct Log(Mutex<Vec<(&'static str, Option<u16>)>>);

impl Observer for Log {
    fn call(&self, operation: &'static str, status: Option<u16>, _: Duration) {
        self.0.lock().push((operation, status));
    }
    fn throttled(&self, class: &'static str, _: Duration) {
        self.0.lock().push((class, None));
    }
}
