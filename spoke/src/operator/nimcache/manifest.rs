//! The model manifest that a NIM image carries: which profiles it has, in either of its two forms.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, Visitor};
use serde_json::{Value, json};
use serde_saphyr::{DuplicateKeyPolicy, Options};

/// Tags of a profile.
pub(crate) type Tags = BTreeMap<String, String>;

/// One profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) id: String,
    /// Empty in the second form.
    pub(crate) model: String,
    /// Empty in the second form.
    pub(crate) release: String,
    pub(crate) container: String,
    pub(crate) tags: Tags,
}

impl Profile {
    /// As the status of a NIMCache shows it.
    pub(crate) fn shown(&self) -> Value {
        let mut entry = json!({"name": self.id, "config": self.tags});
        for (key, value) in [("model", &self.model), ("release", &self.release)] {
            if !value.is_empty() {
                entry[key] = json!(value);
            }
        }
        entry
    }
}

/// The forms of a manifest. They are matched by different rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A map of profiles.
    First,
    /// `schema_version: 2…` and a list of profiles.
    Second,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) form: Form,
    /// In the order of the file (second form) or by id (first form, whose file is a map).
    pub(crate) profiles: Vec<Profile>,
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the model manifest cannot be read: {problem}; is modelPuller a NIM image?")]
pub(crate) struct ManifestError {
    problem: String,
}

/// Reads a manifest. Files of profiles, tags of YAML such as `!workspace` and unknown fields are passed over; of keys
/// given twice the last counts.
pub(crate) fn parse(text: &str) -> Result<Manifest, ManifestError> {
    let version = read::<Head>(text).ok().and_then(|head| head.schema_version).unwrap_or_default().0;
    let second = version.trim() == "2" || version.trim().starts_with("2.");
    if second {
        let body: Second = read(text)?;
        let profiles = body.profiles.into_iter().map(|profile| profile.into_profile(None)).collect();
        return Ok(Manifest { form: Form::Second, profiles });
    }
    let body: BTreeMap<String, Entry> = read(text)?;
    let profiles = body.into_iter().filter_map(|(id, entry)| match entry {
        Entry::Profile(profile) => Some(profile.into_profile(Some(id))),
        Entry::Other => None,
    });
    Ok(Manifest { form: Form::First, profiles: profiles.collect() })
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ManifestError> {
    let options: Options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| ManifestError { problem: error.to_string() })
}

impl Manifest {
    /// The manifest without its lists of files, which would not fit into a ConfigMap.
    pub(crate) fn minimal(&self) -> String {
        let mut text = String::new();
        match (self.form, self.profiles.is_empty()) {
            (Form::First, false) => {}
            (Form::First, true) => text.push_str("{}\n"),
            (Form::Second, false) => text.push_str("profiles:\n"),
            (Form::Second, true) => text.push_str("profiles: []\n"),
        }
        for profile in &self.profiles {
            let fields = [
                ("container_url", &profile.container),
                ("model", &profile.model),
                ("release", &profile.release),
            ];
            let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
            match self.form {
                Form::First => line(&mut text, 0, &scalar(&profile.id), ""),
                Form::Second => line(&mut text, 0, "- id", &scalar(&profile.id)),
            }
            fields.for_each(|(key, value)| line(&mut text, 2, key, &scalar(value)));
            line(&mut text, 2, "tags", if profile.tags.is_empty() { "{}" } else { "" });
            profile.tags.iter().for_each(|(key, value)| line(&mut text, 4, &scalar(key), &scalar(value)));
        }
        if self.form == Form::Second {
            text.push_str("schema_version: \"2.0\"\n");
        }
        text
    }
}

fn line(text: &mut String, indent: usize, key: &str, value: &str) {
    let gap = if value.is_empty() { "" } else { " " };
    // Writing to a String does not fail.
    let _ = writeln!(text, "{:indent$}{key}:{gap}{value}", "");
}

/// A YAML scalar: plain where that reads back as the same text, quoted otherwise.
fn scalar(text: &str) -> String {
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | ':');
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && !text.ends_with(':')
        && text.chars().all(letters)
        && !looks_typed(text);
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// True for what YAML would read as a number, a truth or nothing. Texts of digits and letters that only resemble a
/// number are quoted as well, which does no harm.
fn looks_typed(text: &str) -> bool {
    const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"];
    let digits = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '_' | '-'));
    let number = text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o");
    WORDS.contains(&text.to_ascii_lowercase().as_str()) || number || (digits && text.matches('.').count() < 2)
}

#[derive(Deserialize)]
struct Head {
    schema_version: Option<Text>,
}

#[derive(Deserialize)]
struct Second {
    #[serde(default)]
    profiles: Vec<Raw>,
}

#[derive(Default, Deserialize)]
struct Raw {
    #[serde(default)]
    id: Text,
    #[serde(default)]
    model: Text,
    #[serde(default)]
    release: Text,
    #[serde(default)]
    container_url: Text,
    #[serde(default)]
    tags: BTreeMap<String, Text>,
}

impl Raw {
    fn into_profile(self, id: Option<String>) -> Profile {
        Profile {
            id: id.unwrap_or(self.id.0),
            model: self.model.0,
            release: self.release.0,
            container: self.container_url.0,
            tags: self.tags.into_iter().map(|(key, value)| (key, value.0)).collect(),
        }
    }
}

/// What stands at the top of the first form: profiles, and perhaps a scalar such as a version.
enum Entry {
    Profile(Box<Raw>),
    Other,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Entry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a profile")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                Raw::deserialize(de::value::MapAccessDeserializer::new(map))
                    .map(|raw| Entry::Profile(Box::new(raw)))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entry::Other)
            }
            fn visit_str<E: de::Error>(self, _: &str) -> Result<Entry, E> {
                Ok(Entry::Other)
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Entry, E> {
                Ok(Entry::Other)
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Entry, E> {
                Ok(Entry::Other)
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Entry, E> {
                Ok(Entry::Other)
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Entry, E> {
                Ok(Entry::Other)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Entry, E> {
                Ok(Entry::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A scalar as it is written; nothing for null.
#[derive(Default)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<String>::deserialize(deserializer).map(|text| Self(text.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests;
