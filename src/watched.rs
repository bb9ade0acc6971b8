//! Values that others watch.

use tokio::sync::watch;

/// Sets the value of `sender`; true when that changed it. Only then are the receivers woken.
pub fn set_if_changed<T: PartialEq>(sender: &watch::Sender<T>, now: T) -> bool {
    sender.send_if_modified(|value| {
        let changed = *value != now;
        if changed {
            *value = now;
        }
        changed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_value_wakes_nobody() {
        let (sender, mut receiver) = watch::channel(1);
        assert!(!set_if_changed(&sender, 1));
        assert!(!receiver.has_changed().unwrap());
        assert!(set_if_changed(&sender, 2));
        assert!(receiver.has_changed().unwrap());
        assert_eq!(*receiver.borrow_and_update(), 2);
    }
}
