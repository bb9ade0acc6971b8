//! Connections on which nobody asks anything: they end, so that they cannot take the places of those who do.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;

/// Times of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From the connection to its first request, TLS not counted; and for the header of each.
    pub(super) header: Duration,
    /// From the end of the last answer to the next request.
    pub(super) idle: Duration,
}

/// Answers under way on one connection.
#[derive(Debug, Clone)]
pub(super) struct Answers(watch::Sender<usize>);

/// One answer under way.
struct Answer(watch::Sender<usize>);

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.send_modify(|answers| *answers -= 1);
    }
}

impl Answers {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    fn begin(&self) -> Answer {
        self.0.send_modify(|answers| *answers += 1);
        Answer(self.0.clone())
    }

    /// Until nobody has asked anything for too long.
    pub(super) async fn idle(&self, limits: Limits) {
        let mut answers = self.0.subscribe();
        let mut limit = limits.header;
        loop {
            let quiet = *answers.borrow_and_update() == 0;
            let changed = answers.changed();
            let changed = if quiet {
                match tokio::time::timeout(limit, changed).await {
                    Ok(changed) => changed,
                    Err(_) => return,
                }
            } else {
                changed.await
            };
            // The sender is ours.
            if changed.is_err() {
                return;
            }
            limit = limits.idle;
        }
    }
}

/// Counts an answer until all of it was sent.
pub(super) async fn count(
    State(answers): State<Answers>,
    request: Request,
    next: Next,
) -> Response {
    let answer = answers.begin();
    next.run(request).await.map(|body| {
        Body::new(Counted {
            body,
            _answer: answer,
        })
    })
}

/// The body of an answer under way.
struct Counted {
    body: Body,
    _answer: Answer,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
