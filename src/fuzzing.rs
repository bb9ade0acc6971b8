//! What strangers write, as any bytes: each is read or refused, without a panic and in bounded memory. `fuzz/` drives these rooms
//! by coverage; the tests here by chance.
#![allow(clippy::missing_panics_doc, reason = "a panic is what is looked for")]

use azure_core::http::RawResponse;
use azure_core::http::headers::Headers;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vkc_shim::session::What;

use crate::azure::AzureError;
use crate::azure::model::ContainerGroup;
use crate::kube::sent::SentPod;
use crate::kubelet::logs::lines;
use crate::kubelet::logs::seen::{Seen, Step};
use crate::provider::exec::Streams;
use crate::provider::exec::console::{Console, Settings};
use crate::provider::exec::scan::{Event, Scanner};
use crate::provider::exec::script::Mark;
use crate::provider::exec::shim::run;
use crate::translate::{facts, status_of_group, status_patch};

/// An answer of Azure Resource Manager: a container group, which becomes a status of a pod, or an error.
pub fn arm(bytes: &[u8]) {
    let answer = RawResponse::from_bytes(409.into(), Headers::new(), bytes.to_vec());
    let error = AzureError::from_answer(&answer, b"");
    assert!(error.message.len() <= 4 << 10, "{}", error.message.len());
    let Ok(group) = serde_json::from_slice::<ContainerGroup>(bytes) else {
        return;
    };
    let Some(facts) = facts(&pod()) else {
        return;
    };
    let status = status_of_group(&facts, &group, Some("10.0.0.1"), Timestamp::UNIX_EPOCH);
    let _ = status_patch(&facts, &status);
}

/// A pod of two containers.
fn pod() -> Pod {
    let mut pod = Pod::default();
    let meta = &mut pod.metadata;
    (meta.name, meta.namespace, meta.uid) = (
        Some("p".to_owned()),
        Some("n".to_owned()),
        Some("u".to_owned()),
    );
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some("node".to_owned());
    for name in ["c", "d"] {
        let mut container = k8s_openapi::api::core::v1::Container::default();
        name.clone_into(&mut container.name);
        spec.containers.push(container);
    }
    pod
}

/// A registry: the name of an image, a challenge, a manifest.
pub fn registry(bytes: &[u8]) {
    crate::registry::any_bytes(bytes);
}

/// A container that speaks in a session: the first byte says how long the parts are in which it comes.
pub fn exec(bytes: &[u8]) {
    let Some((part, said)) = bytes.split_first() else {
        return;
    };
    for tty in [false, true] {
        let mut scanner = Scanner::new(&Mark::new(42), tty);
        let mut length = 0;
        for part in said.chunks(usize::from(*part).max(1)) {
            for event in scanner.feed(part) {
                if let Event::Output(_, bytes) = event {
                    length += bytes.len();
                }
            }
        }
        assert!(length <= said.len(), "more than was said");
        assert!(scanner.preface().len() <= 1 << 10);
    }
}

/// A container that speaks as the shim in a session: the first byte says how long the parts are in which it comes.
pub fn shim(bytes: &[u8]) {
    let Some((part, said)) = bytes.split_first() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let Ok(runtime) = runtime else { return };
    let shown = runtime.block_on(async {
        let (input, mut typed) = mpsc::channel(1);
        let (say, output) = mpsc::channel(1);
        let (show, mut seen) = mpsc::channel(1);
        let mut streams = Streams {
            stdin: None,
            output: show,
            resize: None,
            gone: CancellationToken::new(),
        };
        let session = async move {
            let console = Console { input, output };
            // However it ends, it ends.
            let _ = run(console, Settings::default(), What::Port(1), &mut streams).await;
        };
        let saying = async move {
            for part in said.chunks(usize::from(*part).max(1)) {
                if say.send(Bytes::copy_from_slice(part)).await.is_err() {
                    return;
                }
            }
        };
        let typing = async move { while typed.recv().await.is_some() {} };
        let counting = async move {
            let mut length = 0;
            while let Some((_, bytes)) = seen.recv().await {
                length += bytes.len();
            }
            length
        };
        tokio::join!(session, saying, typing, counting).3
    });
    assert!(shown <= said.len(), "more than was said");
}

/// The log of a container, looked at twice.
pub fn logs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for timed in [false, true] {
        let half = (0..=text.len() / 2)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        let before = text.get(..half.unwrap_or(0)).unwrap_or_default();
        for most in [Some(0), Some(3), None] {
            let end = lines::end_of(&text, timed, most);
            assert!(text.ends_with(end));
        }
        let mut seen = Seen::default();
        seen.begin(&lines::last(before, timed, usize::MAX));
        let window = lines::last(&text, timed, usize::MAX);
        if let Step::New(pieces) | Step::Gap(pieces) = seen.look(&window, true, true) {
            let length: usize = pieces.iter().map(|piece| piece.text.len()).sum();
            assert!(length <= text.len(), "more than was logged");
        }
    }
}

/// A pod, as the API server sends it.
pub fn sent_pod(bytes: &[u8]) {
    const MOST: usize = 16 << 10;
    let Ok(sent) = serde_json::from_slice::<SentPod<MOST>>(bytes) else {
        return;
    };
    assert!(sent.excess.is_some() || sent.bytes <= MOST);
    let _ = facts(&sent.pod);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Something that is read, to be spoilt.
    const WHOLE: [&str; 10] = [
        r#"{"name":"g","tags":{"a":"b"},"properties":{"provisioningState":"Succeeded","containers":[{"name":"c","properties":{"image":"i","instanceView":{"restartCount":2,"currentState":{"state":"Terminated","exitCode":1,"startTime":"2026-09-01T10:00:00Z"},"events":[{"name":"Pulled","count":1}]}}}],"instanceView":{"state":"Running","events":[]}}}"#,
        r#"{"error":{"code":"QuotaExceeded","message":"no","details":[{"code":"x","message":"y"}]}}"#,
        r#"Bearer realm="https://auth.example.com/token",service="r",scope="repository:a/b:pull", Basic realm="x""#,
        "registry.example.com:5000/a/b:v1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        r#"{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","platform":{"os":"linux","architecture":"amd64"}}]}"#,
        r#"{"config":{"Entrypoint":["/e"],"Cmd":["c"],"User":"1","WorkingDir":"/w"}}"#,
        "2026-01-02T03:04:05.123456789Z one\n2026-01-02T03:04:05Z two\nthree",
        r#"{"metadata":{"name":"p","namespace":"n","uid":"u","labels":{"a":"b"}},"spec":{"nodeName":"n","containers":[{"name":"c","env":[{"name":"A","value":"x"}]}],"volumes":[{"name":"v","projected":{"sources":[{}]}}]},"status":{"phase":"Running"}}"#,
        "\u{1}^?42e\r\n^?42s\nout\n^?42x7\n",
        "\u{8}vkc-shim 1 ready\r\nvkc-shim 1 begun\nvkc-shim 1 out YWJj\nvkc-shim 1 more\nvkc-shim 1 err eA==\nvkc-shim 1 ended 7\n",
    ];
    const ROOMS: [fn(&[u8]); 6] = [arm, registry, exec, shim, logs, sent_pod];

    #[test]
    fn what_is_whole_is_read() {
        for whole in WHOLE {
            for room in ROOMS {
                room(whole.as_bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for room in ROOMS {
                room(&bytes);
            }
        }

        #[test]
        fn what_is_spoilt_is_read_or_refused(
            whole in 0..WHOLE.len(),
            edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), any::<u8>(), 0..4_u8), 1..12),
        ) {
            let mut bytes = WHOLE[whole].as_bytes().to_vec();
            for (at, other, byte, edit) in edits {
                let (at, other) = (at.index(bytes.len()), other.index(bytes.len()));
                let (from, to) = (at.min(other), at.max(other));
                match edit {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    2 => drop(bytes.drain(from..to.min(from + 40))),
                    _ => {
                        let again = bytes[from..to].to_vec();
                        bytes.splice(at..at, again);
                    }
                }
                if bytes.is_empty() || bytes.len() > 1 << 16 {
                    break;
                }
            }
            for room in ROOMS {
                room(&bytes);
            }
        }
    }
}
