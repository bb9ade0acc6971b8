//! The last look before a write leaves: after the limiter's turn, and again after the token was had.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Method, Request};

use crate::azure::error::{AzureError, ErrorClass};
use crate::causes::causes;
use crate::fence::{self, Fence, NotHeld, Target};

/// The fence of one client, if it has one.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<OnceLock<Arc<dyn Fence>>>);

impl Gate {
    pub(super) fn close_with(&self, fence: Arc<dyn Fence>) {
        // The first one stays: who holds a client cannot widen what it may do.
        let _ = self.0.set(fence);
    }

    fn check(&self, method: Method) -> Result<(), NotHeld> {
        match self.0.get() {
            Some(fence) if method != Method::Get && method != Method::Head => {
                fence.allow(Target::Azure)
            }
            _ => Ok(()),
        }
    }

    /// Whether a call of this method may be sent.
    pub(super) fn allow(&self, method: Method) -> Result<(), AzureError> {
        self.check(method).map_err(|refused| not_sent(&refused))
    }

    /// The same as a step of the pipeline. It belongs behind the one that gets the token.
    pub(super) fn policy(&self) -> Arc<dyn Policy> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Policy for Gate {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        self.check(request.method())
            .map_err(|refused| azure_core::Error::new(ErrorKind::Other, refused))?;
        let Some((transport, rest)) = next.split_first() else {
            return Err(azure_core::Error::with_message(
                ErrorKind::Other,
                "the pipeline has no transport",
            ));
        };
        transport.send(ctx, request, rest).await
    }
}

/// The refusal of the fence in an error of the pipeline. Unlike a broken connection it leaves no doubt: nothing was sent.
pub(super) fn refusal(error: &azure_core::Error) -> Option<AzureError> {
    let mut refusals = causes(error).filter_map(|cause| cause.downcast_ref::<NotHeld>());
    refusals.next().map(not_sent)
}

/// Passes soon, one way or the other; nothing happened in Azure.
fn not_sent(refused: &NotHeld) -> AzureError {
    AzureError::local(ErrorClass::Connection, fence::REASON, &refused.to_string())
}
