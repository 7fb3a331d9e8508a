//! The operator, if this process is one, and how far it has come.

use futures::FutureExt;
use runtime::{Health, Tasks};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::operator::{Operator, Settings};

/// What the flags say of the operator.
pub(super) fn settings(args: &Args) -> Settings {
    Settings {
        wait_for_postgres_image: args.wait_for_postgres_image.clone(),
        model_ca: args.model_ca.clone(),
        nemo_list_secrets: args.nemo_list_secrets,
    }
}

/// What is missing while another operator is at work.
const OPERATOR: &str = "operator";

/// Starts the operator, which runs until stopped, and tells `health` how far it has come. Without one nothing is missing:
/// NVIDIA's operator does the work here.
pub(super) fn start(operator: Option<Operator>, health: &Health, tasks: &Tasks, stop: &CancellationToken) {
    let Some(operator) = operator else {
        tracing::info!("the NIM objects of this cluster are left to NVIDIA's operator");
        return;
    };
    health.lacks(OPERATOR, "its caches are not filled yet");
    let (synced, mut rival, told) = (operator.synced(health.clone()), operator.rival(), health.clone());
    let follow = async move {
        synced.await;
        tracing::info!("the caches are filled");
        loop {
            match rival.borrow_and_update().refusal() {
                Some(why) => told.lacks(OPERATOR, why),
                None => told.has(OPERATOR),
            }
            if rival.changed().await.is_err() {
                return;
            }
        }
    };
    tasks.spawn("readiness", stop.clone().run_until_cancelled_owned(follow).map(|_| ()));
    operator.start(health, tasks, stop);
}
