//! What a microservice refers to by name, and what was found of it. Pure.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::operator::diagnosis::Diagnosis;
use crate::operator::engine::kind::{Failure, Subject};
use crate::operator::references::{Reference, Thing, Version};

/// One reference, and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) reference: Reference,
    /// The field of the spec that names it.
    pub(crate) field: &'static str,
    pub(crate) part: Part,
}

/// What is used of something that is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// That it is there.
    Presence,
    /// What children are made of; they show its changes themselves.
    Content,
    /// Values that the pods have in their environment: they are replaced when one changes.
    Keys(Vec<String>),
    /// All of it, mounted: pods are replaced when it changes.
    Whole,
}

impl Part {
    /// Whether the content is read, rather than the metadata alone.
    pub(crate) fn is_read(&self) -> bool {
        *self != Self::Presence
    }
}

impl Need {
    /// Something of the object's own namespace.
    pub(crate) fn new(subject: &Subject, thing: Thing, name: &str, field: &'static str, part: Part) -> Self {
        let namespace = subject.owner.namespace.clone();
        Self { reference: Reference { thing, namespace, name: name.to_owned() }, field, part }
    }

    /// A key of a Secret that the pods have in their environment.
    pub(crate) fn key(subject: &Subject, secret: &str, key: &str, field: &'static str) -> Self {
        Self::new(subject, Thing::Secret, secret, field, Part::Keys(vec![key.to_owned()]))
    }
}

/// What was found of one reference. It has no `Debug`: what is secret must not get into a log.
#[derive(Clone, Default)]
pub(crate) struct Content {
    pub(crate) uid: String,
    pub(crate) version: Version,
    /// Empty of what was not read.
    pub(crate) data: BTreeMap<String, Vec<u8>>,
}

/// All that was found.
#[derive(Clone, Default)]
pub(crate) struct Found {
    pub(crate) contents: BTreeMap<Reference, Content>,
    /// Why something cannot be read although it may be there.
    pub(crate) refused: Option<Failure>,
    /// The checksum that the pods have now.
    pub(crate) previous: Option<String>,
    /// Why its pods do not start.
    pub(crate) diagnosis: Diagnosis,
}

impl Found {
    /// The text of a key that children are made of.
    pub(crate) fn text(&self, need: &Need, key: &str) -> Result<&str, Failure> {
        let content = self.content(need)?;
        let (word, name) = named(&need.reference);
        let Some(bytes) = content.data.get(key) else {
            let message = format!("{word} {name} of {} has no key {key}: add it", need.field);
            return Err(Failure::new(format!("{word}KeyNotFound"), message));
        };
        std::str::from_utf8(bytes).map_err(|_| {
            let message = format!("key {key} of {word} {name} of {} is not text", need.field);
            Failure::new(format!("{word}Invalid"), message)
        })
    }

    /// All of something that children are made of.
    pub(crate) fn content(&self, need: &Need) -> Result<&Content, Failure> {
        self.contents.get(&need.reference).ok_or_else(|| {
            let (word, name) = named(&need.reference);
            let message = format!("{word} {name} of {} not found: make it", need.field);
            Failure::new(format!("{word}NotFound"), message)
        })
    }

    /// What is missing, in words, of all that is needed.
    pub(crate) fn missing(&self, needs: &[Need]) -> Vec<String> {
        let missing = needs.iter().filter_map(|need| {
            let (word, name) = named(&need.reference);
            let Some(content) = self.contents.get(&need.reference) else {
                return Some(format!("{word} {name} ({})", need.field));
            };
            let Part::Keys(keys) = &need.part else { return None };
            let absent = keys.iter().find(|key| !content.data.contains_key(*key))?;
            Some(format!("key {absent} of {word} {name} ({})", need.field))
        });
        let mut words: Vec<String> = Vec::new();
        for word in missing {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        words
    }

    /// The checksum that pods shall have. What goes away replaces no pod: those that run have what they need, and a new
    /// one could not start.
    pub(crate) fn checksum(&self, needs: &[Need]) -> Option<String> {
        let lacks = |need: &Need| match (&need.part, self.contents.get(&need.reference)) {
            (Part::Presence | Part::Content, _) | (Part::Whole, Some(_)) => false,
            (Part::Keys(keys), Some(content)) => keys.iter().any(|key| !content.data.contains_key(key)),
            (Part::Keys(_) | Part::Whole, None) => true,
        };
        let replaces = |part: &Part| matches!(part, Part::Keys(_) | Part::Whole);
        if needs.iter().any(lacks) { self.previous.clone() } else { self.digest(needs, replaces) }
    }

    /// All that the workload is made from besides its own spec: the checksum of its pods, and a digest of what children
    /// are made of.
    pub(crate) fn referred(&self, needs: &[Need]) -> String {
        let made_of = self.digest(needs, |part| *part == Part::Content);
        format!("{}/{}", self.checksum(needs).unwrap_or_default(), made_of.unwrap_or_default())
    }

    /// The checksum in what [`Self::referred`] gave once.
    pub(crate) fn checksum_in(referred: &str) -> Option<String> {
        referred.split('/').next().filter(|checksum| !checksum.is_empty()).map(str::to_owned)
    }

    /// A digest of everything that is used in such a way; none when there is no such thing.
    ///
    /// A Secret's uid is in it: it is known only to those who may read the Secret, so that nobody can try out passwords
    /// against the digest, which everyone who may look at pods can read.
    fn digest(&self, needs: &[Need], counts: impl Fn(&Part) -> bool) -> Option<String> {
        let mut digest = Sha256::new();
        let mut any = false;
        let mut add = |bytes: &[u8]| {
            digest.update(bytes.len().to_be_bytes());
            digest.update(bytes);
        };
        for need in needs.iter().filter(|need| counts(&need.part)) {
            let Reference { thing, name, .. } = &need.reference;
            let content = self.contents.get(&need.reference);
            let data = content.map(|content| &content.data);
            let values: Vec<(&String, Option<&Vec<u8>>)> = match &need.part {
                Part::Presence => continue,
                Part::Keys(keys) => {
                    keys.iter().map(|key| (key, data.and_then(|data| data.get(key)))).collect()
                }
                Part::Content | Part::Whole => {
                    data.into_iter().flatten().map(|(key, value)| (key, Some(value))).collect()
                }
            };
            any = true;
            add(name.as_bytes());
            if *thing == Thing::Secret {
                add(content.map_or(&[], |content| content.uid.as_bytes()));
            }
            for (key, value) in values {
                add(key.as_bytes());
                add(value.map_or(&[], Vec::as_slice));
            }
        }
        any.then(|| hex::encode(digest.finalize()))
    }
}

/// The kind, as reasons have it, and the name.
fn named(reference: &Reference) -> (&'static str, &str) {
    let word = match reference.thing {
        Thing::ConfigMap => "ConfigMap",
        Thing::Secret => "Secret",
        Thing::Claim => "PVC",
        Thing::Service => "Service",
        Thing::ServiceAccount => "ServiceAccount",
        Thing::Definition => "CustomResourceDefinition",
    };
    (word, &reference.name)
}

#[cfg(test)]
mod tests;
