//! How many logs, exec sessions and forwarded ports of a node go on at once, how many of one namespace, of one pod, and of one user.

use crate::shares::{self, Share, Shares};

/// Those of one node.
const NODE: usize = 256;
/// Those of one namespace on it: none takes more than half, so that others have some.
const NAMESPACE: usize = 128;
/// Those of one pod: what a loop over one leaves to the others of its namespace.
const POD: usize = 64;
/// Those of one user who comes to the node himself. Users of kubectl are not told apart here: the API server brings their streams
/// under its own name, with a certificate, and has all the places there are.
const USER: usize = 64;

/// Streams that may be in the middle of a long message of a `WebSocket` at once, and those of one namespace: each has up to 4 MB
/// of it in memory.
const LONG: usize = 8;
const LONG_OF_NAMESPACE: usize = 4;

/// The places for the streams of a node, by namespace and by user.
#[derive(Debug, Clone)]
pub struct StreamSlots {
    namespaces: Shares<String>,
    /// By namespace and name.
    pods: Shares<(String, String)>,
    users: Shares<String>,
    long: Shares<String>,
}

/// The place of one stream, until it is dropped.
#[derive(Debug)]
pub struct StreamSlot {
    _of_namespace: Share<String>,
    _of_pod: Share<(String, String)>,
    _of_user: Option<Share<String>>,
    long: LongMessages,
}

/// The right of a stream to ask for room for a long message.
#[derive(Debug, Clone)]
pub struct LongMessages {
    places: Shares<String>,
    namespace: String,
}

impl LongMessages {
    /// Room for one, until it is dropped, while there is some.
    pub fn room(&self) -> Option<Share<String>> {
        self.places.take(self.namespace.clone()).ok()
    }
}

impl StreamSlot {
    /// For the messages of this stream.
    pub fn long_messages(&self) -> LongMessages {
        self.long.clone()
    }
}

/// Who has as many as he may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Node,
    Namespace,
    Pod,
    User,
}

impl Full {
    /// This one where an owner has all that it may have, else the node.
    fn or_node(self) -> impl Fn(shares::Full) -> Self {
        move |full| match full {
            shares::Full::All => Self::Node,
            shares::Full::Own => self,
        }
    }
}

impl StreamSlots {
    /// The places of a node.
    pub fn of_node() -> Self {
        Self {
            namespaces: Shares::new(NODE, NAMESPACE),
            pods: Shares::new(NODE, POD),
            users: Shares::new(NODE, USER),
            long: Shares::new(LONG, LONG_OF_NAMESPACE),
        }
    }

    /// Other numbers of places.
    pub fn new(all: usize, own: usize) -> Self {
        Self {
            namespaces: Shares::new(all, own),
            pods: Shares::new(all, own),
            users: Shares::new(all, own),
            ..Self::of_node()
        }
    }

    /// A place for a stream of `pod`, in `namespace`, which `user` wants for himself, if it is for himself.
    ///
    /// # Errors
    /// When all that there are for it are taken.
    pub fn take(&self, namespace: &str, pod: &str, user: Option<&str>) -> Result<StreamSlot, Full> {
        let of_user = user.map(|user| self.users.take(user.to_owned()));
        let of_user = of_user.transpose().map_err(Full::User.or_node())?;
        let of_namespace = self.namespaces.take(namespace.to_owned());
        let of_namespace = of_namespace.map_err(Full::Namespace.or_node())?;
        let of_pod = self.pods.take((namespace.to_owned(), pod.to_owned()));
        let of_pod = of_pod.map_err(Full::Pod.or_node())?;
        Ok(StreamSlot {
            _of_namespace: of_namespace,
            _of_pod: of_pod,
            _of_user: of_user,
            long: LongMessages {
                places: self.long.clone(),
                namespace: namespace.to_owned(),
            },
        })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.namespaces.taken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_quarter_and_the_api_server_what_namespaces_have() {
        let slots = StreamSlots::of_node();
        let of = |user: Option<&'static str>, many: usize, namespace: &str| {
            let taken = (0..many).map(|n| slots.take(namespace, &(n % 4).to_string(), user));
            taken.collect::<Result<Vec<_>, _>>()
        };
        let own = of(Some("robot"), USER, "a").unwrap();
        assert_eq!(slots.take("b", "p", Some("robot")).unwrap_err(), Full::User);
        let other = slots.take("b", "p", Some("other")).unwrap();
        let brought = of(None, NAMESPACE - 1, "b").unwrap();
        assert_eq!(slots.take("b", "p", None).unwrap_err(), Full::Namespace);
        // Who is refused for the namespace's sake has used up no place of his own.
        assert_eq!(
            slots.take("b", "p", Some("third")).unwrap_err(),
            Full::Namespace
        );
        assert_eq!(slots.users.taken(), USER + 1);
        let rest = of(None, NODE - NAMESPACE - USER, "c").unwrap();
        assert_eq!(slots.take("d", "p", None).unwrap_err(), Full::Node);
        drop((own, other, brought, rest));
        assert_eq!((slots.taken(), slots.users.taken()), (0, 0));
    }

    #[test]
    fn a_pod_has_a_quarter_of_the_streams() {
        let slots = StreamSlots::of_node();
        let of = |pod: &'static str| slots.take("a", pod, None);
        let one: Vec<_> = (0..POD).map(|_| of("one").unwrap()).collect();
        assert_eq!(of("one").unwrap_err(), Full::Pod);
        // What was refused takes nothing from the namespace.
        assert_eq!(slots.taken(), POD);
        let other = of("other").unwrap();
        // Another namespace may have one of the same name.
        let same = slots.take("b", "one", None).unwrap();
        drop((one, other, same));
        assert_eq!((slots.taken(), slots.pods.taken()), (0, 0));
    }
}
