use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Request, StatusCode};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const SCOPE: &str = "https://management.azure.com/.default";

fn secret() -> Credential {
    Credential::ServicePrincipalSecret {
        tenant_id: "Tenant".to_owned(),
        client_id: "CLIENT".to_owned(),
        secret: SecretText::new("hush".to_owned()),
    }
}

fn managed(client_id: Option<&str>) -> Credential {
    Credential::ManagedIdentity {
        client_id: client_id.map(str::to_owned),
        metadata: MetadataHost::default(),
    }
}

#[test]
fn debug_and_principal_hold_no_secret() {
    let shown = format!("{:?} {}", secret(), secret().principal());
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn the_same_application_is_the_same_principal() {
    let workload = Credential::WorkloadIdentity {
        tenant_id: "tenant\n".to_owned(),
        client_id: "Client".to_owned(),
        token_file: PathBuf::from("/token"),
    };
    assert_eq!(secret().principal(), "sp/tenant/client");
    assert_eq!(workload.principal(), secret().principal());
    assert_eq!(managed(Some("A")).principal(), "mi/a");
    assert_eq!(managed(None).principal(), "mi/system-assigned");
}

/// Stands where the metadata service does, or the token service.
#[derive(Debug)]
struct Metadata {
    answer: Option<(u16, &'static str)>,
    seen: Mutex<Vec<String>>,
    bodies: Mutex<Vec<String>>,
}

impl Metadata {
    fn new(answer: Option<(u16, &'static str)>) -> Arc<Self> {
        Arc::new(Self {
            answer,
            seen: Mutex::default(),
            bodies: Mutex::default(),
        })
    }
}

#[async_trait]
impl HttpClient for Metadata {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let flag = request.headers().get_optional_str(&"metadata".into());
        self.seen
            .lock()
            .push(format!("{} {}", flag.unwrap_or("-"), request.url()));
        if let azure_core::http::Body::Bytes(body) = request.body() {
            let body = String::from_utf8(body.to_vec()).unwrap();
            self.bodies.lock().push(body);
        }
        let Some((status, body)) = self.answer else {
            return Err(azure_core::Error::with_message(
                ErrorKind::Io,
                "nobody there",
            ));
        };
        let status = StatusCode::from(status);
        Ok(AsyncRawResponse::from_bytes(status, Headers::new(), body))
    }
}

async fn ask(
    credential: &Credential,
    service: &Arc<Metadata>,
) -> Result<AccessToken, azure_core::Error> {
    let service: Arc<dyn HttpClient> = Arc::<Metadata>::clone(service);
    TokenSource::new(credential, &Endpoints::public(), service)
        .unwrap()
        .get_token(&[SCOPE], None)
        .await
}

#[tokio::test]
async fn a_managed_identity_asks_the_metadata_service_of_its_machine() {
    for (credential, id) in [
        (managed(None), ""),
        (managed(Some("c-1\n")), "&client_id=c-1"),
    ] {
        let service = Metadata::new(Some((
            200,
            r#"{"access_token":"t","expires_on":"4102444800","resource":"r","token_type":"Bearer"}"#,
        )));
        let token = ask(&credential, &service).await.unwrap();
        assert_eq!(token.token.secret(), "t");
        let wanted = format!(
            "true http://169.254.169.254/metadata/identity/oauth2/token?api-version=2019-08-01&resource=https%3A%2F%2Fmanagement.azure.com{id}"
        );
        assert_eq!(*service.seen.lock(), [wanted]);
    }
}

#[tokio::test]
async fn what_the_metadata_service_refuses_is_told_apart() {
    let not_found = r#"{"error":"invalid_request","error_description":"Identity not found"}"#;
    let throttled = r#"{"error":"invalid_request","error_description":"Temporarily throttled, too many requests"}"#;
    let unknown = r#"{"error":"invalid_resource","error_description":"AADSTS500011: The resource principal named x was not found"}"#;
    for (answer, class, code, text) in [
        (
            Some((400, not_found)),
            ErrorClass::BadCredentials,
            "IdentityNotAssigned",
            "Identity not found",
        ),
        (
            Some((400, unknown)),
            ErrorClass::BadCredentials,
            "AADSTS500011",
            "audience",
        ),
        (Some((404, "")), ErrorClass::Identity, "TokenRefused", "404"),
        (
            Some((429, throttled)),
            ErrorClass::Identity,
            "TokenRefused",
            "429",
        ),
        (
            Some((500, "<html>")),
            ErrorClass::Identity,
            "TokenRefused",
            "500",
        ),
        (
            None,
            ErrorClass::Identity,
            "MetadataUnreachable",
            "169.254.169.254",
        ),
    ] {
        let service = Metadata::new(answer);
        let error = AzureError::from_pipeline(&ask(&managed(None), &service).await.unwrap_err());
        assert_eq!((error.class, error.code.as_str()), (class, code), "{error}");
        assert!(error.message.contains(text), "{text:?} not in {error}");
        assert_eq!(service.seen.lock().len(), 1, "no repeats inside");
    }
}

#[tokio::test]
async fn each_cloud_has_its_own_authority_and_audience() {
    let custom = Endpoints::custom(
        "https://arm.test",
        "https://login.test",
        Some("api://x"),
        None,
    );
    for (endpoints, authority, resource) in [
        (
            Endpoints::public(),
            "https://login.microsoftonline.com",
            "https://management.azure.com",
        ),
        (
            Endpoints::us_government(),
            "https://login.microsoftonline.us",
            "https://management.usgovcloudapi.net",
        ),
        (
            Endpoints::china(),
            "https://login.chinacloudapi.cn",
            "https://management.chinacloudapi.cn",
        ),
        (custom.unwrap(), "https://login.test", "api://x"),
    ] {
        let ask = async |credential: &Credential| {
            let service = Metadata::new(Some((
                200,
                r#"{"access_token":"t","expires_in":3600,"expires_on":"4102444800","resource":"r","token_type":"Bearer"}"#,
            )));
            let transport: Arc<dyn HttpClient> = Arc::<Metadata>::clone(&service);
            let source = TokenSource::new(credential, &endpoints, transport).unwrap();
            let scope = endpoints.scope.as_str();
            source.get_token(&[scope], None).await.unwrap();
            let (urls, bodies) = (service.seen.lock().clone(), service.bodies.lock().clone());
            assert_eq!((urls.len(), bodies.len()), (1, 1));
            (urls[0].clone(), bodies[0].clone())
        };
        let encoded = resource.replace(':', "%3A").replace('/', "%2F");
        let endpoint = format!("{authority}/Tenant/oauth2/v2.0/token");

        let (url, body) = ask(&secret()).await;
        assert_eq!(url, format!("- {endpoint}"));
        let scope = format!("scope={encoded}%2F.default");
        assert!(body.split('&').any(|member| member == scope), "{body}");

        let certificate = Credential::ServicePrincipalCertificate {
            tenant_id: "Tenant".to_owned(),
            client_id: "CLIENT".to_owned(),
            pem: SecretText::new(include_str!("certificate/good.pem").to_owned()),
        };
        let (url, body) = ask(&certificate).await;
        assert_eq!(url, format!("- {endpoint}"));
        assert!(body.split('&').any(|member| member == scope), "{body}");
        let assertion = body.split("client_assertion=").nth(1).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap());
        let claims: serde_json::Value = serde_json::from_slice(&claims.unwrap()).unwrap();
        assert_eq!(claims["aud"], endpoint);

        let (url, _) = ask(&managed(None)).await;
        assert!(url.ends_with(&format!("&resource={encoded}")), "{url}");
    }
}
