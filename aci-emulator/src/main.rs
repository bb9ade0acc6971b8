//! `aci-emulator`: the emulator as a process of its own.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, time::Duration};

use aci_emulator::{Config, Emulator, Run};
use anyhow::{Context as _, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

const ABOUT: &str = "A stand-in for Azure Resource Manager, Microsoft Entra ID and Azure Container Instances.

When ready it prints one JSON line: {\"url\":…,\"ca\":…,\"metadata\":…}. The URL is ARM endpoint and authority host alike;
its certificate is signed by the CA in STATE_DIR/ca.pem. The metadata service of a virtual machine, which has the
tokens of managed identities, is plain HTTP (AZURE_POD_IDENTITY_AUTHORITY_HOST of a client).";

const ADMIN: &str = "ADMIN ENDPOINT (same listener, no token; every duration is in seconds)
  GET    /_emulator/state | requests | changes | counts | settings | faults | groups/{group}
  DELETE /_emulator/requests | faults | failNextPuts | tokens | groups/{group} | resourceGroups/{name}
  POST   /_emulator/settings               {\"latency\":0.1,\"startDelay\":3,\"throttle\":false,…} (names: GET settings)
  POST   /_emulator/faults                 {\"method\":\"PUT\",\"pathContains\":\"containerGroups\",\"status\":503,\"code\":\"ServerTimeout\",
                                            \"message\":\"…\",\"retryAfter\":20,\"times\":1,\"afterEffect\":true,\"hang\":2.5,\"dropConnection\":false,\"oncePerPath\":false}
  POST   /_emulator/provider               {\"state\":\"NotRegistered\"}
  POST   /_emulator/resourceGroups/{name}  {\"location\":\"eastus\"}
  POST   /_emulator/subnets                {\"resourceGroup\":\"net\",\"network\":\"v\",\"name\":\"aci\",\"location\":\"eastus\",
                                            \"prefix\":\"10.0.0.0/24\",\"service\":\"\",\"others\":3,\"natGateway\":true}
  POST   /_emulator/managedClusters        {\"resourceGroup\":\"rg\",\"name\":\"aks\",\"location\":\"eastus\",\"properties\":{}}: a cluster of AKS to read
  POST   /_emulator/clients                {\"clientId\":\"…\",\"secret\":\"…\",\"certificate\":\"-----BEGIN…\"} (each may be absent)
  POST   /_emulator/identities             {\"system\":\"CLIENT-ID\",\"user\":[\"CLIENT-ID\"]}: the managed identities of the machine
  GET    /_emulator/tokens                 who got which token, and why
  GET    /_emulator/images
  POST   /_emulator/images                 {\"name\":\"team/app:1\",\"access\":{\"bearer\":{\"username\":\"u\",\"password\":\"p\"}},
                                            \"platforms\":[{\"os\":\"linux\",\"entrypoint\":[\"/app\"],\"cmd\":[]}]}
  POST   /_emulator/failNextPuts           {\"count\":1,\"lateStart\":30}
  POST   /_emulator/groups/{group}/platformRestart | repair | stop | fail {\"lateStart\":30} | force {\"provisioningState\":…,\"state\":…}
  POST   /_emulator/groups/{group}/page    {\"status\":503}: what its page answers; gRPC health is SERVING with 200
  POST   /_emulator/groups/{group}/containers/{container}/exit {\"exitCode\":3} | crash {\"exitCode\":1} | heal | log {\"text\":\"…\"}

REGISTRY (same listener; images are named by its host: 127.0.0.1:8443/hello:1)
  It says what an image's ENTRYPOINT is, to clients that need it; nothing is pulled. hello:1 is there from the start.

IMAGES WITH A MEANING
  …/exit:N         ends with code N shortly after its start (setting exitAfter)
                   (so does any image with the command sh -c \"exit N\")
  …inaccessible…   PUT is refused with InaccessibleImage
  …no-capacity…    provisioning fails with InsufficientCapacity

Example: curl --cacert state/ca.pem -X POST -H 'Content-Type: application/json' \\
           -d '{\"exitCode\":3}' https://127.0.0.1:8443/_emulator/groups/web/containers/web/exit";

#[derive(Parser)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[command(version, about = ABOUT, after_long_help = ADMIN)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, env = "EMULATOR_LISTEN", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Where the metadata service listens, over plain HTTP; port 0 takes a free one.
    #[arg(long, env = "EMULATOR_METADATA_LISTEN", default_value = "127.0.0.1:0")]
    metadata_listen: SocketAddr,
    /// Where ca.pem is written.
    #[arg(long, env = "EMULATOR_STATE_DIR", default_value = "aci-emulator-state")]
    state_dir: PathBuf,
    /// Entra tenant.
    #[arg(long, env = "EMULATOR_TENANT_ID")]
    tenant_id: Option<String>,
    /// Application id of the service principal.
    #[arg(long, env = "EMULATOR_CLIENT_ID")]
    client_id: Option<String>,
    /// File with the client secret; else the environment variable `EMULATOR_CLIENT_SECRET`; else a
    /// well-known test secret.
    #[arg(long, env = "EMULATOR_CLIENT_SECRET_FILE")]
    client_secret_file: Option<PathBuf>,
    /// A federated credential as ISSUER,SUBJECT; repeat for more. None: any assertion is taken.
    #[arg(long, env = "EMULATOR_FEDERATED", value_parser = issuer_and_subject)]
    federated: Vec<(String, String)>,
    /// Subscription id.
    #[arg(long, env = "EMULATOR_SUBSCRIPTION_ID")]
    subscription_id: Option<String>,
    /// A resource group as NAME=LOCATION; repeat, or separate by commas.
    #[arg(long, env = "EMULATOR_RESOURCE_GROUPS", value_delimiter = ',', value_parser = name_and_location)]
    resource_group: Vec<(String, String)>,
    /// A region the provider serves; repeat, or separate by commas.
    #[arg(long, env = "EMULATOR_REGIONS", value_delimiter = ',')]
    region: Vec<String>,
    /// Registration of the provider at the start.
    #[arg(long, env = "EMULATOR_PROVIDER_STATE", default_value = "Registered")]
    provider_state: String,
    /// Seconds added to every ARM call.
    #[arg(long, env = "EMULATOR_LATENCY", default_value = "0", value_parser = seconds)]
    latency: Duration,
    /// Seconds from PUT to running containers.
    #[arg(long, env = "EMULATOR_START_DELAY", default_value = "1", value_parser = seconds)]
    start_delay: Duration,
    /// Seconds a token is valid.
    #[arg(long, env = "EMULATOR_TOKEN_LIFETIME", default_value = "3600", value_parser = seconds)]
    token_lifetime: Duration,
    /// Items in one page of a LIST.
    #[arg(long, env = "EMULATOR_PAGE_SIZE", default_value_t = Config::default().page_size)]
    page_size: usize,
    /// Switch all throttling off.
    #[arg(long, env = "EMULATOR_NO_THROTTLE")]
    no_throttle: bool,
    /// PUT and DELETE in five minutes; 0 is no limit.
    #[arg(long, env = "EMULATOR_PROVIDER_REQUESTS_5M", default_value_t = Config::default().provider_requests_5m)]
    provider_requests_5m: u32,
    /// PUT and DELETE in one hour; 0 is no limit.
    #[arg(long, env = "EMULATOR_PROVIDER_REQUESTS_1H", default_value_t = Config::default().provider_requests_1h)]
    provider_requests_1h: u32,
    /// Container groups allowed in one region.
    #[arg(long, env = "EMULATOR_QUOTA_GROUPS", default_value_t = Config::default().quota_groups)]
    quota_groups: u32,
    /// Cores allowed in one region.
    #[arg(long, env = "EMULATOR_QUOTA_CORES", default_value_t = Config::default().quota_cores)]
    quota_cores: f64,
    /// Smallest cpu sum of a group.
    #[arg(long, env = "EMULATOR_MIN_GROUP_CPU", default_value_t = Config::default().min_group_cpu)]
    min_group_cpu: f64,
    /// Smallest memory sum of a group, in GB.
    #[arg(long, env = "EMULATOR_MIN_GROUP_MEMORY", default_value_t = Config::default().min_group_memory)]
    min_group_memory: f64,
    /// Do not serve pages on the groups' own addresses.
    #[arg(long, env = "EMULATOR_NO_PAGES")]
    no_pages: bool,
    /// Let exec run its command really: on this machine, as this user.
    #[arg(long, env = "EMULATOR_HOST_SHELL")]
    host_shell: bool,
    /// Run Linux container groups for real, with runc: as root, on this machine. Windows groups are played as ever.
    #[arg(long, env = "EMULATOR_RUN", requires = "images")]
    run: bool,
    /// The images for --run: OCI image layouts (a folder with index.json, whose annotations
    /// org.opencontainers.image.ref.name are the images' names), OCI archives (*.tar), or NAME/rootfs beside
    /// NAME/config.json.
    #[arg(long, env = "EMULATOR_IMAGES", value_name = "DIR")]
    images: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn pair(text: &str, separator: char, form: &str) -> Result<(String, String), String> {
    match text.split_once(separator) {
        Some((first, second)) if !first.is_empty() && !second.is_empty() => {
            Ok((first.to_owned(), second.to_owned()))
        }
        _ => Err(format!("expected {form}")),
    }
}

fn name_and_location(text: &str) -> Result<(String, String), String> {
    pair(text, '=', "NAME=LOCATION")
}

fn issuer_and_subject(text: &str) -> Result<(String, String), String> {
    pair(text, ',', "ISSUER,SUBJECT")
}

impl Arguments {
    fn config(self, secret: Option<String>) -> Config {
        let default = Config::default();
        let or = |list: Vec<_>, default| if list.is_empty() { default } else { list };
        Config {
            listen: self.listen,
            metadata_listen: self.metadata_listen,
            tenant_id: self.tenant_id.unwrap_or(default.tenant_id),
            client_id: self.client_id.unwrap_or(default.client_id),
            client_secret: secret.unwrap_or(default.client_secret),
            federated: self.federated,
            subscription_id: self.subscription_id.unwrap_or(default.subscription_id),
            resource_groups: or(self.resource_group, default.resource_groups),
            regions: if self.region.is_empty() {
                default.regions
            } else {
                self.region
            },
            provider_state: self.provider_state,
            latency: self.latency,
            start_delay: self.start_delay,
            token_lifetime: self.token_lifetime,
            page_size: self.page_size,
            throttle: !self.no_throttle,
            provider_requests_5m: self.provider_requests_5m,
            provider_requests_1h: self.provider_requests_1h,
            quota_groups: self.quota_groups,
            quota_cores: self.quota_cores,
            min_group_cpu: self.min_group_cpu,
            min_group_memory: self.min_group_memory,
            serve_pages: !self.no_pages,
            images: default.images,
            host_shell: self.host_shell,
            run: self
                .images
                .filter(|_| self.run)
                .map(|images| Run { images }),
            state_dir: Some(self.state_dir),
        }
    }

    /// From the file, else from the environment; never from the command line.
    fn secret(&self) -> anyhow::Result<Option<String>> {
        let secret = match &self.client_secret_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("reading {}", path.display()))?,
            None => match std::env::var("EMULATOR_CLIENT_SECRET") {
                Ok(secret) => secret,
                Err(_) => return Ok(None),
            },
        };
        let secret = secret.trim_end_matches(['\r', '\n']).to_owned();
        if secret.is_empty() {
            bail!("the client secret is empty");
        }
        Ok(Some(secret))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let secret = arguments.secret()?;
    let config = arguments.config(secret);
    if !config.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.listen, "not a loopback address: the admin endpoint asks for no token");
    }
    let (mut term, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let ca = config.state_dir.as_ref().map(|dir| dir.join("ca.pem"));
    let ca = ca.map(std::path::absolute).transpose()?;
    let emulator = Emulator::start(config).await?;
    let ready =
        serde_json::json!({"url": emulator.url(), "ca": ca, "metadata": emulator.metadata_url()});
    writeln!(std::io::stdout(), "{ready}")?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    emulator.stop().await;
    Ok(())
}
