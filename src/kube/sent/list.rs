//! Lists whose items are read one after the other.

use futures::{AsyncBufRead, AsyncReadExt as _};
use kube::api::ListParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::de::{DeserializeOwned, Error as _};

/// Longest item of a list: the API server takes none of more than three megabytes.
const LONGEST_ITEM: usize = 8 << 20;

/// The text of a list of objects of kind `K`, of all namespaces or one, as it comes: a list that the API server answers from its
/// memory has no pages, and is as long as all that it is of together.
///
/// # Errors
/// As of any call.
pub async fn list_text<K: Resource<DynamicType = ()>>(
    client: &Client,
    namespace: Option<&str>,
    params: &ListParams,
) -> kube::Result<impl AsyncBufRead + use<K>> {
    let request = Request::new(K::url_path(&(), namespace)).list(params);
    let request = request.map_err(kube::Error::BuildRequest)?;
    client.request_stream(request).await
}

/// Gives what `T` reads of the items of [`list_text`] to `take` one after the other as they come, each with the length of its text.
///
/// # Errors
/// As of any call; also when the list is not whole.
pub async fn each<K: Resource<DynamicType = ()>, T: DeserializeOwned>(
    client: &Client,
    namespace: Option<&str>,
    params: &ListParams,
    mut take: impl FnMut(T, usize),
) -> kube::Result<()> {
    let mut text = Box::pin(list_text::<K>(client, namespace, params).await?);
    let (mut items, mut part) = (Items::default(), vec![0; 64 << 10]);
    loop {
        let read = text
            .read(&mut part)
            .await
            .map_err(kube::Error::ReadEvents)?;
        let Some(part) = part.get(..read).filter(|part| !part.is_empty()) else {
            return items.end().map_err(kube::Error::SerdeError);
        };
        let mut item = |text: &[u8]| {
            take(serde_json::from_slice(text)?, text.len());
            Ok(())
        };
        let read = items.read(part, &mut item);
        read.map_err(kube::Error::SerdeError)?;
    }
}

/// Takes a list in JSON apart into its items, whatever the parts in which it comes.
#[derive(Default)]
pub(super) struct Items {
    /// How many objects and lists are open.
    depth: usize,
    /// Whether the second of them is a list: the only one that a list of the API server has there is `items`. `None` until it came.
    inside: Option<bool>,
    in_text: bool,
    escaped: bool,
    /// The item that is open.
    item: Option<Vec<u8>>,
}

impl Items {
    pub(super) fn read(
        &mut self,
        part: &[u8],
        take: &mut impl FnMut(&[u8]) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        for &byte in part {
            if let Some(item) = &mut self.item {
                if item.len() >= LONGEST_ITEM {
                    return Err(serde_json::Error::custom("an item of the list is too long"));
                }
                item.push(byte);
            }
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.open(byte),
                b'}' | b']' => {
                    if self.depth == 3
                        && let Some(item) = self.item.take()
                    {
                        take(&item)?;
                    }
                    if self.depth == 2 {
                        self.inside = self.inside.map(|_| false);
                    }
                    self.depth = self.depth.saturating_sub(1);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn open(&mut self, byte: u8) {
        self.depth = self.depth.saturating_add(1);
        if self.depth == 2 && byte == b'[' {
            self.inside = Some(true);
        }
        if self.depth == 3 && self.inside == Some(true) && byte == b'{' {
            self.item = Some(vec![byte]);
        }
    }

    pub(super) fn end(&self) -> serde_json::Result<()> {
        if self.depth == 0 && self.inside.is_some() && !self.in_text {
            Ok(())
        } else {
            Err(serde_json::Error::custom("the list is not whole"))
        }
    }
}
