//! Errors in one line, with what caused them.

use std::error::Error;

/// The error and its causes in one line. A cause that an error repeats in its own words, as those of kube do, is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Cause(&'static str, #[source] Option<Box<Cause>>);

    #[test]
    fn causes_are_said_once_and_in_one_line() {
        let cause = |text, cause| Some(Box::new(Cause(text, cause)));
        let error = Cause("it failed: no route", cause("no route", cause("host\ndown", None)));
        assert_eq!(chain(&error), "it failed: no route: host down");
    }
}
