//! Writes of a client whose fence is closed are not sent, however late it closes; reads go on.

use std::sync::atomic::AtomicBool;

use vkc::fence::{Closed, Fence, NotHeld, Target};

use super::*;

/// Open until it is closed.
#[derive(Debug, Default)]
struct Switch(AtomicBool);

impl Fence for Switch {
    fn allow(&self, target: Target) -> Result<(), NotHeld> {
        if self.0.load(Ordering::SeqCst) {
            Closed("c".to_owned()).allow(target)
        } else {
            Ok(())
        }
    }
}

fn refused(error: &AzureError) {
    assert_eq!(error.code, "ConnectorNotHeld");
    assert!(error.is_retryable() && !error.may_have_taken_effect());
}

#[tokio::test]
async fn what_writes_is_not_sent_and_what_reads_is() {
    let server = answering(vec![Answer::json(200, &group("g"))]).await;
    let log = Arc::new(Log::default());
    let fence = Arc::new(Switch::default());
    let client = client_with(&server.address, &server, log.clone()).fenced(fence.clone());
    let body = ContainerGroup::default();
    client.put_group("rg", "g", &body).await.unwrap();
    fence.0.store(true, Ordering::SeqCst);
    refused(&client.put_group("rg", "g", &body).await.unwrap_err());
    refused(&client.delete_group("rg", "g").await.unwrap_err());
    refused(&client.stop_group("rg", "g").await.unwrap_err());
    refused(
        &client
            .patch_tags("rg", "g", &BTreeMap::new())
            .await
            .unwrap_err(),
    );
    let exec = client
        .exec(("rg", "g", "main"), "/bin/sh", (24, 80), None)
        .await;
    refused(&exec.unwrap_err());
    client.get_group("rg", "g").await.unwrap();
    let sent: Vec<String> = server.calls().into_iter().map(|call| call.method).collect();
    assert_eq!(sent, ["PUT", "GET"]);
    let told: Vec<_> = log.0.lock().iter().map(|(_, status)| *status).collect();
    assert_eq!(told, [Some(200), Some(200)], "nothing else was a call");
}

#[tokio::test]
async fn a_fence_that_closes_while_the_token_is_fetched_holds_the_write_back() {
    let fence = Arc::new(Switch::default());
    let closing = fence.clone();
    let server = Server::start_raw(move |seen| {
        if seen.target.contains("oauth2") {
            closing.0.store(true, Ordering::SeqCst);
            return Answer::token("token-1");
        }
        Answer::json(200, &group("g"))
    })
    .await;
    let client = client(&server).fenced(fence);
    let body = ContainerGroup::default();
    refused(&client.put_group("rg", "g", &body).await.unwrap_err());
    assert_eq!(server.token_requests(), 1);
    assert!(server.calls().is_empty(), "{:?}", server.calls());
}

#[tokio::test]
async fn a_new_credential_keeps_the_fence() {
    let server = answering(vec![Answer::json(200, &group("g"))]).await;
    let client = client(&server).fenced(Arc::new(Closed("c".to_owned())));
    client.replace_credential(credential("another")).unwrap();
    refused(&client.delete_group("rg", "g").await.unwrap_err());
    assert!(server.calls().is_empty());
}
