//! Honest timing and device profiles.
