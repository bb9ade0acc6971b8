//! Answers in the shapes that Azure's specification and its recorded traffic have: the client reads every one.

use std::path::{Path, PathBuf};

use serde_json::Value;
use vkc::azure::ErrorClass as C;

use super::*;

fn files(folder: &str) -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<(PathBuf, Value)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, serde_json::from_str(&text).unwrap())
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

/// What the client makes of `answer` to `call`: names of groups, or what else there is.
async fn replay(call: &str, status: u16, body: &Value) -> Result<Vec<String>, AzureError> {
    let server = answering(vec![Answer::json(status, body)]).await;
    let client = client(&server);
    let name = |group: ContainerGroup| {
        assert!(!group.properties.containers.is_empty());
        vec![group.name.unwrap()]
    };
    Ok(match call {
        "put_group" => name(
            client
                .put_group("rg", "g", &ContainerGroup::default())
                .await?,
        ),
        "get_group" => name(client.get_group("rg", "g").await?.unwrap()),
        "patch_tags" => name(client.patch_tags("rg", "g", &BTreeMap::new()).await?),
        "delete_group" => match client.delete_group("rg", "g").await? {
            Deletion::Deleted(Some(last)) => name(*last),
            other => panic!("{other:?}"),
        },
        "list_groups" => {
            // The specification's links lead nowhere.
            let mut page = body.clone();
            page["nextLink"] = Value::Null;
            let server = answering(vec![Answer::json(status, &page)]).await;
            let groups = self::client(&server).list_groups("rg", Some).await?;
            groups.into_iter().flat_map(name).collect()
        }
        "usages" => {
            let usages = client.usages("westus").await?;
            assert!(usages.iter().all(|usage| usage.limit.is_some()));
            usages.into_iter().map(|usage| usage.name.value).collect()
        }
        "container_logs" => {
            let log = client
                .container_logs(("rg", "g", "c"), None, false, None)
                .await?;
            vec![log]
        }
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn answers_in_the_shape_of_the_specification_are_read() {
    let answers = files("tests/fixtures/azure/answers");
    assert!(answers.len() >= 14);
    for (path, answer) in answers {
        let (call, body) = (answer["call"].as_str().unwrap(), &answer["body"]);
        let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
        let read = replay(call, status, body).await;
        let read = read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(
            !read.is_empty() && read.iter().all(|it| !it.is_empty()),
            "{}: {read:?}",
            path.display()
        );
    }
}

#[tokio::test]
async fn recorded_answers_are_read() {
    let mut read = 0;
    for (path, traffic) in files("aci-emulator/tests/fixtures/live") {
        let uri = traffic["request"]["uri"].as_str().unwrap_or_default();
        let method = traffic["request"]["method"].as_str().unwrap_or_default();
        let path_of_uri = uri.split('?').next().unwrap();
        let call = match method {
            _ if path_of_uri.contains("/operations/") => continue,
            "PUT" => "put_group",
            "DELETE" => "delete_group",
            "GET" if path_of_uri.ends_with("/containerGroups") => "list_groups",
            "GET" if path_of_uri.ends_with("/logs") => "container_logs",
            "GET" => "get_group",
            // exec is played against the emulator; what is no call of ours is not read.
            _ => continue,
        };
        let status = u16::try_from(traffic["response"]["status"].as_u64().unwrap()).unwrap();
        replay(call, status, &traffic["response"]["body"])
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        read += 1;
    }
    assert!(read >= 6, "{read}");
}

/// The class of each error on record.
const ERRORS: &[(&str, C)] = &[
    ("400-ContainerGroupQuotaReached", C::Quota),
    (
        "400-ContainerLimitGreaterThanContainerGroupTotalRequest",
        C::Invalid,
    ),
    ("400-InaccessibleImage", C::Image),
    ("400-InvalidOsType", C::Invalid),
    ("400-InvalidRequestContent", C::Invalid),
    ("400-OsVersionNotSupported", C::Image),
    ("400-ResourceRequestsNotSpecified", C::Invalid),
    ("400-SubnetMissingRequiredDelegation", C::Subnet),
    ("401-ExpiredAuthenticationToken", C::Unauthenticated),
    ("401-InvalidAuthenticationToken", C::Unauthenticated),
    ("403-AuthorizationFailed", C::Forbidden),
    ("403-LinkedAuthorizationFailed", C::Forbidden),
    ("404-ContainerLogNotAvailable", C::Transitioning),
    ("404-ResourceGroupNotFound", C::ResourceGroupNotFound),
    ("404-ResourceNotFound", C::NotFound),
    ("404-SubscriptionNotFound", C::SubscriptionNotFound),
    ("409-ContainerGroupTransitioning", C::Transitioning),
    (
        "409-MissingSubscriptionRegistration",
        C::ProviderNotRegistered,
    ),
    ("409-RegistryErrorResponse", C::Registry),
    ("409-ServiceUnavailable-capacity", C::Capacity),
    ("429-SubscriptionRequestsThrottled", C::Throttled),
    ("429-TooManyRequests", C::Throttled),
    ("503-ServerTimeout", C::Unavailable),
];

#[tokio::test]
async fn errors_on_record_have_their_class_and_keep_their_words() {
    let errors = files("tests/fixtures/azure/errors");
    let names: Vec<String> = errors
        .iter()
        .map(|(path, _)| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let known: Vec<&str> = ERRORS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known);
    for ((name, class), (_, recorded)) in ERRORS.iter().zip(&errors) {
        let status = u16::try_from(recorded["status"].as_u64().unwrap()).unwrap();
        let mut answer = Answer::json(status, &recorded["body"]);
        let asked = recorded["headers"]["Retry-After"].as_str();
        if let Some(seconds) = asked {
            answer = answer.with("retry-after", seconds);
        }
        let server = answering(vec![answer]).await;
        let error = client(&server)
            .put_group("rg", "g", &ContainerGroup::default())
            .await
            .unwrap_err();
        assert_eq!(
            (error.class, error.status),
            (*class, Some(status)),
            "{name}"
        );
        let said = &recorded["body"]["error"];
        assert_eq!(error.code, said["code"].as_str().unwrap(), "{name}");
        assert_eq!(error.message, said["message"].as_str().unwrap(), "{name}");
        let asked = asked.map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
        assert_eq!(error.retry_after, asked, "{name}");
    }
}
