//! KServe's deployment modes, and which of them a NIMService is served in.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::operator::engine::kind::Failure;

/// The annotation that asks for a mode.
pub(super) const ANNOTATION: &str = "serving.kserve.io/deploymentMode";
/// KServe's own settings, in its namespace.
pub(super) const CONFIG: &str = "inferenceservice-config";
/// What is wrong with the annotation; a change of the NIMService heals it.
const INVALID_MODE: &str = "InvalidDeploymentMode";
/// What is wrong with KServe itself; nobody tells when that is healed.
const INVALID_CONFIG: &str = "InvalidKServeConfig";
const NOT_FOUND: &str = "KServeNotFound";
const AMBIGUOUS: &str = "KServeAmbiguous";

/// How KServe runs the pods. Two modes have an older name, which is passed on as it is: some distributions of KServe
/// know only that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Standard,
    RawDeployment,
    Knative,
    Serverless,
    ModelMesh,
}

impl Mode {
    const ALL: &'static [Self] =
        &[Self::Standard, Self::RawDeployment, Self::Knative, Self::Serverless, Self::ModelMesh];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::RawDeployment => "RawDeployment",
            Self::Knative => "Knative",
            Self::Serverless => "Serverless",
            Self::ModelMesh => "ModelMesh",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mode| mode.word() == word)
    }

    /// True where KServe makes Deployments.
    pub(super) fn is_standard(self) -> bool {
        matches!(self, Self::Standard | Self::RawDeployment)
    }

    /// True where KServe makes Services of Knative.
    pub(super) fn is_knative(self) -> bool {
        matches!(self, Self::Knative | Self::Serverless)
    }

    /// True for two names of one mode.
    fn is_as(self, other: Self) -> bool {
        self == other || self.is_standard() && other.is_standard() || self.is_knative() && other.is_knative()
    }
}

/// How KServe is set up in this cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Setup {
    /// Nobody has looked: the mode is known without, or there is no KServe, which the engine tells by itself.
    #[default]
    Unasked,
    /// No namespace has a controller of KServe.
    NotFound,
    /// These have one.
    Ambiguous(Vec<String>),
    /// The settings in this namespace; none where there is no such ConfigMap.
    Found { namespace: String, settings: Option<BTreeMap<String, String>> },
}

/// Chooses: the mode in use, the one asked for, the default of KServe's settings, Standard.
pub(super) fn choose(
    in_use: Option<&str>,
    annotations: Option<&BTreeMap<String, String>>,
    setup: &Setup,
) -> Result<Mode, Failure> {
    if let Some(mode) = in_use.and_then(Mode::parse) {
        return Ok(mode);
    }
    let asked = annotations.and_then(|all| all.get(ANNOTATION)).filter(|word| !word.is_empty());
    if let Some(word) = asked
        && !disallowed(setup)?.iter().any(|key| key == ANNOTATION)
    {
        return Mode::parse(word).ok_or_else(|| {
            let message = format!("spec.annotations: {ANNOTATION} is {word:?}: use {}", words());
            Failure::new(INVALID_MODE, message)
        });
    }
    match setup {
        Setup::Unasked => Ok(Mode::Standard),
        Setup::Found { namespace, settings } => by_default(namespace, settings.as_ref()),
        Setup::NotFound => {
            let message = format!(
                "no Deployment has the label control-plane=kserve-controller-manager, so KServe's default deployment \
                 mode is not known: install KServe, set KSERVE_NAMESPACE for nimfleet-spoke, or set the annotation \
                 {ANNOTATION} in spec.annotations"
            );
            Err(Failure::new(NOT_FOUND, message))
        }
        Setup::Ambiguous(namespaces) => {
            let message = format!(
                "several Deployments have the label control-plane=kserve-controller-manager (namespaces {}): set \
                 KSERVE_NAMESPACE for nimfleet-spoke",
                namespaces.join(", ")
            );
            Err(Failure::new(AMBIGUOUS, message))
        }
    }
}

/// Whether a word is one for this mode. KServe refuses every change of an InferenceService whose annotation names another
/// mode than it has.
pub(super) fn is_word_of(mode: Mode, word: &str) -> bool {
    Mode::parse(word).is_some_and(|named| named.is_as(mode))
}

/// What to say where a service runs in another mode than its annotation asks for.
pub(super) fn kept(
    name: &str,
    in_use: Mode,
    annotations: Option<&BTreeMap<String, String>>,
) -> Option<String> {
    let word = annotations.and_then(|all| all.get(ANNOTATION)).filter(|word| !word.is_empty())?;
    let other = Mode::parse(word).is_none_or(|asked| !asked.is_as(in_use));
    other.then(|| {
        format!(
            "spec.annotations: {ANNOTATION} is {word:?}, and the service stays in mode {}, since KServe changes the mode of \
             no InferenceService: take the annotation back, or delete InferenceService {name}, which ends its pods, to have \
             it made again",
            in_use.word()
        )
    })
}

/// True for reasons that may pass without anything telling us.
pub(super) fn may_pass(reason: &str) -> bool {
    [INVALID_CONFIG, NOT_FOUND, AMBIGUOUS].contains(&reason)
}

/// Annotations that KServe was told to ignore. Those that it ignores in every cluster do not concern the mode.
fn disallowed(setup: &Setup) -> Result<Vec<String>, Failure> {
    let Setup::Found { namespace, settings: Some(settings) } = setup else { return Ok(Vec::new()) };
    let Some(text) = settings.get("inferenceService") else { return Ok(Vec::new()) };
    let entry = json(namespace, "inferenceService", text)?;
    let list = entry["serviceAnnotationDisallowedList"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(list.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect())
}

fn by_default(namespace: &str, settings: Option<&BTreeMap<String, String>>) -> Result<Mode, Failure> {
    let Some(text) = settings.and_then(|settings| settings.get("deploy")) else { return Ok(Mode::Standard) };
    let entry = json(namespace, "deploy", text)?;
    let word = entry["defaultDeploymentMode"].as_str().unwrap_or_default();
    Mode::parse(word).ok_or_else(|| {
        let message =
            format!("{}: defaultDeploymentMode is {word:?}: use {}", place(namespace, "deploy"), words());
        Failure::new(INVALID_CONFIG, message)
    })
}

fn json(namespace: &str, entry: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let message = format!("{} is not JSON: {error}", place(namespace, entry));
        Failure::new(INVALID_CONFIG, message)
    })
}

fn place(namespace: &str, entry: &str) -> String {
    format!("entry {entry} of ConfigMap {namespace}/{CONFIG}")
}

fn words() -> String {
    let words: Vec<_> = Mode::ALL.iter().map(|mode| mode.word()).collect();
    format!("one of {}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(entries: &[(&str, &str)]) -> Setup {
        let settings = entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        Setup::Found { namespace: "kserve".into(), settings: Some(settings) }
    }

    fn chosen(in_use: Option<&str>, asked: Option<&str>, setup: &Setup) -> Result<&'static str, Failure> {
        let annotations = asked.map(|word| BTreeMap::from([(ANNOTATION.to_owned(), word.to_owned())]));
        choose(in_use, annotations.as_ref(), setup).map(Mode::word)
    }

    #[test]
    fn accept_kserve_mode_priority_table() {
        let knative = found(&[("deploy", r#"{"defaultDeploymentMode": "Knative"}"#)]);
        let closed = found(&[
            ("deploy", r#"{"defaultDeploymentMode": "Serverless"}"#),
            (
                "inferenceService",
                r#"{"serviceAnnotationDisallowedList": ["serving.kserve.io/deploymentMode"]}"#,
            ),
        ]);
        let bare = Setup::Found { namespace: "kserve".into(), settings: None };
        let two = Setup::Ambiguous(vec!["a".into(), "b".into()]);
        for (in_use, asked, setup, expected) in [
            (Some("RawDeployment"), Some("Knative"), &knative, "RawDeployment"),
            (Some("Serverless"), Some("nonsense"), &Setup::Unasked, "Serverless"),
            (Some("FromTheFuture"), Some("Knative"), &bare, "Knative"),
            (None, Some("RawDeployment"), &knative, "RawDeployment"),
            (None, Some("Standard"), &knative, "Standard"),
            (None, Some("ModelMesh"), &knative, "ModelMesh"),
            (None, Some("Serverless"), &Setup::NotFound, "Serverless"),
            (None, Some("Knative"), &two, "Knative"),
            (None, Some("Standard"), &closed, "Serverless"),
            (None, Some("nonsense"), &closed, "Serverless"),
            (None, Some(""), &knative, "Knative"),
            (None, None, &knative, "Knative"),
            (None, None, &found(&[]), "Standard"),
            (None, None, &bare, "Standard"),
            (None, None, &Setup::Unasked, "Standard"),
        ] {
            assert_eq!(chosen(in_use, asked, setup), Ok(expected), "{in_use:?} {asked:?} {setup:?}");
        }
    }

    #[test]
    fn a_service_stays_in_the_mode_that_it_has() {
        for (mode, asked, same, words) in [
            (Mode::Standard, None, false, None),
            (Mode::Standard, Some(""), false, None),
            (Mode::Standard, Some("RawDeployment"), true, None),
            (Mode::Serverless, Some("Knative"), true, None),
            (Mode::Standard, Some("Knative"), false, Some("stays in mode Standard")),
            (Mode::Knative, Some("Standard"), false, Some("delete InferenceService llama")),
            (Mode::Standard, Some("nonsense"), false, Some("\"nonsense\"")),
        ] {
            let annotations = asked.map(|word| BTreeMap::from([(ANNOTATION.to_owned(), word.to_owned())]));
            assert_eq!(asked.is_some_and(|word| is_word_of(mode, word)), same, "{mode:?} {asked:?}");
            let told = kept("llama", mode, annotations.as_ref());
            assert_eq!(told.is_some(), words.is_some(), "{mode:?} {asked:?} {told:?}");
            assert!(told.unwrap_or_default().contains(words.unwrap_or_default()), "{mode:?} {asked:?}");
        }
    }

    #[test]
    fn a_mode_that_cannot_be_known_is_told_with_its_remedy() {
        let two = Setup::Ambiguous(vec!["a".into(), "b".into()]);
        for (asked, setup, reason, words) in [
            (Some("standard"), Setup::Unasked, INVALID_MODE, "\"standard\": use one of Standard"),
            (
                None,
                found(&[("deploy", "{")]),
                INVALID_CONFIG,
                "entry deploy of ConfigMap kserve/inferenceservice-config",
            ),
            (None, found(&[("deploy", "{}")]), INVALID_CONFIG, "defaultDeploymentMode is \"\""),
            (None, found(&[("deploy", r#"{"defaultDeploymentMode": "x"}"#)]), INVALID_CONFIG, "is \"x\""),
            (Some("Standard"), found(&[("inferenceService", "[")]), INVALID_CONFIG, "entry inferenceService"),
            (None, Setup::NotFound, NOT_FOUND, "KSERVE_NAMESPACE"),
            (None, two, AMBIGUOUS, "namespaces a, b"),
        ] {
            let why = chosen(None, asked, &setup).unwrap_err();
            assert_eq!(why.reason, reason, "{setup:?}");
            assert!(why.message.contains(words), "{} lacks {words}", why.message);
            assert_eq!(may_pass(reason), reason != INVALID_MODE);
        }
    }
}
