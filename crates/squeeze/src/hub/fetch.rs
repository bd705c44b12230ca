//! Files of the Hub: from the cache, or through `hf-hub` into it.
//!
//! Two things are added to the crate: an answer that stops coming ends with an error instead of never, and a file of
//! another size than was said is not kept.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use indicatif::ProgressBar;

use super::place::Name;

/// Where files are, and how others are got.
pub(super) struct Hub {
    cache: Cache,
    /// Nothing when the cache alone is to be used.
    api: Option<Api>,
    /// How long an answer may say nothing.
    patience: Duration,
}

/// As in `huggingface_hub`, which names the variable.
const PATIENCE: u64 = 10;

/// How often a file is asked for whose answer broke off, each time from where it broke off.
const ATTEMPTS: usize = 5;

impl Hub {
    /// As the variables of the Hub's other programs say.
    pub fn from_env() -> Result<Self> {
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let is_on = |name: &str| {
            let value = set(name).unwrap_or_default().to_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&&*value)
        };
        let path = match (set("HF_HUB_CACHE"), set("HF_HOME")) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => Path::new(&home).join("hub"),
            (None, None) => {
                let home = set("XDG_CACHE_HOME").map(PathBuf::from);
                let home = home.or_else(|| Some(env::home_dir()?.join(".cache")));
                let home = home.context("there is no home folder: set HF_HOME")?;
                home.join("huggingface/hub")
            }
        };
        let cache = Cache::new(path);
        let patience = match set("HF_HUB_DOWNLOAD_TIMEOUT") {
            Some(seconds) => seconds
                .parse()
                .ok()
                .filter(|&seconds| seconds > 0)
                .with_context(|| {
                    format!("HF_HUB_DOWNLOAD_TIMEOUT is `{seconds}`: whole seconds are needed")
                })?,
            None => PATIENCE,
        };
        let mut api = None;
        if !is_on("HF_HUB_OFFLINE") && !is_on("TRANSFORMERS_OFFLINE") {
            let mut builder = ApiBuilder::from_cache(cache.clone()).with_progress(false);
            if let Some(endpoint) = set("HF_ENDPOINT") {
                builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
            }
            if let Some(token) = set("HF_TOKEN") {
                builder = builder.with_token(Some(token));
            }
            api = Some(builder.build().context("the Hub's client cannot be made")?);
        }
        let patience = Duration::from_secs(patience);
        Ok(Self {
            cache,
            api,
            patience,
        })
    }

    /// A file that the model must have.
    pub fn file(&self, name: &Name, file: &str) -> Result<PathBuf> {
        let Name {
            repository,
            revision,
        } = name;
        let found = self.optional(name, file)?;
        found.ok_or_else(|| match self.api {
            Some(_) => anyhow!("the Hub has no `{file}` of `{repository}` at revision `{revision}`"),
            None => anyhow!(
                "`{file}` of `{repository}` at revision `{revision}` is not in {}, and HF_HUB_OFFLINE says to stay there",
                self.cache.path().display()
            ),
        })
    }

    /// A file that the model may have.
    pub fn optional(&self, name: &Name, file: &str) -> Result<Option<PathBuf>> {
        let (repository, revision) = (name.repository.clone(), name.revision.clone());
        let repo = Repo::with_revision(repository, RepoType::Model, revision);
        let cached = self.cache.repo(repo.clone());
        // A commit has no reference that leads to it.
        let of_commit = cached.pointer_path(&name.revision).join(file);
        if let Some(path) = cached
            .get(file)
            .or(Some(of_commit).filter(|path| path.exists()))
        {
            return Ok(Some(path));
        }
        let Some(api) = &self.api else {
            return Ok(None);
        };
        for attempt in 1.. {
            let (result, size, got) = self.download(api.repo(repo.clone()), file)?;
            let why = match result {
                Ok(path) => {
                    let found = std::fs::metadata(&path)?.len();
                    if found == size {
                        return Ok(Some(path));
                    }
                    remove(&path);
                    anyhow!("{found} bytes came of {size}")
                }
                Err(ApiError::RequestError(error)) => match *error {
                    ureq::Error::StatusCode(404) => return Ok(None),
                    ureq::Error::StatusCode(status @ (401 | 403)) => bail!(
                        "the Hub does not show `{}` (status {status}): check the name, or set HF_TOKEN if it is not for all",
                        name.repository
                    ),
                    error => anyhow!("{error}"),
                },
                Err(ApiError::InvalidResume) => {
                    remove_parts(&cached.blob_path("any"));
                    anyhow!(
                        "more had come than there is; that is removed, the same command starts again"
                    )
                }
                Err(error) => anyhow!("{error}"),
            };
            if attempt == ATTEMPTS || got == 0 {
                return Err(why.context(format!("cannot get `{file}` of `{}`", name.repository)));
            }
        }
        unreachable!("the last attempt returns")
    }

    /// One attempt: what came of it, the size that the file should have, and how many bytes of it came this time.
    fn download(&self, repo: ApiRepo, file: &str) -> Result<(Result<PathBuf, ApiError>, u64, u64)> {
        let (sender, events) = mpsc::channel();
        let (asked, file) = (file.to_owned(), file);
        // A thread that waits for an answer ends with the process.
        thread::spawn(move || {
            let result = repo.download_with_progress(&asked, Told(sender.clone()));
            let _ = sender.send(Event::Done(result));
        });
        let bar = ProgressBar::no_length().with_message(file.to_owned());
        let (mut size, mut got) = (0, 0);
        let mut before = None;
        loop {
            match events.recv_timeout(self.patience) {
                Ok(Event::Size(bytes)) => {
                    size = bytes;
                    bar.set_length(bytes);
                }
                // The first are those of an earlier attempt.
                Ok(Event::Bytes(bytes)) => {
                    match before {
                        None => before = Some(bytes),
                        Some(_) => got += bytes,
                    }
                    bar.inc(bytes);
                }
                Ok(Event::Done(result)) => {
                    bar.finish_and_clear();
                    return Ok((result, size, got));
                }
                Err(RecvTimeoutError::Timeout) => bail!(
                    "nothing came of `{file}` for {} s: the same command goes on from here; HF_HUB_DOWNLOAD_TIMEOUT waits longer",
                    self.patience.as_secs()
                ),
                Err(RecvTimeoutError::Disconnected) => bail!("the download of `{file}` broke off"),
            }
        }
    }
}

/// A file that is not what it should be, with what it points to.
fn remove(path: &Path) {
    if let Ok(blob) = path.canonicalize() {
        let _ = std::fs::remove_file(blob);
    }
    let _ = std::fs::remove_file(path);
}

/// What broke off beside this file.
fn remove_parts(blob: &Path) {
    let files = blob.parent().and_then(|folder| folder.read_dir().ok());
    let paths = files
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path());
    for path in paths.filter(|path| path.extension().is_some_and(|ending| ending == "part")) {
        let _ = std::fs::remove_file(path);
    }
}

/// What a download tells.
enum Event {
    Size(u64),
    Bytes(u64),
    Done(Result<PathBuf, ApiError>),
}

struct Told(Sender<Event>);

impl Progress for Told {
    fn init(&mut self, size: usize, _: &str) {
        let _ = self.0.send(Event::Size(size as u64));
    }

    fn update(&mut self, bytes: usize) {
        let _ = self.0.send(Event::Bytes(bytes as u64));
    }

    fn finish(&mut self) {}
}
