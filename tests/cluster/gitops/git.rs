//! A Git server on this machine: git's own `http-backend` behind HTTP.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio_util::task::AbortOnDropHandle;

/// Longest request: what a client asks for, not what it gets.
const MAX_BODY: usize = 1 << 20;

/// One repository, a clone of it to write in, and its server.
pub(super) struct Git {
    dir: tempfile::TempDir,
    url: String,
    _server: AbortOnDropHandle<()>,
}

impl Git {
    pub(super) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        git(
            dir.path(),
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                "fleet.git",
            ],
        );
        git(dir.path(), &["clone", "--quiet", "fleet.git", "work"]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/fleet.git", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(answer)
            .with_state(dir.path().to_owned());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            dir,
            url,
            _server: AbortOnDropHandle::new(server),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where files are put before [`Git::push`].
    pub(super) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        let file = self.work().join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    pub(super) fn remove(&self, file: &str) {
        std::fs::remove_file(self.work().join(file)).unwrap();
    }

    /// Commits everything, and gives the revision as Flux writes it.
    pub(super) fn push(&self, message: &str) -> String {
        let work = self.work();
        git(&work, &["add", "--all"]);
        let who = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
        git(
            &work,
            &[&who[..], &["commit", "--quiet", "--message", message]].concat(),
        );
        git(&work, &["push", "--quiet", "origin", "HEAD:main"]);
        let head = git(&work, &["rev-parse", "HEAD"]);
        format!("main@sha1:{}", head.trim())
    }
}

#[track_caller]
fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// CGI (RFC 3875), as far as `git http-backend` needs it.
async fn answer(State(root): State<PathBuf>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await.unwrap();
    let header = |name: &str| {
        let value = head.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&body).await.unwrap();
    let output = child.wait_with_output().await.unwrap().stdout;
    response(&output)
}

fn response(output: &[u8]) -> Response<Body> {
    let end = output.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let (head, body) = (&output[..end], &output[end + 4..]);
    let mut response = Response::new(Body::from(Bytes::copy_from_slice(body)));
    for line in std::str::from_utf8(head).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name.eq_ignore_ascii_case("status") {
            *response.status_mut() = StatusCode::from_bytes(&value.as_bytes()[..3]).unwrap();
        } else {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            response
                .headers_mut()
                .insert(name, HeaderValue::from_str(value).unwrap());
        }
    }
    response
}
