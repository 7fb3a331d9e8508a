//! `confirm`: what waits for the fleet admin's word about a cluster, and the word.

use crds::condition;
use crds::fleet::GPUCluster;
use crds::marks::{
    CONFIRM_DELETIONS_ANNOTATION, CONFIRM_FAILOVER_ANNOTATION, CONFIRM_ORPHAN_REMOVAL_ANNOTATION,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::json;

use crate::args::{ConfirmArgs, Held};
use crate::failure::Failure;
use crate::print::Printer;
use crate::session::{Session, call};
use crate::table::{Tone, paint};

/// Each thing that waits, with its condition and the annotation that ends it.
const ALL: [(Held, &str, &str); 3] = [
    (Held::Deletions, "DeletionHeld", CONFIRM_DELETIONS_ANNOTATION),
    (Held::Failover, "FailoverHeld", CONFIRM_FAILOVER_ANNOTATION),
    (Held::OrphanRemoval, "Orphans", CONFIRM_ORPHAN_REMOVAL_ANNOTATION),
];

/// What waits for a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waits {
    pub(crate) what: Held,
    /// The word that confirms exactly this.
    pub(crate) word: String,
    /// The objects, the reasons and what follows.
    pub(crate) message: String,
    /// Whether the word has been given and is being followed.
    pub(crate) given: bool,
}

/// What waits in one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Confirmations {
    cluster: String,
    waits: Vec<Waits>,
}

/// What was confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Confirmed {
    cluster: String,
    what: Held,
    word: String,
}

/// What waits for a word about the cluster.
pub(crate) fn waiting(cluster: &GPUCluster) -> Vec<Waits> {
    let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let waits = |(what, kind, annotation): (Held, &str, &str)| {
        let found = condition::find(conditions, kind).filter(|found| found.status == "True")?;
        let word = word(&found.message, annotation)?;
        let given = cluster.annotations().get(annotation) == Some(&word);
        Some(Waits { what, word, message: found.message.clone(), given })
    };
    ALL.into_iter().filter_map(waits).collect()
}

/// The word of the command that a message names: what stands behind the annotation.
fn word(message: &str, annotation: &str) -> Option<String> {
    let (_, rest) = message.split_once(&format!("{annotation}="))?;
    let word: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    (!word.is_empty()).then_some(word)
}

/// Shows what waits, or gives the word.
pub(crate) async fn run(session: &Session, printer: Printer, args: &ConfirmArgs) -> Result<(), Failure> {
    let ConfirmArgs { cluster, what, word } = args;
    let found = session.cluster(cluster).await?;
    let waits = waiting(&found);
    let (Some(what), Some(word)) = (what, word) else {
        let all = Confirmations { cluster: cluster.clone(), waits };
        return printer.answer("Confirmations", &all, render);
    };
    check(cluster, &waits, *what, word)?;
    let annotation =
        ALL.into_iter().find(|(held, ..)| held == what).map_or("", |(.., annotation)| annotation);
    let patch = json!({"metadata": {"annotations": {annotation: word}}});
    let params = PatchParams { field_manager: Some("kubectl-nimfleet".to_owned()), ..PatchParams::default() };
    let api: Api<GPUCluster> = Api::all(session.client());
    call(format!("GPUCluster {cluster}"), api.patch(cluster, &params, &Patch::Merge(&patch))).await?;
    let confirmed = Confirmed { cluster: cluster.clone(), what: *what, word: word.clone() };
    printer.answer("Confirmed", &confirmed, |confirmed| {
        format!(
            "gpucluster/{}: {} {}\n",
            confirmed.cluster,
            name(confirmed.what),
            paint("confirmed", Tone::Good)
        )
    })
}

/// Refuses a word that confirms something else than what waits now.
fn check(cluster: &str, waits: &[Waits], what: Held, word: &str) -> Result<(), Failure> {
    let name = name(what);
    match waits.iter().find(|waits| waits.what == what) {
        Some(waits) if waits.word == word => Ok(()),
        Some(waits) => Err(Failure::Refused(format!(
            "gpucluster/{cluster}: {name}: {word:?} is not the word of what waits now, which is {:?}: look at it first: \
             kubectl nimfleet confirm {cluster}",
            waits.word
        ))),
        None => {
            Err(Failure::Refused(format!("gpucluster/{cluster}: nothing waits to be confirmed as {name}")))
        }
    }
}

fn name(what: Held) -> &'static str {
    match what {
        Held::Deletions => "deletions",
        Held::Failover => "failover",
        Held::OrphanRemoval => "orphan-removal",
    }
}

fn render(all: &Confirmations) -> String {
    let Confirmations { cluster, waits } = all;
    if waits.is_empty() {
        return format!("gpucluster/{cluster}: nothing waits to be confirmed\n");
    }
    let entry = |Waits { what, word, message, given }: &Waits| {
        let name = name(*what);
        let next = if *given {
            paint("the word was given; it is being followed", Tone::Good)
        } else {
            format!("if it is meant: kubectl nimfleet confirm {cluster} {name} {word}")
        };
        format!("{}\n    {message}\n    {next}\n", paint(name, Tone::Warning))
    };
    waits.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_read_from_the_message_of_its_condition() {
        for (message, annotation, expected) in [
            (
                "12 deletions wait in east to be confirmed: NIMService nim/a, … (more than 20 %). If they are meant: kubectl \
                 annotate gpucluster east --overwrite nimfleet.io/confirm-deletions=12-0af3c2d1; if not, bring the objects back",
                CONFIRM_DELETIONS_ANNOTATION,
                Some("12-0af3c2d1"),
            ),
            (
                "if this cluster is really lost: kubectl annotate gpucluster east nimfleet.io/confirm-failover=true",
                CONFIRM_FAILOVER_ANNOTATION,
                Some("true"),
            ),
            (
                "kubectl annotate gpucluster east nimfleet.io/confirm-failover=true",
                CONFIRM_DELETIONS_ANNOTATION,
                None,
            ),
        ] {
            assert_eq!(word(message, annotation).as_deref(), expected, "{message}");
        }
    }

    #[test]
    fn another_word_confirms_nothing_and_names_the_right_one() {
        let waits =
            [Waits { what: Held::OrphanRemoval, word: "3".into(), message: String::new(), given: false }];
        assert!(check("east", &waits, Held::OrphanRemoval, "3").is_ok());
        let wrong = check("east", &waits, Held::OrphanRemoval, "2").unwrap_err().to_string();
        assert!(
            wrong.contains("\"2\"") && wrong.contains("\"3\"") && wrong.contains("gpucluster/east"),
            "{wrong}"
        );
        let none = check("east", &waits, Held::Failover, "true").unwrap_err().to_string();
        assert!(none.contains("nothing waits to be confirmed as failover"), "{none}");
    }
}
