//! The end of a credential, where it is known: a metric at all times, and an Event a day in the last two weeks.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::preflight::credentials::expiry_warning;
use super::validate::Resolved;
use crate::api::VirtualKubeletConnector;
use crate::kube::events::{Event, EventType, Events, Origin};

/// Reason of the Event.
const CREDENTIALS_EXPIRING: &str = "CredentialsExpiring";

/// Sees what is known of all connectors, for metrics.
pub trait Observer: Send + Sync {
    /// When the credential of a connector ends, in seconds of the epoch; `None` when that is not known, or the connector
    /// is gone.
    fn credential_expiry(&self, connector: &str, seconds: Option<i64>);
    /// The removal of a node has left so many container groups in Azure.
    fn groups_left(&self, connector: &str, groups: u32);
}

impl Observer for () {
    fn credential_expiry(&self, _: &str, _: Option<i64>) {}
    fn groups_left(&self, _: &str, _: u32) {}
}

/// An end that the observer knows; it is told when this goes.
pub(super) struct ExpiryMetricGuard {
    connector: String,
    expires: DateTime<Utc>,
    observer: Arc<dyn Observer>,
    /// The warning that was given last.
    warned: String,
}

impl std::fmt::Debug for ExpiryMetricGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExpiryMetricGuard")
            .field("connector", &self.connector)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Drop for ExpiryMetricGuard {
    fn drop(&mut self) {
        self.observer.credential_expiry(&self.connector, None);
    }
}

/// Shows the end of what was resolved in `expiry`, and warns of it when it is near.
pub(super) fn watch_expiry(
    expiry: &mut Option<ExpiryMetricGuard>,
    connector: &VirtualKubeletConnector,
    resolved: &Resolved,
    observer: &Arc<dyn Observer>,
    events: &Events,
) {
    let Some(expires) = resolved.expires else {
        *expiry = None;
        return;
    };
    if expiry.as_ref().is_none_or(|shown| shown.expires != expires) {
        // The old one goes first: it takes the figure with it.
        *expiry = None;
    }
    let shown = expiry.get_or_insert_with(|| ExpiryMetricGuard {
        connector: connector.name_any(),
        expires,
        observer: observer.clone(),
        warned: String::new(),
    });
    shown
        .observer
        .credential_expiry(&shown.connector, Some(expires.timestamp()));
    let Some(warning) = expiry_warning(expires, &resolved.source, Utc::now()) else {
        return;
    };
    if shown.warned == warning.id {
        return;
    }
    shown.warned.clone_from(&warning.id);
    let now = Timestamp::now();
    events.emit(Event {
        origin: Some(Origin {
            id: warning.id,
            first: now,
            last: now,
            count: 1,
        }),
        regarding: connector.object_ref(&()),
        related: None,
        reason: CREDENTIALS_EXPIRING.to_owned(),
        action: "CheckCredentials",
        note: warning.note,
        kind: EventType::Warning,
    });
}
