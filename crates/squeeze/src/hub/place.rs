//! Where the files of a model are: on the Hub, or in a folder of the same form.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

use super::fetch::Hub;

/// What names of the Hub begin with.
const PREFIX: &str = "hf:";

/// The file that says what a model is.
pub(super) const CONFIG: &str = "config.json";

/// Whether a MODEL argument means a model of the Hub, or a folder that holds one.
pub fn is_name(model: &str) -> bool {
    model.starts_with(PREFIX) || Path::new(model).join(CONFIG).is_file()
}

/// A model on the Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `org/name`, or the bare name of an old model.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl Name {
    /// The model that `hf:org/name[@revision]` means.
    ///
    /// # Errors
    /// When it has another form.
    pub fn parse(model: &str) -> Result<Self> {
        let name = model.strip_prefix(PREFIX).unwrap_or(model);
        let (repository, revision) = name.split_once('@').unwrap_or((name, "main"));
        let parts = repository.split('/').count();
        if parts > 2 || !is_path(repository) || !is_path(revision) {
            bail!("{model}: a model of the Hub is called hf:ORG/NAME or hf:ORG/NAME@REVISION");
        }
        Ok(Self {
            repository: repository.into(),
            revision: revision.into(),
        })
    }
}

/// Whether a text is a path that leads nowhere but down.
pub(super) fn is_path(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.split('/')
        .all(|part| !part.is_empty() && part.chars().all(fits) && part.chars().any(|c| c != '.'))
}

/// Where a model's files are.
pub(super) enum Place {
    Hub(Box<Hub>, Name),
    Folder(PathBuf),
}

impl Place {
    pub(super) fn of(model: &str) -> Result<Self> {
        if model.starts_with(PREFIX) {
            return Ok(Self::Hub(Box::new(Hub::from_env()?), Name::parse(model)?));
        }
        Ok(Self::Folder(model.into()))
    }

    /// A file that the model must have.
    pub(super) fn file(&self, file: &str) -> Result<PathBuf> {
        match self {
            Self::Hub(hub, name) => hub.file(name, file),
            Self::Folder(folder) => self
                .optional(file)?
                .ok_or_else(|| anyhow!("there is no `{file}` in {}", folder.display())),
        }
    }

    /// A file that the model may have.
    pub(super) fn optional(&self, file: &str) -> Result<Option<PathBuf>> {
        match self {
            Self::Hub(hub, name) => hub.optional(name, file),
            Self::Folder(folder) => Ok(Some(folder.join(file)).filter(|path| path.is_file())),
        }
    }

    /// What the network is called.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Hub(_, name) => name.repository.clone(),
            Self::Folder(folder) => {
                let last = folder.canonicalize().unwrap_or_else(|_| folder.clone());
                let last = last.file_name().unwrap_or_default();
                last.to_string_lossy().into_owned()
            }
        }
    }

    /// What a model file's card says it comes from.
    pub(super) fn origin(&self) -> String {
        match self {
            Self::Hub(_, name) => format!("{PREFIX}{}@{}", name.repository, name.revision),
            Self::Folder(_) => self.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_revision_or_none() {
        let of = |model: &str| {
            let Name {
                repository,
                revision,
            } = Name::parse(model).expect("a name");
            [repository, revision]
        };
        assert_eq!(of("hf:org/name"), ["org/name", "main"]);
        assert_eq!(of("hf:org/na.me-2@refs/pr/1"), ["org/na.me-2", "refs/pr/1"]);
        assert_eq!(of("hf:name@v1.0"), ["name", "v1.0"]);
        for wrong in [
            "hf:",
            "hf:a/b/c",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@..",
            "hf:/b",
            "hf:a b",
            "hf:a/b@x/../y",
        ] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
        assert!(is_name("hf:x") && !is_name("hf.squeeze"));
    }
}
