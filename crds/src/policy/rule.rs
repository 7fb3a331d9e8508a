//! One rule, and how it becomes a validation of a policy.
//!
//! In a rule's CEL, `$word` stands for one of its policy's [`Words`]; in its texts, `{…}` holds CEL that is computed
//! when the rule is broken.

use k8s_openapi::api::admissionregistration::v1::Validation;

/// What must hold of an object, and what its author reads when it does not.
#[derive(Debug)]
pub(super) struct Rule {
    /// Its number, see [`super`].
    pub(super) number: &'static str,
    /// Lists that it looks into, the outermost first; it holds for every item.
    pub(super) within: &'static [Level],
    /// The field, from the spec or from the item on, beginning with a dot; or `metadata.name`, which `says` names itself.
    pub(super) path: &'static str,
    /// CEL that is true of an object that may be stored.
    pub(super) holds: &'static str,
    /// What is wrong with the field, and what to do.
    pub(super) says: &'static str,
}

/// A list whose items are looked at one by one.
#[derive(Debug)]
pub(super) struct Level {
    /// CEL: the list.
    pub(super) list: &'static str,
    /// Name of an item in the CEL of the rule.
    pub(super) item: &'static str,
    /// CEL: which items count, where not all do.
    pub(super) only: Option<&'static str>,
    /// The list's field.
    pub(super) path: &'static str,
    /// What comes between the item and the field of the rule.
    pub(super) below: &'static str,
}

/// Names for parts of a spec that rules of one policy share. They are put in wherever they stand: a variable of a
/// policy cannot hold an optional field, nor be another for every item of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// What `$spec` stands for.
    pub(super) spec: &'static str,
    /// The other words; each may use those before it.
    pub(super) words: &'static [(&'static str, &'static str)],
}

/// A piece of a message.
enum Piece {
    Text(String),
    Cel(String),
}

impl Rule {
    /// A rule on a field of the spec.
    pub(super) const fn of(
        number: &'static str,
        path: &'static str,
        holds: &'static str,
        says: &'static str,
    ) -> Self {
        Self { number, within: &[], path, holds, says }
    }

    /// The validation for an object that holds the rule's own subject in the items of `outer`.
    pub(super) fn validation(&self, outer: &[Level], words: &Words, reason: &str) -> Validation {
        let levels: Vec<&Level> = outer.iter().chain(self.within).collect();
        let message = if self.is_on_name() {
            pieces(self.says)
        } else {
            joined(Piece::Text("spec".to_owned()), self.message(&levels))
        };
        let (message, computed) = match message.as_slice() {
            [Piece::Text(text)] => (Some(text.clone()), None),
            pieces => (None, Some(words.expand(&concatenated(pieces)))),
        };
        Validation {
            expression: words.expand(&self.holds(&levels)),
            message,
            message_expression: computed,
            reason: Some(reason.to_owned()),
        }
    }

    /// Whether it is about `metadata.name`.
    fn is_on_name(&self) -> bool {
        self.path == "metadata.name"
    }

    fn holds(&self, levels: &[&Level]) -> String {
        let Some((level, inner)) = levels.split_first() else { return self.holds.to_owned() };
        let holds = self.holds(inner);
        let holds = level.only.map_or_else(|| holds.clone(), |only| format!("!({only}) || ({holds})"));
        format!("{}.all({}, {holds})", level.list, level.item)
    }

    /// The text for the first item that breaks the rule.
    fn message(&self, levels: &[&Level]) -> Vec<Piece> {
        let Some((level, inner)) = levels.split_first() else {
            return pieces(&format!("{}: {}", self.path, self.says));
        };
        let Level { list, item, path, below, .. } = level;
        let place = [Piece::Text(format!("{path}[")), Piece::Cel(format!("string({list}.indexOf({item}))"))];
        let rest = joined(Piece::Text(format!("]{below}")), self.message(inner));
        let message: Vec<Piece> = place.into_iter().chain(rest).collect();
        let only = level.only.map(|only| format!("({only}) && ")).unwrap_or_default();
        let broken = format!("{only}!({})", self.holds(inner));
        vec![Piece::Cel(format!("{list}.map({item}, {broken}, {})[0]", concatenated(&message)))]
    }
}

impl Words {
    /// The CEL with the words replaced. A `$` that begins none, as at the end of a regular expression, stays.
    fn expand(&self, cel: &str) -> String {
        let mut parts = cel.split('$');
        let mut expanded = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
            let (name, rest) = part.split_at(end);
            expanded.push_str(&self.word(name).unwrap_or_else(|| format!("${name}")));
            expanded.push_str(rest);
        }
        expanded
    }

    fn word(&self, name: &str) -> Option<String> {
        if name == "spec" {
            return Some(self.spec.to_owned());
        }
        let (_, cel) = self.words.iter().find(|(word, _)| *word == name)?;
        Some(format!("({})", self.expand(cel)))
    }
}

impl Piece {
    fn cel(&self) -> String {
        match self {
            Self::Text(text) => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
            Self::Cel(cel) => cel.clone(),
        }
    }
}

fn concatenated(pieces: &[Piece]) -> String {
    pieces.iter().map(Piece::cel).collect::<Vec<_>>().join(" + ")
}

/// The pieces with one more before them; texts that meet become one.
fn joined(first: Piece, rest: Vec<Piece>) -> Vec<Piece> {
    let mut rest = rest.into_iter();
    match (first, rest.next()) {
        (Piece::Text(first), Some(Piece::Text(second))) => {
            std::iter::once(Piece::Text(first + &second)).chain(rest).collect()
        }
        (first, second) => std::iter::once(first).chain(second).chain(rest).collect(),
    }
}

/// Text and the CEL in its braces.
fn pieces(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, (cel, after))) =
        rest.split_once('{').and_then(|(text, rest)| Some((text, rest.split_once('}')?)))
    {
        pieces.extend([Piece::Text(text.to_owned()), Piece::Cel(cel.to_owned())]);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    pieces
}
