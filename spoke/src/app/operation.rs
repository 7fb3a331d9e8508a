//! The operator, if this process is one, and how far it has come.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::Stage;
use crate::operator::{Operator, Rival};

/// Runs the operator until stopped, and tells the admin port how far it has come. Without one the process is ready at
/// once: NVIDIA's operator does the work here.
pub(super) async fn run(operator: Option<Operator>, stage: &watch::Sender<Stage>, stop: &CancellationToken) {
    let Some(operator) = operator else {
        tracing::info!("the NIM objects of this cluster are left to NVIDIA's operator");
        stage.send_replace(Stage::Ready);
        stop.cancelled().await;
        stage.send_replace(Stage::Stopping);
        return;
    };
    let (synced, rival) = (operator.synced(), operator.rival());
    tokio::join!(tell_stage(synced, rival, stage, stop), operator.run(stop.clone()));
}

async fn tell_stage(
    synced: impl Future<Output = ()>,
    mut rival: watch::Receiver<Rival>,
    stage: &watch::Sender<Stage>,
    stop: &CancellationToken,
) {
    let follow = async {
        synced.await;
        tracing::info!("the caches are filled");
        loop {
            let refusal = rival.borrow_and_update().refusal();
            stage.send_replace(refusal.map_or(Stage::Ready, Stage::Refused));
            if rival.changed().await.is_err() {
                return;
            }
        }
    };
    // Whatever it says, it is told only until the process is asked to stop.
    let _ = stop.run_until_cancelled(follow).await;
    stop.cancelled().await;
    stage.send_replace(Stage::Stopping);
}
