//! The heartbeat: the Lease of the node in `kube-node-lease`, as a kubelet keeps it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::kube::backoff::{Backoff, jitter};
use crate::kube::call::{KubeError, call, optional};

/// Namespace of all node leases.
pub(super) const NAMESPACE: &str = "kube-node-lease";
/// A kubelet's `nodeLeaseDurationSeconds`.
const DURATION_SECONDS: i32 = 40;
/// A kubelet renews every quarter of the duration, with 4 % of jitter (its `nodelease` controller).
const RENEW_EVERY: Duration = Duration::from_secs(10);
const RENEW_JITTER: f64 = 0.04;

/// Longest pause between two attempts. Shorter than a kubelet's 7 s, because the first renewal after an outage of the API
/// server is what brings the Node back.
const RETRY_CAP: Duration = Duration::from_millis(1500);
/// A Lease that was not renewed for so long may have cost the Node its Ready condition.
const OUTAGE: Duration = Duration::from_secs(20);

/// Renews the Lease for as long as the future is polled. Starts when the Node's uid is known; a new uid (the Node was
/// recreated) is written at once. Notifies `recovered` when a renewal succeeds after a time without.
pub(super) async fn keep(
    client: Client,
    node: &str,
    mut uid: watch::Receiver<Option<String>>,
    recovered: &Notify,
) {
    let api = Api::<Lease>::namespaced(client, NAMESPACE);
    let mut latest: Option<Lease> = None;
    let mut backoff = Backoff::new(Duration::from_millis(200), RETRY_CAP);
    let mut renewed_at = None::<Instant>;
    loop {
        let owner = uid.borrow_and_update().clone();
        let wait = match &owner {
            None => RENEW_EVERY,
            Some(owner) => match renew(&api, node, owner, latest.take()).await {
                Ok(lease) => {
                    latest = Some(lease);
                    backoff.reset();
                    let before = renewed_at.replace(Instant::now());
                    if before.is_some_and(|before| before.elapsed() >= OUTAGE) {
                        tracing::info!(node, "the node lease is renewed again");
                        recovered.notify_one();
                    }
                    jitter(RENEW_EVERY, RENEW_JITTER)
                }
                Err(error) => {
                    tracing::warn!(node, %error, "the node lease was not renewed");
                    backoff.next_delay()
                }
            },
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = uid.changed() => if changed.is_err() { return },
        }
    }
}

/// One renewal. `latest` is what the API server last answered; after any error the next attempt starts from a GET.
async fn renew(
    api: &Api<Lease>,
    node: &str,
    uid: &str,
    latest: Option<Lease>,
) -> Result<Lease, KubeError> {
    let params = PostParams::default();
    let live = match latest {
        Some(lease) => Some(lease),
        None => optional("get the node's Lease", RENEW_EVERY, api.get(node)).await?,
    };
    match live {
        None => {
            let lease = renewed(Lease::default(), node, uid, Timestamp::now());
            call(
                "create the node's Lease",
                RENEW_EVERY,
                api.create(&params, &lease),
            )
            .await
        }
        Some(live) => {
            let lease = renewed(live, node, uid, Timestamp::now());
            call(
                "renew the node's Lease",
                RENEW_EVERY,
                api.replace(node, &params, &lease),
            )
            .await
        }
    }
}

/// The Lease to write. PURE.
fn renewed(mut lease: Lease, node: &str, uid: &str, now: Timestamp) -> Lease {
    lease.metadata = ObjectMeta {
        name: Some(node.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        resource_version: lease.metadata.resource_version,
        uid: lease.metadata.uid,
        owner_references: Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.to_owned(),
            uid: uid.to_owned(),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    };
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(node.to_owned()),
        lease_duration_seconds: Some(DURATION_SECONDS),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    });
    lease
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Method, Request, Response};
    use kube::client::Body;
    use parking_lot::Mutex;

    use super::*;

    /// An API server that is away from the first minute to the eleventh. Says when it was asked.
    fn server(began: Instant, asked: Arc<Mutex<Vec<Instant>>>) -> Client {
        let away = Duration::from_mins(1)..Duration::from_mins(11);
        let service = tower::service_fn(move |request: Request<Body>| {
            asked.lock().push(Instant::now());
            let refused = away.contains(&began.elapsed());
            async move {
                if refused {
                    return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
                }
                let code = if request.method() == Method::POST {
                    201
                } else {
                    200
                };
                let lease = renewed(Lease::default(), "n", "uid", Timestamp::UNIX_EPOCH);
                let body = Body::from(serde_json::to_vec(&lease)?);
                Ok(Response::builder().status(code).body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn ten_minutes_without_the_api_server_end_with_a_renewal_within_two_seconds_that_is_told_once()
     {
        for _ in 0..20 {
            let began = Instant::now();
            let asked = Arc::new(Mutex::new(Vec::new()));
            let client = server(began, asked.clone());
            let (_uid, uid) = watch::channel(Some("uid".to_owned()));
            let recovered = Notify::new();
            let told = async {
                recovered.notified().await;
                let late = began.elapsed() - Duration::from_mins(11);
                assert!(late <= Duration::from_secs(2), "{late:?} after the return");
                let again = recovered.notified();
                let again = tokio::time::timeout(Duration::from_mins(5), again).await;
                assert!(again.is_err(), "told twice");
            };
            tokio::select! {
                () = keep(client, "n", uid, &recovered) => panic!("it ended"),
                () = told => {}
            }
            let asked = asked.lock();
            let away = asked.iter().map(|at| *at - began);
            let away = away.filter(|at| (60..660).contains(&at.as_secs())).count();
            assert!(
                (300..=600).contains(&away),
                "{away} attempts in ten minutes"
            );
        }
    }

    #[test]
    fn a_lease_looks_as_a_kubelets() {
        let now = Timestamp::from_second(100).unwrap();
        let mut live = renewed(Lease::default(), "n", "old", now);
        live.metadata.resource_version = Some("5".to_owned());
        let lease = renewed(live, "n", "new", now);
        let spec = lease.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("n"));
        assert_eq!(spec.lease_duration_seconds, Some(40));
        assert_eq!(spec.renew_time, Some(MicroTime(now)));
        assert_eq!(lease.metadata.owner_references.unwrap()[0].uid, "new");
        assert_eq!(lease.metadata.resource_version.as_deref(), Some("5"));
    }
}
