//! The pod's address in texts: nobody knows it before the group runs.

use vkc_shim::spec::{Part, Text, Which};
use zeroize::Zeroizing;

/// Stands for the pod's address in texts until the shim knows it. No text of a pod can have a null byte where it is used: neither
/// the environment nor the arguments of a process can.
pub(super) const POD_IP: &str = "\0podIP\0";
pub(super) const POD_IPS: &str = "\0podIPs\0";

/// What stands for the pod's address, or for all of them.
pub(in crate::translate::group) fn mark(all: bool) -> &'static str {
    if all { POD_IPS } else { POD_IP }
}

/// Whether the pod's address is to be put into `text`.
pub(in crate::translate::group) fn has_mark(text: &str) -> bool {
    text.contains('\0') && (text.contains(POD_IP) || text.contains(POD_IPS))
}

/// `text` for the shim.
pub(in crate::translate::group) fn text(text: &str) -> Text {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let marks = [(POD_IP, Which::PodIp), (POD_IPS, Which::PodIps)];
        let found = marks
            .into_iter()
            .filter_map(|(mark, which)| Some((rest.find(mark)?, mark.len(), which)));
        let next = found.min_by_key(|(at, ..)| *at);
        let plain = rest.get(..next.map_or(rest.len(), |(at, ..)| at));
        // What is left of null bytes no process can be given.
        let plain = Zeroizing::new(plain.unwrap_or_default().replace('\0', ""));
        if !plain.is_empty() {
            out.push(Part::Text(plain));
        }
        let Some((at, length, which)) = next else {
            return Text(out);
        };
        out.push(Part::Address { address: which });
        rest = rest.get(at + length..).unwrap_or_default();
    }
}
