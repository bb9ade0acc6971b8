//! What the API server says of what a user may do (`SubjectAccessReview`), remembered for a while.

use std::hash::Hash;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::authn::User;
use super::cache::Cache;
use crate::kube::call::{KubeError, TIMEOUT, call};

/// Questions to the API server at once.
const QUESTIONS: usize = 16;

/// How answers are kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// How long a permission counts.
    pub allowed: Duration,
    /// How long a refusal counts.
    pub denied: Duration,
    /// So many at most.
    pub answers: usize,
}

/// Asks whether users may do what `A` says, and remembers the answers.
pub struct Reviews<A> {
    /// What is reviewed, for errors and metrics.
    what: &'static str,
    client: Client,
    kept: Kept,
    epoch: Instant,
    answers: Mutex<Cache<(User, A), bool>>,
    questions: Semaphore,
}

impl<A: Hash + Eq + Clone> Reviews<A> {
    /// `client` may create `subjectaccessreviews`.
    pub fn new(what: &'static str, client: Client, kept: Kept) -> Self {
        Self {
            what,
            client,
            kept,
            epoch: Instant::now(),
            answers: Mutex::new(Cache::new(kept.answers)),
            questions: Semaphore::new(QUESTIONS),
        }
    }

    /// Whether `user` may do `action`, which `question` puts in the API's words (who asks is added).
    ///
    /// # Errors
    /// The API server could not be asked: the request must then be refused. Nothing is remembered of it.
    pub async fn allows(
        &self,
        user: &User,
        action: A,
        question: impl FnOnce() -> SubjectAccessReviewSpec,
    ) -> Result<bool, KubeError> {
        let key = (user.clone(), action);
        if let Some(answer) = self.answers.lock().get(&key, self.epoch.elapsed()) {
            return Ok(answer);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: user.uid.clone(),
                groups: Some(user.groups.clone()),
                extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
                ..question()
            },
            ..SubjectAccessReview::default()
        };
        let ask = async {
            // Only a closed semaphore fails, and this one is never closed.
            let _turn = self.questions.acquire().await.ok();
            let api = Api::<SubjectAccessReview>::all(self.client.clone());
            api.create(&PostParams::default(), &review).await
        };
        let answer = call(self.what, TIMEOUT, ask).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        let life = if allowed {
            self.kept.allowed
        } else {
            self.kept.denied
        };
        let now = self.epoch.elapsed();
        self.answers.lock().put(key, allowed, now, life);
        Ok(allowed)
    }
}
