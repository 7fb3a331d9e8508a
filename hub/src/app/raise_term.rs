//! `nimfleet-hub raise-term`.

use std::io::Write as _;
use std::time::Duration;

use hub_core::audit::Action;

use super::AppError;
use super::connect::connect;
use crate::args::{CommonArgs, RaiseTermArgs};
use crate::audit::Record;
use crate::epoch::{State, ask_to_raise};
use crate::pki::KubeSecrets;

/// How long the hub that leads is waited for, and how often it is looked at: it looks every 5 s itself.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOKS_EVERY: Duration = Duration::from_millis(500);

/// Asks for a term above the one that is given, and says what became of it. The hub that leads raises it, or the next one at
/// its start.
pub(super) async fn raise(common: &CommonArgs, args: &RaiseTermArgs) -> Result<(), AppError> {
    let (client, _) = connect(common.kubeconfig.as_deref()).await?;
    let above = args.term;
    let before = ask_to_raise(client.clone(), &common.namespace, above).await.map_err(AppError::Epoch)?;
    let term = before.epoch.term;
    if term > above {
        return say(&format!("nothing to do: the hub is at term {term}, which is above {above}"));
    }
    let cause = format!("raise-term: the hub at term {term} is to be raised above {above}");
    let record = Record::new(Action::RaiseTerm, common.pod_name.as_deref(), cause).term(above);
    let secrets = KubeSecrets::new(client.clone(), &common.namespace);
    record.hand_over(&secrets).await.map_err(AppError::Audit)?;
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < PATIENCE {
        let state = State::load(client.clone(), &common.namespace).await.map_err(AppError::Epoch)?;
        if let Some(term) = state.map(|state| state.epoch.term).filter(|term| *term > above) {
            return say(&format!("raised: the hub is at term {term}; spokes that wait come by themselves"));
        }
        tokio::time::sleep(LOOKS_EVERY).await;
    }
    say(&format!("asked for: no hub leads at this moment; the next one starts with a term above {above}"))
}

fn say(text: &str) -> Result<(), AppError> {
    writeln!(std::io::stdout(), "{text}").map_err(AppError::Output)
}
