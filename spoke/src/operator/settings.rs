//! What the owner of the cluster says of the operator, in the values of the spoke's chart. No NIM object changes it.

use std::path::PathBuf;

/// What the operator is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The image whose `sh` and `nc` wait for the database of a NeMo microservice. Default [`WAIT_FOR_POSTGRES_IMAGE`].
    pub wait_for_postgres_image: String,
    /// File with the CAs that https endpoints of models are known by. Default the public ones.
    pub model_ca: Option<PathBuf>,
    /// Whether the Role of a NemoEvaluator grants `list` and `watch` of Secrets, as NVIDIA's operator does. Default true; the
    /// spoke's chart says false.
    pub nemo_list_secrets: bool,
}

/// The image that waits for a database where nothing else is said. It is Kubernetes' own build of busybox, whose tags are
/// never moved.
pub const WAIT_FOR_POSTGRES_IMAGE: &str = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1";

impl Default for Settings {
    fn default() -> Self {
        Self {
            wait_for_postgres_image: WAIT_FOR_POSTGRES_IMAGE.to_owned(),
            model_ca: None,
            nemo_list_secrets: true,
        }
    }
}
