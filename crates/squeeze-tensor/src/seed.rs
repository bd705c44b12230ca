//! Seeded random numbers: every stream of numbers is named, and follows from the recipe's seed.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The seed of a run. Streams drawn from it do not disturb each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of a named part of the run, e.g. `seed.child("shuffle").child_number(epoch)`.
    pub fn child(self, name: &str) -> Self {
        // FNV-1a: stable across versions and machines, unlike the standard hasher.
        let start = self.0 ^ 0xcbf2_9ce4_8422_2325;
        Self(name.bytes().fold(start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    /// The seed of the part with this number.
    pub fn child_number(self, number: u64) -> Self {
        // SplitMix64's finaliser: neighbouring numbers give unrelated seeds.
        let mut z = self
            .0
            .wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(z ^ (z >> 31))
    }

    /// The stream of random numbers of this seed.
    pub fn random(self) -> Random {
        Random(ChaCha8Rng::seed_from_u64(self.0))
    }
}

/// A stream of random numbers that is the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// Uniform in `0..1`.
    pub fn uniform(&mut self) -> f32 {
        self.0.random()
    }

    /// Uniform among `0..bound`.
    ///
    /// # Panics
    /// When `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "a choice among nothing");
        // Multiply-shift; its bias is below 2^-32 for every bound a data set has.
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }

    /// Normal with mean 0 and deviation 1 (Box-Muller, 1958).
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.uniform()).cos()
    }

    /// Gumbel with location 0 and scale 1.
    pub fn gumbel(&mut self) -> f32 {
        let open = (self.uniform() + f32::EPSILON).min(1.0 - f32::EPSILON);
        -(-open.ln()).ln()
    }

    /// Puts `items` in random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed: Seed| seed.random().uniform();
        assert_eq!(draw(Seed(1).child("a")), draw(Seed(1).child("a")));
        assert_ne!(draw(Seed(1).child("a")), draw(Seed(1).child("b")));
        assert_ne!(draw(Seed(1).child_number(0)), draw(Seed(1).child_number(1)));
    }

    #[test]
    fn normal_and_gumbel_have_their_moments() {
        let mut random = Seed(7).random();
        let normal: f32 = (0..100_000).map(|_| random.normal()).sum::<f32>() / 1e5;
        assert!(
            normal.abs() < 0.01,
            "mean {normal}: 3 deviations are 0.0095"
        );
        let gumbel: f32 = (0..100_000).map(|_| random.gumbel()).sum::<f32>() / 1e5;
        assert!(
            (gumbel - 0.5772).abs() < 0.0122,
            "mean {gumbel}: Euler's constant, 3 deviations"
        );
    }
}
