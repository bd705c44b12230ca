//! A stage: done once, its result kept in the folder, taken from there when a design is resumed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use squeeze_infer::Target;
use squeeze_measure::Device;

use super::Request;
use crate::folder::{self, RunFolder};
use crate::record::Stage;
use crate::ui::{Progress, StageBar};

/// What every stage works with.
#[derive(Debug)]
pub struct Context {
    /// What was asked for.
    pub request: Request,
    /// Where results are kept.
    pub folder: RunFolder,
    /// Bars and remarks.
    pub progress: Progress,
    /// Where the network will run.
    pub device: Device,
    /// What plans are compiled for.
    pub target: Target,
    /// The ledger.
    pub stages: Vec<Stage>,
    begun: Instant,
    before: f64,
}

/// What a stage leaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Done<T> {
    seconds: f64,
    result: String,
    value: T,
}

impl Context {
    /// Opens or makes the folder for `request`.
    ///
    /// # Errors
    /// When the folder cannot be written, is in use, or holds another design, or the device's profile cannot be read.
    pub fn open(path: PathBuf, request: Request, progress: Progress) -> Result<Self> {
        let device = Device::open(&request.device)?;
        // Kernels for other instructions have other prices: what runs here for such a device goes by those built in.
        let target = device.target(request.threads);
        let target = target.unwrap_or_else(|_| Target::here(request.threads));
        let folder = RunFolder::open(path)?;
        let context = Self {
            request,
            folder,
            progress,
            device,
            target,
            stages: vec![],
            begun: Instant::now(),
            before: 0.0,
        };
        match context.load::<Request>("request")? {
            None => context.save("request", &context.request)?,
            Some(held) if held == context.request => {}
            // A design that never got past its data holds nothing worth keeping.
            Some(_) if !context.folder.join("inspect.json").exists() => {
                context.save("request", &context.request)?;
            }
            Some(held) => bail!(
                "{} holds another design ({held}; this is {}): give this one its own folder \
                 with -o, or delete that one",
                context.folder.path().display(),
                context.request
            ),
        }
        Ok(context)
    }

    /// Wall time that is left, counting what earlier runs of this design used.
    pub fn left(&self) -> Duration {
        let used = self.before + self.begun.elapsed().as_secs_f64();
        Duration::from_secs_f64((60.0 * self.request.minutes - used).max(1.0))
    }

    /// Wall seconds used so far, earlier runs of this design included.
    pub fn used(&self) -> f64 {
        self.before + self.begun.elapsed().as_secs_f64()
    }

    /// Does a stage, or takes its result from an earlier run. `work` gives the result and a line
    /// that sums it up.
    ///
    /// # Errors
    /// When the stage fails or its result cannot be kept.
    pub fn stage<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        work: impl FnOnce(&Self, &StageBar) -> Result<(T, String)>,
    ) -> Result<T> {
        let resumed = self.load::<Done<T>>(name)?;
        let is_resumed = resumed.is_some();
        let done = match resumed {
            Some(done) => {
                self.before += done.seconds;
                self.progress.resumed(name, &done.result);
                done
            }
            None => {
                self.progress.check()?;
                let bar = self.progress.stage(name, 0);
                let (value, result) = work(self, &bar)?;
                let done = Done {
                    seconds: bar.seconds(),
                    result,
                    value,
                };
                // What is done is kept, also when the user asked to stop meanwhile.
                self.save(name, &done)?;
                bar.done(&done.result);
                self.progress.check()?;
                done
            }
        };
        self.stages.push(Stage {
            name: name.into(),
            seconds: done.seconds,
            result: done.result,
            resumed: is_resumed,
        });
        Ok(done.value)
    }

    /// What was decided by the clock, or took long: made once, then taken from the folder, so that
    /// a resumed design goes on with it.
    ///
    /// # Errors
    /// When it cannot be made or kept.
    pub fn once<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if let Some(kept) = self.load(name)? {
            return Ok(kept);
        }
        let made = make()?;
        self.save(name, &made)?;
        Ok(made)
    }

    /// A value that was kept under a name.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.folder.join(&format!("{name}.json"));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let value = serde_json::from_str(&text)
            .with_context(|| format!("{}: delete it to do this stage again", path.display()))?;
        Ok(Some(value))
    }

    /// Keeps a value under a name, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        folder::write(&self.folder.join(&format!("{name}.json")), text.as_bytes())
    }
}
