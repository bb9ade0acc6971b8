//! Keys on objects that the outside knows us by. All are under `virtual-kubelet.io/`, a domain that others use too: no
//! key here means anything else elsewhere.

/// Finalizer of a connector: its nodes are drained and its container groups removed before it goes.
pub const FINALIZER: &str = "virtual-kubelet.io/drain";

/// Label of everything a connector owns: the connector's name.
pub const LABEL_CONNECTOR: &str = "virtual-kubelet.io/connector";
/// Label of a node: its operating system, in lower case.
pub const LABEL_OS: &str = "virtual-kubelet.io/os";

/// Annotation of a connector: any new value asks for a reconcile, and is echoed in `status.lastHandledReconcileAt`.
pub const ANNOTATION_REQUESTED_AT: &str = "virtual-kubelet.io/requestedAt";
/// Flux's annotation of the same meaning (`flux reconcile`).
pub const ANNOTATION_FLUX_REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// Annotation of a connector: with its UID as the value, deletion gives up what is left in Azure.
pub const ANNOTATION_FORCE_DELETE: &str = "virtual-kubelet.io/force-delete";
/// Annotation of a connector: with the words that the condition `OrphansFound` names, separated by commas, the container
/// groups are deleted that were held back because they are too many at once.
pub const ANNOTATION_DELETE_ORPHANS: &str = "virtual-kubelet.io/delete-orphans";

/// Key of the Secret that `spec.containerGroup.logAnalytics.secretRef` names: the workspace's key.
pub const WORKSPACE_KEY: &str = "workspaceKey";

/// Keys of the Secret that `spec.credentials.secretRef` names, those of Azure Service Operator.
pub mod secret_keys {
    /// Microsoft Entra tenant.
    pub const TENANT_ID: &str = "AZURE_TENANT_ID";
    /// Client (application) ID.
    pub const CLIENT_ID: &str = "AZURE_CLIENT_ID";
    /// Client secret.
    pub const CLIENT_SECRET: &str = "AZURE_CLIENT_SECRET";
    /// Client certificate with its private key: PEM, or base64 of PKCS#12.
    pub const CLIENT_CERTIFICATE: &str = "AZURE_CLIENT_CERTIFICATE";
    /// Password of the certificate's private key.
    pub const CLIENT_CERTIFICATE_PASSWORD: &str = "AZURE_CLIENT_CERTIFICATE_PASSWORD";
    /// Subscription, when the spec names none.
    pub const SUBSCRIPTION_ID: &str = "AZURE_SUBSCRIPTION_ID";
    /// Token service outside of Azure's own clouds that may have the credentials.
    pub const AUTHORITY_HOST: &str = "AZURE_AUTHORITY_HOST";
    /// Azure Resource Manager outside of Azure's own clouds that may have tokens got with them.
    pub const RESOURCE_MANAGER_ENDPOINT: &str = "AZURE_RESOURCE_MANAGER_ENDPOINT";
}
