//! Where a network will run: this machine, or one known by its profile.

use std::path::Path;

use crate::profile::{Profile, ProfileError};

/// A device that a network is made for.
#[derive(Clone, Debug)]
pub enum Device {
    /// This machine: it can be measured.
    Here,
    /// Another machine, known by what was measured on it.
    Known(Box<Profile>),
}

impl Device {
    /// `here`, or the path of a profile.
    ///
    /// # Errors
    /// When the profile cannot be read.
    pub fn open(name: &str) -> Result<Self, ProfileError> {
        match name {
            "here" => Ok(Self::Here),
            path => Ok(Self::Known(Box::new(Profile::load(Path::new(path))?))),
        }
    }
}
