//! Programs that the machine has already: which of them take the place of one that would be built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::build::BuildError;
use super::recipe::{self, Program, Substitute, Version};

/// Where programs are looked for.
pub(super) struct Places {
    /// The folder that `KUBEBUILDER_ASSETS` names.
    pub(super) assets: Option<PathBuf>,
    /// The folders of the PATH.
    pub(super) path: Vec<PathBuf>,
}

/// Where a program comes from.
pub(super) struct Choice {
    /// The program, if it need not be built.
    pub(super) program: Option<PathBuf>,
    /// What was taken, and what was not and why.
    pub(super) notes: Vec<String>,
}

impl Places {
    /// The first of these: what `KUBEBUILDER_ASSETS` offers, what was built before (`built`), what is on the PATH; if it fits.
    pub(super) fn choose(&self, program: &Program, built: &Path) -> Result<Choice, BuildError> {
        let mut notes = Vec::new();
        let substitute = program.substitute.as_ref();
        if let Some(assets) = &self.assets
            && let Some(substitute) = substitute.filter(|substitute| substitute.in_assets)
        {
            if !assets.is_dir() {
                return Err(BuildError::NoAssets(assets.clone()));
            }
            let offered = assets.join(program.name);
            match judge(&offered, program.name, substitute) {
                Ok(note) => return Ok(Choice { program: Some(offered), notes: vec![note] }),
                Err(note) => notes.push(format!("KUBEBUILDER_ASSETS: {note}")),
            }
        }
        if built.exists() {
            return Ok(Choice { program: Some(built.to_owned()), notes });
        }
        if let Some(substitute) = substitute.filter(|substitute| substitute.on_path)
            && let Some(offered) =
                self.path.iter().map(|folder| folder.join(program.name)).find(|p| p.is_file())
        {
            match judge(&offered, program.name, substitute) {
                Ok(note) => return Ok(Choice { program: Some(offered), notes: vec![note] }),
                Err(note) => notes.push(note),
            }
        }
        Ok(Choice { program: None, notes })
    }
}

/// Whether a program fits: a note that it is taken, or why it is not.
fn judge(offered: &Path, name: &str, substitute: &Substitute) -> Result<String, String> {
    let built = Version::of(recipe::version_of(substitute.module)).unwrap_or(Version { major: 0, minor: 0 });
    let wanted = substitute.fit.wanted(built);
    let path = offered.display();
    if !offered.is_file() {
        return Err(format!("{path} does not exist; {name} {wanted} would fit"));
    }
    let asked = Command::new(offered).args(substitute.ask).stdin(Stdio::null()).output();
    let told = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    match told.as_ref().map(|told| Version::of(told)) {
        Ok(Some(version)) if substitute.fit.allows(built, version) => {
            Ok(format!("using {path}, version {}.{}", version.major, version.minor))
        }
        Ok(Some(Version { major, minor })) => {
            Err(format!("not using {path}, version {major}.{minor}: {name} {wanted} would fit"))
        }
        Ok(None) => Err(format!(
            "not using {path}: `{name} {}` tells no version; {name} {wanted} would fit",
            substitute.ask.join(" ")
        )),
        Err(error) => Err(format!("not using {path}: {error}; {name} {wanted} would fit")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::recipe::Fit;
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        for (printed, major, minor) in [
            ("Kubernetes v1.36.3", 1, 36),
            ("etcd Version: 3.6.8\nGit SHA: 0123abc\nGo Version: go1.26.8", 3, 6),
            ("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", 1, 32),
            ("v3.21.4+g1a2b3c4", 3, 21),
            ("v4.0", 4, 0),
        ] {
            assert_eq!(Version::of(printed), Some(Version { major, minor }), "{printed}");
        }
        assert_eq!(Version::of("unknown flag: --version"), None);
    }

    #[test]
    fn a_version_fits_by_the_rule_of_its_program() {
        let built = Version { major: 1, minor: 36 };
        let fits = |fit: Fit, minor| fit.allows(built, Version { major: 1, minor });
        assert_eq!([35, 36, 37].map(|minor| fits(Fit::Same, minor)), [false, true, false]);
        assert_eq!([34, 35, 37, 38].map(|minor| fits(Fit::OneApart, minor)), [false, true, true, false]);
        assert_eq!([16, 17, 40].map(|minor| fits(Fit::From(17), minor)), [false, true, true]);
        assert!(!Fit::From(17).allows(built, Version { major: 2, minor: 36 }), "another major version");
        assert_eq!(Fit::OneApart.wanted(built), "1.35 to 1.37");
    }
}
