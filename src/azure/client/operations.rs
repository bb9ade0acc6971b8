//! The calls: container groups (in the version of the endpoints), the provider and the resource group (2021-04-01).

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use azure_core::http::{Method, Url};
use serde::{Deserialize, Serialize};

use super::super::error::{AzureError, ErrorClass};
use super::super::listing::Listing;
use super::super::model::ContainerGroup;
use super::super::resources::{Provider, ResourceGroup};
use super::super::throttle::{Ask, Class, Pace, Urgency, Wish};
use super::{ArmClient, Call, parse};

/// The first version that has references to Key Vault secrets; only groups with such are sent in it where the spoken one
/// is older, because not every cloud knows it.
const SECRETS_API_VERSION: &str = "2025-09-01";
/// Version of the resources API (providers, resource groups).
pub(super) const RESOURCES_API_VERSION: &str = "2021-04-01";
/// A LIST with more pages is an error: something answers without end.
const MAX_PAGES: usize = 500;
/// All pages together.
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
        let call = Call {
            operation: "put_group",
            class: Class::Create,
            urgency: Urgency::default(),
            method: Method::Put,
            url: self.group_url_in(version, rg, Some(name))?,
            body: Some(to_body(group)?),
        };
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
        self.look_at_group(rg, name, Urgency::Prompt).await
    }

    /// [`ArmClient::get_group`] for a read that may have to let others go first.
    pub async fn look_at_group(
        &self,
        rg: &str,
        name: &str,
        urgency: Urgency,
    ) -> Result<Option<ContainerGroup>, AzureError> {
        let mut call = get("get_group", self.group_url(rg, Some(name))?);
        call.urgency = urgency;
        match self.send(&call).await {
            Ok(response) => parse(&response).map(Some),
            Err(error) if error.class == ErrorClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The error of a create or delete of this group that is in the line and has to wait on. `None` when it should be sent,
    /// or has never been asked for.
    pub fn in_line(&self, rg: &str, name: &str, class: Class) -> Option<AzureError> {
        let url = self.group_url(rg, Some(name)).ok()?;
        self.session().limiter.in_line(Ask {
            class,
            member: self.member,
            urgency: Urgency::default(),
            group: url.path(),
        })
    }

    /// Notes how many reads a second would keep the figures of `node` fresh.
    pub fn plan_figures(&self, node: &str, reads_per_second: f64) {
        let session = self.session();
        session
            .limiter
            .plan_figures(self.member, node, reads_per_second);
    }

    /// Notes what looks at the running pods of `node` would cost, and says how often to look.
    pub fn plan(&self, node: &str, wish: Wish) -> Pace {
        self.session().limiter.plan(self.member, node, wish)
    }

    /// Every container group of the resource group, without instance views: all pages or an error, never a part.
    pub async fn list_groups(&self, rg: &str) -> Result<Vec<ContainerGroup>, AzureError> {
        tokio::time::timeout(LIST_TIMEOUT, self.list_pages(self.group_url(rg, None)?))
            .await
            .unwrap_or_else(|_| Err(AzureError::timeout("list_groups", LIST_TIMEOUT)))
    }

    /// [`ArmClient::list_groups`], shared with all who list the same group under the same principal: as it was at most
    /// `max_age` ago.
    pub async fn list_groups_within(
        &self,
        rg: &str,
        max_age: Duration,
    ) -> Result<Listing, AzureError> {
        let principal = self.session().credential.principal();
        let key = format!("{}\n{principal}", self.group_url(rg, None)?).to_ascii_lowercase();
        let listings = self.limiters.listings();
        listings.get(key, max_age, self.list_groups(rg)).await
    }

    async fn list_pages(&self, first: Url) -> Result<Vec<ContainerGroup>, AzureError> {
        let mut groups = Vec::new();
        let mut visited = HashSet::from([first.clone()]);
        let mut url = first;
        for _ in 0..MAX_PAGES {
            let mut call = get("list_groups", url);
            call.urgency = Urgency::Leisure;
            let response = self.send(&call).await?;
            let page: Page = parse(&response)?;
            groups.extend(page.value);
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
        let call = Call {
            operation: "delete_group",
            class: Class::Delete,
            urgency: Urgency::default(),
            method: Method::Delete,
            url: self.group_url(rg, Some(name))?,
            body: None,
        };
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
        let mut url = self.group_url(rg, Some(name))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.push("stop");
        }
        let call = Call {
            operation: "stop_group",
            class: Class::Write,
            urgency: Urgency::default(),
            method: Method::Post,
            url,
            body: None,
        };
        match self.send(&call).await {
            Ok(_) => Ok(()),
            Err(error) if error.class == ErrorClass::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the whole tag map of a container group; its containers go on undisturbed.
    pub async fn patch_tags(
        &self,
        rg: &str,
        name: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<ContainerGroup, AzureError> {
        let call = Call {
            operation: "patch_tags",
            class: Class::Write,
            urgency: Urgency::default(),
            method: Method::Patch,
            url: self.group_url(rg, Some(name))?,
            body: Some(to_body(&TagsPatch { tags })?),
        };
        parse(&self.send(&call).await?)
    }

    /// The state of `Microsoft.ContainerInstance` in the subscription: registered or not, where and in which versions.
    pub async fn provider(&self) -> Result<Provider, AzureError> {
        let path = [
            "subscriptions",
            self.subscription_id(),
            "providers",
            "Microsoft.ContainerInstance",
        ];
        parse(
            &self
                .send(&get("provider", self.url(&path, RESOURCES_API_VERSION)?))
                .await?,
        )
    }

    /// The resource group; `None` only when ARM says `ResourceGroupNotFound`.
    pub async fn resource_group(&self, rg: &str) -> Result<Option<ResourceGroup>, AzureError> {
        let path = [
            "subscriptions",
            self.subscription_id(),
            "resourcegroups",
            rg,
        ];
        match self
            .send(&get(
                "resource_group",
                self.url(&path, RESOURCES_API_VERSION)?,
            ))
            .await
        {
            Ok(response) => parse(&response).map(Some),
            Err(error) if error.class == ErrorClass::ResourceGroupNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The address of a container group, or of the collection.
    fn group_url(&self, rg: &str, name: Option<&str>) -> Result<Url, AzureError> {
        self.group_url_in(self.api_version(), rg, name)
    }

    fn group_url_in(&self, version: &str, rg: &str, name: Option<&str>) -> Result<Url, AzureError> {
        let mut path = vec![
            "subscriptions",
            self.subscription_id(),
            "resourceGroups",
            rg,
            "providers",
            "Microsoft.ContainerInstance",
            "containerGroups",
        ];
        path.extend(name);
        self.url(&path, version)
    }

    /// The address of an action on a container.
    pub(super) fn container_url(
        &self,
        rg: &str,
        group: &str,
        container: &str,
        action: &str,
    ) -> Result<Url, AzureError> {
        let path = [
            "subscriptions",
            self.subscription_id(),
            "resourceGroups",
            rg,
            "providers",
            "Microsoft.ContainerInstance",
            "containerGroups",
            group,
            "containers",
            container,
            action,
        ];
        self.url(&path, self.api_version())
    }

    /// The version of the container instance API that is spoken.
    pub(super) fn api_version(&self) -> &str {
        &self.endpoints.api_version
    }

    /// `path` below the base address, each segment percent-encoded.
    pub(super) fn url(&self, path: &[&str], api_version: &str) -> Result<Url, AzureError> {
        // The URL type leaves out dot segments: a DELETE would then go to the parent.
        if let Some(bad) = path
            .iter()
            .find(|segment| matches!(**segment, "" | "." | ".."))
        {
            let text = format!("{bad:?} cannot be a name in an Azure resource ID");
            return Err(AzureError::local(ErrorClass::Invalid, "InvalidName", &text));
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url.query_pairs_mut()
            .append_pair("api-version", api_version);
        Ok(url)
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

pub(super) fn get(operation: &'static str, url: Url) -> Call {
    Call {
        operation,
        class: Class::Read,
        urgency: Urgency::default(),
        method: Method::Get,
        url,
        body: None,
    }
}

pub(super) fn to_body<T: Serialize>(value: &T) -> Result<bytes::Bytes, AzureError> {
    serde_json::to_vec(value)
        .map(bytes::Bytes::from)
        .map_err(|error| {
            let text = format!(
                "the request cannot be written as JSON ({:?} error)",
                error.classify()
            );
            AzureError::local(ErrorClass::Invalid, "UnwritableRequest", &text)
        })
}
