//! What is printed: text with its colours where a terminal shows them, or JSON.

use std::io::Write;

use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Output;
use crate::failure::Failure;

/// Group and version of the JSON objects that commands print.
const API_VERSION: &str = "cli.nimfleet.io/v1alpha1";

/// Where a command prints. Progress and remarks go to stderr, so that stdout is the answer alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    output: Output,
}

impl Printer {
    pub(crate) fn new(output: Output) -> Self {
        Self { output }
    }

    /// Prints the answer of a command: as JSON of that kind, or as text.
    pub(crate) fn answer<T: Serialize>(
        self,
        kind: &str,
        answer: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.output {
            Output::Table => to_stdout(&text(answer)),
            Output::Json => to_stdout(&as_json(kind, answer)?),
        }
    }

    /// The same as one line of a stream.
    pub(crate) fn item<T: Serialize>(
        self,
        kind: &str,
        item: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.output {
            Output::Table => to_stdout(&text(item)),
            Output::Json => to_stdout(&format!("{}\n", object(kind, item)?)),
        }
    }
}

/// Says on stderr how far something is.
pub(crate) fn progress(words: &str) {
    // Nobody reads it: then it is not missed.
    let _ = writeln!(anstream::stderr(), "{words}");
}

/// Prints text as it is.
pub(crate) fn to_stdout(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| Failure::Io { what: "stdout".to_owned(), source })
}

fn object<T: Serialize>(kind: &str, answer: &T) -> Result<Value, Failure> {
    let unprintable = |error: serde_json::Error| Failure::Io { what: kind.to_owned(), source: error.into() };
    let mut object = json!({"apiVersion": API_VERSION, "kind": kind});
    if let (Some(object), Value::Object(fields)) =
        (object.as_object_mut(), serde_json::to_value(answer).map_err(unprintable)?)
    {
        object.extend(fields);
    }
    Ok(object)
}

/// The answer as an object of that kind, indented.
pub(crate) fn as_json<T: Serialize>(kind: &str, answer: &T) -> Result<String, Failure> {
    Ok(format!("{:#}\n", object(kind, answer)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_it_is() {
        let text = as_json("Answer", &json!({"a": 1})).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, json!({"apiVersion": "cli.nimfleet.io/v1alpha1", "kind": "Answer", "a": 1}));
    }
}
