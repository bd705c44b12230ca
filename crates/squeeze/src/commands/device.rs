//! The device on the command line of what runs a network.

use anyhow::{Context, bail};
use squeeze_infer::Target;
use squeeze_measure::Device;

/// The machine itself.
pub(super) const HERE: &str = "here";

#[derive(Debug, clap::Args)]
pub(super) struct DeviceArgs {
    /// Prices by which plans pick kernels: those built in (`here`), or those of a profile made by `squeeze measure --kernels`
    #[arg(long, default_value = HERE, value_name = "here|FILE")]
    device: String,
}

impl DeviceArgs {
    /// The machine itself.
    pub fn here() -> Self {
        Self {
            device: HERE.into(),
        }
    }

    /// What plans are compiled for.
    ///
    /// # Errors
    /// When the profile cannot be read, has no prices, or has those of other kernels.
    pub fn target(&self, threads: usize) -> anyhow::Result<Target> {
        let device = Device::open(&self.device)?;
        let target = device.target(threads);
        let target = target.with_context(|| self.device.clone())?;
        if device
            .profile()
            .is_some_and(|profile| profile.prices.is_none())
        {
            let file = &self.device;
            bail!(
                "{file} has no prices of kernels: measure them with `squeeze measure --kernels -o {file}`"
            );
        }
        Ok(target)
    }
}

impl std::fmt::Display for DeviceArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.device)
    }
}
