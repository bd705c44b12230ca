//! Where a network will run: this machine, or one known by its profile.

use std::path::Path;

use squeeze_infer::Target;

use crate::machine::Machine;
use crate::profile::{Profile, ProfileError};

/// A device that a network is made for.
#[derive(Clone, Debug)]
pub struct Device {
    profile: Option<Box<Profile>>,
}

impl Device {
    /// `here`, or the path of a profile.
    ///
    /// # Errors
    /// When the profile cannot be read.
    pub fn open(name: &str) -> Result<Self, ProfileError> {
        let profile = match name {
            "here" => None,
            path => Some(Box::new(Profile::load(Path::new(path))?)),
        };
        Ok(Self { profile })
    }

    /// Whether it is this machine, so that it can be measured: a profile may be its own.
    pub fn is_here(&self) -> bool {
        let profile = self.profile();
        profile.is_none_or(|profile| profile.machine == Machine::here())
    }

    /// What was measured on it before, if it has a profile.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_deref()
    }

    /// What plans for it are compiled for: so many threads, and the prices of its profile where it has some.
    ///
    /// # Errors
    /// When the prices are those of kernels for other instructions than this machine's.
    pub fn target(&self, threads: usize) -> Result<Target, ProfileError> {
        match self.profile() {
            Some(profile) => profile.target(threads),
            None => Ok(Target::here(threads)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_of_this_machine_is_here() {
        let mut profile = Profile::here(1);
        let known = |profile: &Profile| Device {
            profile: Some(Box::new(profile.clone())),
        };
        assert!(Device::open("here").expect("no file").is_here());
        assert!(known(&profile).is_here());
        let mut prices = Target::here(1).prices;
        prices.winograd.weight = 1.0;
        profile.prices = Some(prices);
        let target = known(&profile).target(1).expect("own kernels");
        assert_eq!(target, Target::here(1).with_prices(prices));
        profile.machine.cores += 1;
        assert!(!known(&profile).is_here());
        assert!(Device::open("nowhere.toml").is_err());
    }
}
