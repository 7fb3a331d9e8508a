//! The limits that this cluster's owner has set, read from the file that the chart mounts.

use std::path::{Path, PathBuf};

use crate::deliver::Limits;

/// Limits that cannot be read. Nothing is delivered by limits that nobody knows.
#[derive(Debug, thiserror::Error)]
#[error("limits: {path}: {problem}: correct `limits` in the values of nimfleet-spoke", path = .path.display())]
pub struct LimitsError {
    /// As given.
    path: PathBuf,
    /// What is wrong with it.
    problem: String,
}

/// The limits of the file; without a file, those of the chart.
pub(super) fn read(path: Option<&Path>) -> Result<Limits, LimitsError> {
    let Some(path) = path else { return Ok(Limits::default()) };
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) => Err(LimitsError { path: path.to_owned(), problem: error.to_string() }),
    }
}

fn parse(path: &Path, text: &str) -> Result<Limits, LimitsError> {
    serde_saphyr::from_str(text)
        .map_err(|error| LimitsError { path: path.to_owned(), problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_differs_and_a_mistake_in_it_says_where() {
        let file = Path::new("limits.yaml");
        assert_eq!(read(None).unwrap(), Limits::default());
        let wider = parse(file, "extraContainers: true\nnamespaces: {allowed: [models]}\n").unwrap();
        assert!(wider.extra_containers && !wider.privileged && wider.deletions);
        let error = parse(file, "hostPath: [/data]\n").unwrap_err().to_string();
        assert!(
            error.contains("limits.yaml") && error.contains("hostPath") && error.contains("values"),
            "{error}"
        );
        assert!(read(Some(Path::new("/nonexistent"))).is_err(), "no file is no licence");
    }
}
