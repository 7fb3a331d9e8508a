//! Who a process is, to others that want the same lease.

use std::fmt;

/// One process: where it runs, and a random part that no other process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    place: Option<String>,
    process: String,
}

impl Identity {
    /// A process named `process`, unique to it, in the pod `place`. An earlier process of that pod has ended before this
    /// one began; without a name nothing is known of others.
    #[must_use]
    pub fn new(place: Option<&str>, process: &str) -> Self {
        Self {
            place: place.filter(|place| !place.is_empty()).map(str::to_owned),
            process: process.to_owned(),
        }
    }

    /// Whether a holder was an earlier process of this pod.
    #[must_use]
    pub fn succeeds(&self, holder: &str) -> bool {
        let theirs = holder.rsplit_once('_').map(|(place, _)| place);
        self.place.is_some() && self.place.as_deref() == theirs
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}_{}", self.process),
            None => f.write_str(&self.process),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_process_of_a_pod_is_known_and_no_other() {
        let (named, nameless) = (Identity::new(Some("spoke-1"), "me"), Identity::new(None, "me"));
        for (holder, succeeds) in [
            ("spoke-1_before", true),
            ("spoke-10_x", false),
            ("spoke-2_me", false),
            ("spoke-1", false),
            ("", false),
        ] {
            assert_eq!(named.succeeds(holder), succeeds, "{holder:?}");
            assert!(!nameless.succeeds(holder), "{holder:?}");
        }
        assert_eq!((named.to_string(), nameless.to_string()), ("spoke-1_me".to_owned(), "me".to_owned()));
    }
}
