//! The reader of images against the emulator's registry, and against a server that says what no registry would.

use std::sync::Arc;
use std::time::Duration;

use aci_emulator::{Access, Config, Emulator, Fault, Image, ImagePlatform};
use futures::future::join_all;
use parking_lot::Mutex;
use vkc::azure::model::SecretText;
use vkc::net::Networks;
use vkc::registry::{Login, Observer, Platform, Registries, Registry, RegistryError};

mod hostile;

const PASSWORD: &str = "hush:do-not-tell";

/// Where the registries of these tests are.
fn loopback() -> Networks {
    Networks::new(["127.0.0.0/8", "::1"].map(|text| text.parse().unwrap()))
}

fn login(password: &str) -> Login {
    Login {
        username: "robot".to_owned(),
        password: SecretText::new(password.to_owned()),
    }
}

fn image(name: &str, access: Access) -> Image {
    let old = ImagePlatform {
        os_version: Some("10.0.17763.1".to_owned()),
        ..ImagePlatform::new("windows", &["old.exe"])
    };
    let new = ImagePlatform {
        os_version: Some("10.0.20348.1".to_owned()),
        ..ImagePlatform::new("windows", &["new.exe"])
    };
    let linux = ImagePlatform::new("linux", &["/app", "--serve"]);
    let arm = ImagePlatform {
        architecture: "arm64".to_owned(),
        ..ImagePlatform::new("linux", &["/arm"])
    };
    Image {
        name: name.to_owned(),
        access,
        platforms: vec![arm, old, linux, new],
    }
}

/// What looks came to.
#[derive(Default)]
struct Looks(Mutex<Vec<&'static str>>);

impl Observer for Looks {
    fn look(&self, outcome: &'static str) {
        self.0.lock().push(outcome);
    }
}

struct Test {
    emulator: Emulator,
    looks: Arc<Looks>,
    registry: Registry,
}

impl Test {
    async fn start() -> Self {
        crate::server::install_tls_provider();
        let config = Config {
            serve_pages: false,
            ..Config::default()
        };
        let emulator = Emulator::start(config).await.unwrap();
        let looks = Arc::new(Looks::default());
        let registry = Registry::new(
            Some(emulator.ca_pem().as_bytes()),
            loopback(),
            looks.clone(),
        )
        .unwrap();
        Self {
            emulator,
            looks,
            registry,
        }
    }

    fn push(&self, name: &str, access: Access) -> String {
        self.emulator.control().push_image(&image(name, access))
    }

    async fn read(
        &self,
        name: &str,
        platform: Platform,
        login: Option<&Login>,
    ) -> Result<Vec<String>, RegistryError> {
        let name = format!("{}/{name}", self.emulator.registry());
        let read = self
            .registry
            .configuration("ns", &name, platform, login)
            .await;
        read.map(|image| image.entry_point.clone())
    }

    /// Paths that were asked for, without the names of contents.
    fn paths(&self) -> Vec<String> {
        let requests = self.emulator.control().requests().into_iter();
        requests
            .map(|request| request.path.split("sha256:").next().unwrap().to_owned())
            .collect()
    }
}

fn refused(login: bool) -> impl Fn(&RegistryError) -> bool {
    move |error| matches!(error, RegistryError::Unauthorized { login: with, .. } if *with == login)
}

#[tokio::test]
async fn each_way_of_access_and_each_platform() {
    let test = Test::start().await;
    let (username, password) = ("robot".to_owned(), PASSWORD.to_owned());
    let bearer = Access::Bearer {
        username: username.clone(),
        password: password.clone(),
    };
    let basic = Access::Basic { username, password };
    let right = login(PASSWORD);
    for (name, access, login) in [
        ("open:1", Access::Anonymous, None),
        ("deep/er/hub:1", Access::Token, None),
        ("team/bearer:1", bearer, Some(&right)),
        ("team/basic:1", basic, Some(&right)),
    ] {
        let digest = test.push(name, access);
        let by_digest = format!("{}@{digest}", name.split(':').next().unwrap());
        for name in [name, &by_digest] {
            let linux = test.read(name, Platform::Linux, login).await;
            assert_eq!(linux.unwrap(), ["/app", "--serve"], "{name}");
            let windows = test.read(name, Platform::Windows, login).await;
            assert_eq!(windows.unwrap(), ["new.exe"], "{name}");
        }
    }
    let wrong = login("wrong");
    for name in ["team/bearer:1", "team/basic:1"] {
        for login in [None, Some(&wrong)] {
            let error = test.read(name, Platform::Linux, login).await.unwrap_err();
            assert!(refused(login.is_some())(&error), "{name}: {error}");
            let told = format!("{error} {error:?} {login:?}");
            assert!(!told.contains("wrong"), "{told}");
        }
    }
    let requests = test.emulator.control().requests();
    assert!(
        requests
            .iter()
            .any(|request| request.path.starts_with("/registry/store/") && request.status == 200)
    );
}

#[tokio::test]
async fn what_is_not_there_and_what_is_for_others() {
    let test = Test::start().await;
    test.push("open:1", Access::Anonymous);
    let one = Image {
        name: "single:1".to_owned(),
        access: Access::Anonymous,
        platforms: vec![ImagePlatform::new("windows", &[])],
    };
    test.emulator.control().push_image(&one);
    let host = test.emulator.registry().to_owned();
    let missing = RegistryError::NotFound { host };
    for name in ["open:2", "nowhere/at-all"] {
        let read = test.read(name, Platform::Linux, None).await;
        assert_eq!(read, Err(missing.clone()), "{name}");
    }
    let read = test.read("single:1", Platform::Linux, None).await;
    assert_eq!(read, Err(RegistryError::Platform(Platform::Linux)));
    let read = test.read("single:1", Platform::Windows, None).await;
    assert_eq!(read, Ok(vec![]), "an image without an entry point");
    let looks = test.looks.0.lock().clone();
    assert_eq!(looks, ["not_found", "not_found", "other_platform", "ok"]);
}

#[tokio::test]
async fn a_burst_asks_once_and_another_user_asks_for_himself() {
    let test = Test::start().await;
    let digest = test.push("busy:1", Access::Anonymous);
    let all = (0..100).map(|_| test.read("busy:1", Platform::Linux, None));
    for read in join_all(all).await {
        assert_eq!(read.unwrap(), ["/app", "--serve"]);
    }
    let host = test.emulator.registry();
    let once = [
        "/v2/busy/manifests/1",
        "/v2/busy/manifests/",
        "/v2/busy/blobs/",
        "/registry/store/busy@",
    ];
    assert_eq!(test.paths(), once, "{host}");
    let somebody = login(PASSWORD);
    test.read("busy:1", Platform::Linux, Some(&somebody))
        .await
        .unwrap();
    assert_eq!(test.paths().len(), 8);
    let by_digest = format!("busy:gone@{digest}");
    test.read(&by_digest, Platform::Linux, None).await.unwrap();
    test.read(&by_digest, Platform::Linux, None).await.unwrap();
    assert_eq!(test.paths().len(), 12);
    // A failure counts, too, for a while.
    for _ in 0..3 {
        test.read("gone:1", Platform::Linux, None)
            .await
            .unwrap_err();
    }
    let looks = test.looks.0.lock().clone();
    assert_eq!(looks, ["ok", "ok", "ok", "not_found"]);
}

#[tokio::test]
async fn failures_that_pass() {
    let test = Test::start().await;
    let control = test.emulator.control();
    let host = test.emulator.registry().to_owned();
    let unavailable = |status, retry_after: Option<u64>| RegistryError::Unavailable {
        host: host.clone(),
        status,
        retry_after: retry_after.map(Duration::from_secs),
    };
    // Each tag is a look of its own.
    for (tag, status, asked, expected) in [
        ("a", 429, Some(7), unavailable(429, Some(7))),
        ("b", 429, Some(100_000), unavailable(429, Some(300))),
        ("c", 503, None, unavailable(503, None)),
        ("d", 500, None, unavailable(500, None)),
    ] {
        test.push(&format!("hello:{tag}"), Access::Anonymous);
        control.inject(Fault {
            path_contains: Some("/v2/hello".to_owned()),
            status,
            retry_after: asked,
            ..Fault::default()
        });
        let name = format!("hello:{tag}");
        let error = test.read(&name, Platform::Linux, None).await.unwrap_err();
        assert_eq!(error, expected);
        assert!(error.is_transient());
    }
    test.push("hello:e", Access::Anonymous);
    control.inject(Fault {
        path_contains: Some("/registry/store".to_owned()),
        drop_connection: true,
        times: 10,
        ..Fault::default()
    });
    let error = test
        .read("hello:e", Platform::Linux, None)
        .await
        .unwrap_err();
    assert_eq!(error.outcome(), "unreachable", "{error}");
    // The address of a blob is as good as a password.
    assert!(!error.to_string().contains("sig="), "{error}");
}

#[tokio::test]
async fn only_trusted_registries_are_read() {
    let test = Test::start().await;
    let registries = Registries::new(loopback(), Arc::new(()));
    let name = format!("{}/hello:1", test.emulator.registry());
    let stranger = registries.get(None).unwrap();
    let error = stranger
        .configuration("ns", &name, Platform::Linux, None)
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { reason, .. } if reason.contains("certificate")),
        "{error}"
    );
    let ca = Some(test.emulator.ca_pem().as_bytes());
    let trusting = registries.get(ca).unwrap();
    assert!(Arc::ptr_eq(&trusting, &registries.get(ca).unwrap()));
    let image = trusting
        .configuration("ns", &name, Platform::Windows, None)
        .await;
    assert_eq!(image.unwrap().entry_point, ["C:\\hello.exe"]);
}
