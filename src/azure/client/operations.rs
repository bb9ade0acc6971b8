//! The calls: container groups (in the version of the endpoints), the provider and the resource group (2021-04-01).

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use azure_core::http::Url;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::super::error::{AzureError, ErrorClass};
use super::super::listing::{Listed, Listing};
use super::super::model::ContainerGroup;
use super::super::resources::{Provider, ResourceGroup};
use super::super::throttle::{CallPriority, Class, PermitRequest, PollDemand, PollInterval};
use super::call::{CONTAINER_INSTANCE, Call};
use super::{ArmClient, TURN_TIMEOUT, parse};

/// The first version that has references to Key Vault secrets; only groups with such are sent in it where the spoken one
/// is older, because not every cloud knows it.
const SECRETS_API_VERSION: &str = "2025-09-01";
/// Version of the resources API (providers, resource groups).
pub(super) const RESOURCES_API_VERSION: &str = "2021-04-01";
/// A LIST with more pages is an error: something answers without end.
const MAX_PAGES: usize = 500;
/// Longest LIST of all pages, in bytes: some ten thousand container groups.
const MAX_LIST_BYTES: usize = 64 << 20;
const LIST_TIMEOUT: Duration = Duration::from_mins(2);

/// How ARM took a DELETE.
#[derive(Debug, Clone, PartialEq)]
pub enum Deletion {
    /// 200: done. Carries the last state of the group, which ARM answers.
    Deleted(Option<Box<ContainerGroup>>),
    /// 202: under way.
    Accepted,
    /// 204 or `ResourceNotFound`: there was nothing.
    Absent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    /// Required: an answer without it is not an empty list but no list.
    value: Vec<ContainerGroup>,
    #[serde(default)]
    next_link: Option<String>,
}

#[derive(Serialize)]
struct TagsPatch<'a> {
    tags: &'a BTreeMap<String, String>,
}

impl ArmClient {
    /// Creates or replaces a container group; returns at once with what ARM answered, while provisioning goes on.
    ///
    /// # Errors
    /// Ask [`AzureError::may_have_taken_effect`] before sending it again.
    pub async fn put_group(
        &self,
        rg: &str,
        name: &str,
        group: &ContainerGroup,
    ) -> Result<ContainerGroup, AzureError> {
        // Versions are dates, and sort as such.
        let version = match self.api_version() {
            spoken if group.properties.secret_references.is_empty() => spoken,
            spoken => spoken.max(SECRETS_API_VERSION),
        };
        let url = self.group_url_in(version, rg, &[name])?;
        let call = Call::put("put_group", url).with(group)?;
        let response = self.send(&call).await?;
        if response.body().is_empty() {
            // 202 without a body is legal in ARM; the group is there or about to be.
            return Ok(ContainerGroup {
                name: Some(name.to_owned()),
                ..ContainerGroup::default()
            });
        }
        parse(&response)
    }

    /// One container group with its instance view; `None` only when ARM says `ResourceNotFound`.
    pub async fn get_group(
        &self,
        rg: &str,
        name: &str,
    ) -> Result<Option<ContainerGroup>, AzureError> {
        self.look_at_group(rg, name, CallPriority::Interactive)
            .await
    }

    /// [`ArmClient::get_group`] for a read that may have to let others go first.
    pub async fn look_at_group(
        &self,
        rg: &str,
        name: &str,
        priority: CallPriority,
    ) -> Result<Option<ContainerGroup>, AzureError> {
        let call = Call::get("get_group", self.group_url(rg, &[name])?).at(priority);
        self.group(&call).await
    }

    /// [`ArmClient::get_group`] for a user. `asked_by`: see [`PermitRequest`].
    pub async fn group_asked_for(
        &self,
        rg: &str,
        name: &str,
        asked_by: u64,
    ) -> Result<Option<ContainerGroup>, AzureError> {
        let call = Call::get("get_group", self.group_url(rg, &[name])?);
        self.group(&call.asked_by(Some(asked_by))).await
    }

    async fn group(&self, call: &Call) -> Result<Option<ContainerGroup>, AzureError> {
        match self.send(call).await {
            Ok(response) => parse(&response).map(Some),
            Err(error) if error.class == ErrorClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits in the line of creates and deletes for the turn of a create of this group, not for long, and keeps it for a PUT that
    /// follows soon.
    ///
    /// # Errors
    /// Code [`QUEUED`](super::QUEUED) when it is not near: ask for it again then.
    pub async fn line_up(&self, rg: &str, name: &str) -> Result<(), AzureError> {
        let url = self.group_url(rg, &[name])?;
        let deadline = Instant::now() + TURN_TIMEOUT;
        let session = self.session();
        session.limiter.line_up(self.create(&url), deadline).await
    }

    /// No PUT follows.
    pub fn leave_line(&self, rg: &str, name: &str) {
        if let Ok(url) = self.group_url(rg, &[name]) {
            self.session().limiter.leave(self.create(&url));
        }
    }

    /// A create, as it is known in the line.
    fn create<'a>(&self, url: &'a Url) -> PermitRequest<'a> {
        PermitRequest {
            class: Class::Create,
            tenant: self.tenant,
            priority: CallPriority::default(),
            asked_by: None,
            group: url.path(),
        }
    }

    /// The error of a create or delete of this group that is queued and has to wait. `None` when it may be sent, or is not
    /// queued.
    pub fn queue_position(&self, rg: &str, name: &str, class: Class) -> Option<AzureError> {
        let url = self.group_url(rg, &[name]).ok()?;
        self.session().limiter.queue_position(PermitRequest {
            class,
            ..self.create(&url)
        })
    }

    /// Notes how many reads a second keep the metrics of `node` fresh.
    pub fn plan_metrics(&self, node: &str, reads_per_second: f64) {
        let session = self.session();
        session
            .limiter
            .plan_metrics(self.tenant, node, reads_per_second);
    }

    /// Notes what polling the running pods of `node` costs, and returns the intervals at which to poll.
    pub fn plan(&self, node: &str, demand: PollDemand) -> PollInterval {
        self.session().limiter.plan(self.tenant, node, demand)
    }

    /// What `keep` keeps of every container group of the resource group, which come without instance views: all pages or an
    /// error, never a part. One page at a time is held as it came.
    pub async fn list_groups<T>(
        &self,
        rg: &str,
        keep: impl Fn(ContainerGroup) -> Option<T>,
    ) -> Result<Vec<T>, AzureError> {
        let pages = self.list_pages(self.group_url(rg, &[])?, keep);
        tokio::time::timeout(LIST_TIMEOUT, pages)
            .await
            .unwrap_or_else(|_| Err(AzureError::timeout("list_groups", LIST_TIMEOUT)))
    }

    /// The list of all container groups, shared with all who list the same group under the same principal: as it was at most
    /// `max_age` ago.
    pub async fn list_groups_within(
        &self,
        rg: &str,
        max_age: Duration,
    ) -> Result<Listing, AzureError> {
        let principal = self.session().credential.principal();
        let key = format!("{}\n{principal}", self.group_url(rg, &[])?).to_ascii_lowercase();
        let listings = self.limiters.listings();
        let read = self.list_groups(rg, Listed::of);
        listings.get(key, max_age, read).await
    }

    async fn list_pages<T>(
        &self,
        first: Url,
        keep: impl Fn(ContainerGroup) -> Option<T>,
    ) -> Result<Vec<T>, AzureError> {
        let (mut groups, mut bytes) = (Vec::new(), 0_usize);
        let mut visited = HashSet::from([first.clone()]);
        let mut url = first;
        for _ in 0..MAX_PAGES {
            let call = Call::get("list_groups", url).at(CallPriority::Background);
            let response = self.send(&call).await?;
            bytes = bytes.saturating_add(response.body().len());
            if bytes > MAX_LIST_BYTES {
                let text = format!("the list is longer than {MAX_LIST_BYTES} bytes");
                return Err(AzureError::protocol(Some(200), &text));
            }
            let page: Page = parse(&response)?;
            groups.extend(page.value.into_iter().filter_map(&keep));
            let Some(link) = page.next_link.filter(|link| !link.is_empty()) else {
                return Ok(groups);
            };
            url = self.same_origin(&link)?;
            if !visited.insert(url.clone()) {
                return Err(AzureError::protocol(
                    Some(200),
                    "nextLink leads back to a page already read",
                ));
            }
        }
        Err(AzureError::protocol(
            Some(200),
            &format!("the list has more than {MAX_PAGES} pages"),
        ))
    }

    /// Deletes a container group. `Accepted` and `Deleted` may both still be seen by a GET for a while.
    pub async fn delete_group(&self, rg: &str, name: &str) -> Result<Deletion, AzureError> {
        let call = Call::delete("delete_group", self.group_url(rg, &[name])?);
        match self.send(&call).await {
            Ok(response) => Ok(match u16::from(response.status()) {
                202 => Deletion::Accepted,
                204 => Deletion::Absent,
                _ => Deletion::Deleted(parse(&response).ok().map(Box::new)),
            }),
            Err(error) if error.class == ErrorClass::NotFound => Ok(Deletion::Absent),
            Err(error) => Err(error),
        }
    }

    /// Stops the containers of a container group, which stays; done when ARM answers. One that does not exist is stopped.
    pub async fn stop_group(&self, rg: &str, name: &str) -> Result<(), AzureError> {
        let call = Call::post("stop_group", self.group_url(rg, &[name, "stop"])?);
        match self.send(&call).await {
            Ok(_) => Ok(()),
            Err(error) if error.class == ErrorClass::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Starts the containers of a container group anew; done when ARM has taken it.
    pub async fn restart_group(&self, rg: &str, name: &str) -> Result<(), AzureError> {
        let call = Call::post("restart_group", self.group_url(rg, &[name, "restart"])?);
        self.send(&call).await.map(drop)
    }

    /// Replaces the whole tag map of a container group; its containers go on undisturbed.
    pub async fn patch_tags(
        &self,
        rg: &str,
        name: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<ContainerGroup, AzureError> {
        let url = self.group_url(rg, &[name])?;
        let call = Call::patch("patch_tags", url).with(&TagsPatch { tags })?;
        parse(&self.send(&call).await?)
    }

    /// The state of `Microsoft.ContainerInstance` in the subscription: registered or not, where and in which versions.
    pub async fn provider(&self) -> Result<Provider, AzureError> {
        let path = ["providers", CONTAINER_INSTANCE];
        let url = self.subscription_url(&path, RESOURCES_API_VERSION)?;
        parse(&self.send(&Call::get("provider", url)).await?)
    }

    /// The resource group; `None` only when ARM says `ResourceGroupNotFound`.
    pub async fn resource_group(&self, rg: &str) -> Result<Option<ResourceGroup>, AzureError> {
        let url = self.subscription_url(&["resourcegroups", rg], RESOURCES_API_VERSION)?;
        match self.send(&Call::get("resource_group", url)).await {
            Ok(response) => parse(&response).map(Some),
            Err(error) if error.class == ErrorClass::ResourceGroupNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A link of ARM's, verbatim, if it leads to ARM: the token goes with the request.
    fn same_origin(&self, link: &str) -> Result<Url, AzureError> {
        let refused = |text: &str| AzureError::protocol(Some(200), text);
        let url = Url::parse(link).map_err(|_| refused("nextLink is not a URL"))?;
        if url.scheme() != "https" || url.origin() != self.base.origin() {
            return Err(refused(
                "nextLink leads to another host than Azure Resource Manager",
            ));
        }
        Ok(url)
    }
}
