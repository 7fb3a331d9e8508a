//! Kubernetes events, as the API server takes them.

use kube::runtime::events::{Event, EventType};

/// Longest note that an API server takes, bytes.
const LONGEST_NOTE: usize = 1024;

/// An event; what is too long of the note is left out.
#[must_use]
pub fn event(is_warning: bool, action: &str, reason: &str, note: &str) -> Event {
    Event {
        type_: if is_warning { EventType::Warning } else { EventType::Normal },
        reason: reason.to_owned(),
        note: Some(cut(note).to_owned()),
        action: action.to_owned(),
        secondary: None,
    }
}

fn cut(note: &str) -> &str {
    let mut end = note.len().min(LONGEST_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    &note[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_fit_and_stay_text() {
        assert_eq!(cut("short"), "short");
        let long = "ü".repeat(600);
        assert_eq!(cut(&long).len(), 1024);
        assert_eq!(cut(&format!("a{long}")).len(), 1023, "cut in the middle of a character");
    }
}
