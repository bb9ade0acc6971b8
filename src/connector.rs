//! The `VirtualKubeletConnector` controller.
