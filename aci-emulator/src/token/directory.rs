//! Who there is in the tenant, what proves it, and the tokens that were issued.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use super::assertion::Certificate;
use crate::{clock::Time, config::Config};

/// Tokens kept before the expired ones are thrown out.
const TOKENS: usize = 10_000;
/// Exchanges and request bodies kept.
const EXCHANGES: usize = 10_000;
/// Assertions remembered, to know one that is used again.
const ASSERTIONS: usize = 10_000;

/// Principals and issued tokens. No `Debug`: it holds secrets.
pub(crate) struct Entra {
    clients: HashMap<String, Client>,
    tokens: HashMap<String, Issued>,
    issued: u64,
    exchanges: VecDeque<Exchange>,
    bodies: VecDeque<String>,
    pub(super) machine: Machine,
}

/// An application, or a managed identity.
pub(super) struct Client {
    secret: Option<String>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) object_id: String,
    used: VecDeque<String>,
}

/// The managed identities of the machine whose metadata service this is, by client ID.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) system: Option<String>,
    pub(super) user: Vec<String>,
}

#[derive(Clone)]
pub(super) struct Issued {
    pub(super) object_id: String,
    pub(super) audience: String,
    pub(super) expires: Time,
    /// Counts the tokens.
    pub(super) number: u64,
}

/// What a client has shown for its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Proof {
    /// A client secret.
    Secret,
    /// An assertion signed with a certificate.
    Certificate,
    /// A token of an issuer that the client trusts.
    Federated,
    /// Its place: the machine that asked.
    Machine,
}

/// A token that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// Number of the token: 1, 2, …; requests to ARM are recorded with it.
    pub token: u64,
    /// To whom.
    pub client_id: String,
    /// For what.
    pub audience: String,
    /// Why.
    pub proof: Proof,
}

impl Client {
    pub(super) fn has_secret(&self, secret: &str) -> bool {
        self.secret.as_deref() == Some(secret)
    }

    /// Whether an assertion with this `jti` was shown before; from now on it was.
    pub(super) fn is_used(&mut self, jti: &str) -> bool {
        if self.used.iter().any(|used| used == jti) {
            return true;
        }
        if self.used.len() >= ASSERTIONS {
            self.used.pop_front();
        }
        self.used.push_back(jti.to_owned());
        false
    }
}

impl Entra {
    pub(crate) fn new(config: &Config) -> Self {
        let mut entra = Self {
            clients: HashMap::new(),
            tokens: HashMap::new(),
            issued: 0,
            exchanges: VecDeque::new(),
            bodies: VecDeque::new(),
            machine: Machine::default(),
        };
        entra.set_client(&config.client_id, &config.client_secret);
        entra.machine.user.push(config.client_id.to_lowercase());
        entra
    }

    pub(super) fn client(&mut self, id: &str) -> Option<&mut Client> {
        self.clients.get_mut(&id.to_lowercase())
    }

    fn make(&mut self, id: &str) -> &mut Client {
        self.clients
            .entry(id.to_lowercase())
            .or_insert_with(|| Client {
                secret: None,
                certificates: Vec::new(),
                object_id: uuid::Uuid::new_v4().to_string(),
                used: VecDeque::new(),
            })
    }

    /// Adds a client or changes its secret; tokens it has stay valid.
    pub(crate) fn set_client(&mut self, id: &str, secret: &str) {
        self.make(id).secret = Some(secret.to_owned());
    }

    /// Adds a client or changes its certificates; tokens it has stay valid. False when `pem` has what is none.
    pub(crate) fn set_certificates(&mut self, id: &str, pem: &str) -> bool {
        let certificates = Certificate::read(pem);
        let good = certificates.is_some();
        self.make(id).certificates = certificates.unwrap_or_default();
        good
    }

    /// Sets the managed identities of the machine.
    pub(crate) fn assign(&mut self, system: Option<&str>, user: &[&str]) {
        for id in system.iter().chain(user) {
            self.make(id);
        }
        self.machine = Machine {
            system: system.map(str::to_lowercase),
            user: user.iter().map(|id| id.to_lowercase()).collect(),
        };
    }

    /// Makes every token unknown.
    pub(crate) fn revoke(&mut self) {
        self.tokens.clear();
    }

    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.iter().cloned().collect()
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.bodies.iter().cloned().collect()
    }

    pub(super) fn keep_body(&mut self, body: &str) {
        if self.bodies.len() >= EXCHANGES {
            self.bodies.pop_front();
        }
        self.bodies.push_back(body.to_owned());
    }

    pub(super) fn token(&self, token: &str) -> Option<Issued> {
        self.tokens.get(token).cloned()
    }

    pub(super) fn issue(
        &mut self,
        token: String,
        mut issued: Issued,
        client_id: &str,
        proof: Proof,
        now: Time,
    ) {
        if self.tokens.len() >= TOKENS {
            self.tokens.retain(|_, issued| issued.expires > now);
        }
        self.issued += 1;
        issued.number = self.issued;
        if self.exchanges.len() >= EXCHANGES {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(Exchange {
            token: self.issued,
            client_id: client_id.to_lowercase(),
            audience: issued.audience.clone(),
            proof,
        });
        self.tokens.insert(token, issued);
    }
}
