//! A started emulator and a client that trusts it.

use std::time::{Duration, Instant};

use aci_emulator::{Config, Control, Emulator, Subnet};
use reqwest::{Client, Method, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

pub(crate) const VERSION: &str = "2023-05-01";
pub(crate) const DELAY: Duration = Duration::from_millis(60);

pub(crate) struct Test {
    pub(crate) emulator: Emulator,
    pub(crate) control: Control,
    pub(crate) http: Client,
    pub(crate) config: Config,
    token: String,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or_else(|_| json!(text))
        };
        Self {
            status,
            headers,
            body,
        }
    }

    pub(crate) fn code(&self) -> (u16, &str) {
        (
            self.status.as_u16(),
            self.body["error"]["code"].as_str().unwrap_or_default(),
        )
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn quick() -> Config {
    Config {
        start_delay: DELAY,
        serve_pages: false,
        ..Config::default()
    }
}

impl Test {
    pub(crate) async fn start() -> Self {
        Self::with(quick()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let emulator = Emulator::start(config.clone()).await.unwrap();
        let ca = reqwest::Certificate::from_pem(emulator.ca_pem().as_bytes()).unwrap();
        let http = Client::builder()
            .tls_certs_only([ca])
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let mut test = Self {
            control: emulator.control(),
            emulator,
            http,
            config,
            token: String::new(),
        };
        test.token = test.new_token().await;
        // The one of the large body.
        let subnet = Subnet::new("n", "v", "aci", "eastus");
        test.control.set_subnet(subnet);
        test
    }

    pub(crate) async fn new_token(&self) -> String {
        let (client, secret) = (
            self.config.client_id.clone(),
            self.config.client_secret.clone(),
        );
        let scope = "https%3A%2F%2Fmanagement.azure.com%2F.default";
        let form = format!(
            "grant_type=client_credentials&client_id={client}&client_secret={secret}&scope={scope}"
        );
        let reply = self.ask_token(&self.config.tenant_id, &form).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body["access_token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn ask_token(&self, tenant: &str, form: &str) -> Reply {
        let request = self.http.post(format!(
            "{}/{tenant}/oauth2/v2.0/token",
            self.emulator.url()
        ));
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned());
        Reply::of(request.send().await.unwrap()).await
    }

    pub(crate) fn set_token(&mut self, token: &str) {
        token.clone_into(&mut self.token);
    }

    /// `path` is absolute, or begins after the subscription.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> reqwest::Result<Reply> {
        let url = if path.starts_with("https:") {
            path.to_owned()
        } else {
            format!(
                "{}/subscriptions/{}{path}",
                self.emulator.url(),
                self.config.subscription_id
            )
        };
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(Reply::of(request.send().await?).await)
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        self.try_send(method, path, body).await.unwrap()
    }

    pub(crate) async fn get(&self, name: &str) -> Reply {
        self.send(Method::GET, &group_path(name, ""), None).await
    }

    pub(crate) async fn put(&self, name: &str, body: &Value) -> Reply {
        self.send(Method::PUT, &group_path(name, ""), Some(body))
            .await
    }

    pub(crate) async fn delete(&self, name: &str) -> Reply {
        self.send(Method::DELETE, &group_path(name, ""), None).await
    }

    pub(crate) async fn post(&self, name: &str, rest: &str, body: Option<&Value>) -> Reply {
        self.send(Method::POST, &group_path(name, rest), body).await
    }

    /// Puts a group and waits until it runs.
    pub(crate) async fn running(&self, name: &str, body: &Value) -> Value {
        let reply = self.put(name, body).await;
        assert!(reply.status.is_success(), "{}", reply.body);
        self.until(name, |group| {
            group["properties"]["provisioningState"] == "Succeeded"
        })
        .await
    }

    /// Asks until the group is as wanted; ten seconds at most.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let group = self.control.group(name).unwrap();
            if wanted(&group) {
                return group;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{group:#}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) const RP: &str = "/providers/Microsoft.ContainerInstance";

pub(crate) fn group_path(name: &str, rest: &str) -> String {
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("/{name}")
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    format!("/resourceGroups/aci-rg{RP}/containerGroups{name}{rest}?api-version={VERSION}&{query}")
}

/// A fixture of `tests/fixtures`.
pub(crate) fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The smallest group that is accepted.
pub(crate) fn small() -> Value {
    json!({"location": "eastus", "properties": {
        "osType": "Linux", "restartPolicy": "Never",
        "containers": [{"name": "web", "properties": {"image": "nginx:1", "resources": {"requests": {"cpu": 1.0, "memoryInGB": 1.5}}}}],
    }})
}

/// A group with everything a pod has.
pub(crate) fn large() -> Value {
    let mut body = fixture("pod.json");
    let subscription = Config::default().subscription_id;
    let id = format!(
        "/subscriptions/{subscription}/resourceGroups/n/providers/Microsoft.Network/virtualNetworks/v/subnets/aci"
    );
    body["properties"]["subnetIds"] = json!([{"id": id}]);
    body
}
