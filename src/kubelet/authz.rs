//! Who may do what at a node: as a kubelet asks it (`SubjectAccessReview` on `nodes/<name>` with a subresource).
//!
//! Source: Kubernetes' page "Kubelet authentication/authorization" and KEP-2862 (fine-grained names first).

use std::time::Duration;

use http::Method;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec};
use kube::Client;

use super::authn::User;
use super::reviews::{Kept, Reviews};
use crate::kube::call::KubeError;

/// A kubelet's own lives of answers (`--authorization-webhook-cache-*-ttl`).
const KEPT: Kept = Kept {
    allowed: Duration::from_mins(5),
    denied: Duration::from_secs(30),
    answers: 1024,
};

/// The RBAC verb of a request; empty for a method that RBAC has no word for. What runs a command or opens a connection is
/// `create` whatever the method: a `WebSocket` begins with GET, and whoever may read is not to run commands for that. PURE.
pub fn verb(method: &Method, path: &str) -> &'static str {
    if ["/exec", "/attach", "/portForward"]
        .iter()
        .any(|root| below(path, root))
    {
        return "create";
    }
    match *method {
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Whether `path` is `root` or below it.
fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The subresources of the node of which one must be allowed, in the order in which they are asked. PURE.
pub fn subresources(path: &str) -> &'static [&'static str] {
    let below = |root| below(path, root);
    if below("/stats") {
        &["stats"]
    } else if below("/metrics") {
        &["metrics"]
    } else if below("/logs") {
        &["log"]
    } else if below("/pods") || below("/runningpods") {
        &["pods", "proxy"]
    } else if below("/healthz") {
        &["healthz", "proxy"]
    } else if below("/configz") {
        &["configz", "proxy"]
    } else {
        &["proxy"]
    }
}

/// Asks the API server, and remembers its answers.
pub struct Authorizer {
    node: String,
    /// By verb and subresource.
    reviews: Reviews<(&'static str, &'static str)>,
}

impl Authorizer {
    /// For requests to `node`; `client` may create `subjectaccessreviews`.
    pub fn new(node: String, client: Client) -> Self {
        Self {
            node,
            reviews: Reviews::new("review access to the kubelet API", client, KEPT),
        }
    }

    /// Whether `user` may do `verb` on any of `subresources`.
    ///
    /// # Errors
    /// The API server could not be asked: the request must then be refused.
    pub async fn allows(
        &self,
        user: &User,
        verb: &'static str,
        subresources: &[&'static str],
    ) -> Result<bool, KubeError> {
        for subresource in subresources {
            let question = || question(&self.node, verb, subresource);
            let action = (verb, *subresource);
            if self.reviews.allows(user, action, question).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn question(node: &str, verb: &str, subresource: &str) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        resource_attributes: Some(ResourceAttributes {
            verb: Some(verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(subresource.to_owned()),
            name: Some(node.to_owned()),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use k8s_openapi::api::authorization::v1::SubjectAccessReview;
    use kube::client::Body;
    use serde_json::json;

    #[test]
    fn paths_and_their_subresources() {
        for (path, expected) in [
            ("/stats/summary", &["stats"][..]),
            ("/stats", &["stats"]),
            ("/metrics", &["metrics"]),
            ("/metrics/resource", &["metrics"]),
            ("/metricsx", &["proxy"]),
            ("/logs/", &["log"]),
            ("/pods", &["pods", "proxy"]),
            ("/pods/", &["pods", "proxy"]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/healthz", &["healthz", "proxy"]),
            ("/healthz/log", &["healthz", "proxy"]),
            ("/configz", &["configz", "proxy"]),
            ("/containerLogs/a/b/c", &["proxy"]),
            ("/exec/a/b/c", &["proxy"]),
            ("/attach/a/b/c", &["proxy"]),
            ("/portForward/a/b", &["proxy"]),
            ("/", &["proxy"]),
            ("/%73tats/summary", &["proxy"]),
        ] {
            assert_eq!(subresources(path), expected, "{path}");
        }
        for (method, path, expected) in [
            (Method::GET, "/pods", "get"),
            (Method::POST, "/pods", "create"),
            (Method::OPTIONS, "/pods", ""),
            (Method::GET, "/containerLogs/a/b/c", "get"),
            (Method::GET, "/exec/a/b/c", "create"),
            (Method::DELETE, "/exec/a/b/c", "create"),
            (Method::GET, "/attach/a/b/c", "create"),
            (Method::GET, "/portForward/a/b", "create"),
            (Method::GET, "/execs", "get"),
        ] {
            assert_eq!(verb(&method, path), expected, "{method} {path}");
        }
    }

    fn user() -> User {
        User {
            name: "metrics".into(),
            ..User::default()
        }
    }

    /// Answers reviews: `allowed` for this subresource, or the failure of the server.
    fn server(
        allowed: &'static str,
        status: u16,
    ) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let client = Client::new(service, "default");
        let task = tokio::spawn(async move {
            let mut asked = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let body = request.into_body().collect_bytes().await.unwrap();
                let review: SubjectAccessReview = serde_json::from_slice(&body).unwrap();
                let about = review.spec.resource_attributes.unwrap();
                assert_eq!(about.name.as_deref(), Some("n1"));
                assert_eq!(about.resource.as_deref(), Some("nodes"));
                let subresource = about.subresource.unwrap();
                let answer = if status == 200 {
                    json!({"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {},
                        "status": {"allowed": subresource == allowed}})
                } else {
                    json!({"kind": "Status", "status": "Failure", "code": status, "message": "no", "reason": "X"})
                };
                asked.push(subresource);
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                send.send_response(Response::builder().status(status).body(body).unwrap());
            }
            asked
        });
        (client, task)
    }

    #[tokio::test(start_paused = true)]
    async fn fine_names_first_and_answers_are_kept_for_their_lives() {
        let (client, asked) = server("proxy", 200);
        let authorizer = Authorizer::new("n1".into(), client);
        let user = user();
        let ask = || authorizer.allows(&user, "get", &["pods", "proxy"]);
        assert!(ask().await.unwrap());
        assert!(ask().await.unwrap());
        tokio::time::advance(Duration::from_secs(31)).await;
        // Only the refusal has died.
        assert!(ask().await.unwrap());
        tokio::time::advance(Duration::from_secs(280)).await;
        assert!(ask().await.unwrap());
        assert!(
            !authorizer
                .allows(&user, "create", &["stats"])
                .await
                .unwrap()
        );
        drop(authorizer);
        assert_eq!(
            asked.await.unwrap(),
            ["pods", "proxy", "pods", "pods", "proxy", "stats"]
        );
    }

    #[tokio::test]
    async fn a_review_that_fails_allows_nothing_and_is_not_kept() {
        let (client, asked) = server("proxy", 500);
        let authorizer = Authorizer::new("n1".into(), client);
        for _ in 0..2 {
            assert!(authorizer.allows(&user(), "get", &["proxy"]).await.is_err());
        }
        drop(authorizer);
        assert_eq!(asked.await.unwrap().len(), 2);
    }
}
