//! The architecture parameters of a supernet: one logit a choice, sampled with Gumbel-softmax
//! (Jang et al., 2017), freshly for every example of a batch as SqueezeNAS does (Shaw et al., 2019).
//!
//! We differ in two points: of each example's Gumbel-softmax weights the two largest are kept and
//! renormalised (as ProxylessNAS samples two paths; Cai et al., 2019), or the largest alone, so that
//! a step costs one to two choices a slot and not all of them; and a step can offer only some choices
//! of a slot, so that each sees more than an example or two. With a falling temperature the pair
//! becomes a single choice.

use squeeze_graph::PriceTable;
use squeeze_tensor::{Random, Seed};
use squeeze_train::{Mixture, Part};

/// One logit for each choice of each slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// `logits[slot][choice]`.
    pub logits: Vec<Vec<f32>>,
}

impl Architecture {
    /// All choices of every slot equally likely.
    pub fn even(choices: &[usize]) -> Self {
        Self {
            logits: choices.iter().map(|&count| vec![0.0; count]).collect(),
        }
    }

    /// Draws, for every slot and each of `n` examples, the choices it runs at this `temperature`:
    /// two for a share of `pairs` of the examples, for the others the first of the two alone.
    pub fn sample(
        &self,
        n: usize,
        (temperature, pairs): (f32, f64),
        random: &mut Random,
    ) -> Mixture {
        let mut slot = |logits: &Vec<f32>| {
            let mut parts = vec![];
            for example in 0..n {
                let mut drawn = sample_pair(logits, temperature, random);
                if f64::from(random.uniform()) >= pairs {
                    drawn.truncate(1);
                    drawn[0].1 = 1.0;
                }
                for (choice, weight) in drawn {
                    parts.push(Part {
                        example,
                        choice,
                        weight,
                    });
                }
            }
            parts
        };
        Mixture {
            slots: self.logits.iter().map(&mut slot).collect(),
        }
    }

    /// The same preferences with those for `picks` raised so far that from even logits each is drawn
    /// by this `share` of the examples.
    pub fn lifted(&self, picks: &[usize], share: f64) -> Self {
        let mut lifted = self.clone();
        for (logits, &pick) in lifted.logits.iter_mut().zip(picks) {
            let others = logits.len().saturating_sub(1).max(1) as f64;
            logits[pick] += (share / (1.0 - share) * others).ln() as f32;
        }
        lifted
    }

    /// The same preferences among at most `count` choices of each slot, drawn by their
    /// probabilities without putting any back; the others cannot be drawn.
    pub fn offered(&self, count: usize, random: &mut Random) -> Self {
        let mut slot = |logits: &Vec<f32>| {
            let noisy = |logit: &f32| logit + random.gumbel();
            let perturbed: Vec<f32> = logits.iter().map(noisy).collect();
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_unstable_by(|&a, &b| perturbed[b].total_cmp(&perturbed[a]));
            let mut offered = logits.clone();
            for &choice in order.iter().skip(count) {
                offered[choice] = f32::NEG_INFINITY;
            }
            offered
        };
        Self {
            logits: self.logits.iter().map(&mut slot).collect(),
        }
    }

    /// Probability of each choice when noise is left out.
    pub fn probabilities(&self) -> Vec<Vec<f64>> {
        self.logits.iter().map(|logits| softmax(logits)).collect()
    }

    /// The likeliest choice of every slot.
    pub fn likeliest(&self) -> Vec<usize> {
        let largest = |logits: &Vec<f32>| {
            let order = |a: &usize, b: &usize| logits[*a].total_cmp(&logits[*b]);
            (0..logits.len()).max_by(order).expect("a slot has choices")
        };
        self.logits.iter().map(largest).collect()
    }

    /// Mean entropy of the slots as a fraction of the largest possible: 1 undecided, 0 decided.
    pub fn indecision(&self) -> f64 {
        let share = |p: &Vec<f64>| {
            let entropy: f64 = p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
            if p.len() < 2 {
                0.0
            } else {
                entropy / (p.len() as f64).ln()
            }
        };
        let shares: Vec<f64> = self.probabilities().iter().map(share).collect();
        shares.iter().sum::<f64>() / shares.len().max(1) as f64
    }

    /// Expected price, and its gradient for each logit.
    pub fn expected(&self, prices: &PriceTable) -> (f64, Vec<Vec<f64>>) {
        let mut total = prices.fixed;
        let mut gradients = vec![];
        for (p, prices) in self.probabilities().iter().zip(&prices.slots) {
            let mean: f64 = p.iter().zip(prices).map(|(p, price)| p * price).sum();
            total += mean;
            gradients.push(
                p.iter()
                    .zip(prices)
                    .map(|(p, price)| p * (price - mean))
                    .collect(),
            );
        }
        (total, gradients)
    }

    /// Gradient for each logit from the gradient for each weight of a sampled mixture.
    ///
    /// A pair's weights are a softmax of its two perturbed logits over the temperature.
    pub fn gradient(
        &self,
        mixture: &Mixture,
        weights: &[Vec<f32>],
        temperature: f32,
    ) -> Vec<Vec<f64>> {
        let mut gradients: Vec<Vec<f64>> = self
            .logits
            .iter()
            .map(|logits| vec![0.0; logits.len()])
            .collect();
        for (slot, parts) in mixture.slots.iter().enumerate() {
            let mut at = 0;
            for pair in parts.chunk_by(|a, b| a.example == b.example) {
                let gradient = &weights[slot][at..at + pair.len()];
                at += pair.len();
                let mean: f32 = pair.iter().zip(gradient).map(|(p, g)| p.weight * g).sum();
                for (part, gradient) in pair.iter().zip(gradient) {
                    let slope = part.weight * (gradient - mean) / temperature;
                    gradients[slot][part.choice] += f64::from(slope);
                }
            }
        }
        gradients
    }

    /// The picks of highest probability whose price is within `limit`, found by dynamic
    /// programming over prices cut into `steps` (each price rounded up, so the limit holds).
    /// `None` when even the cheapest picks are over the limit.
    pub fn likeliest_within(&self, prices: &PriceTable, limit: f64) -> Option<Vec<usize>> {
        const STEPS: usize = 2000;
        let room = limit - prices.fixed;
        if room < 0.0 {
            return None;
        }
        let step = (room / STEPS as f64).max(f64::MIN_POSITIVE);
        let steps_of = |price: f64| (price / step - 1e-9).ceil().max(0.0) as usize;
        let log = |p: f64| p.max(1e-30).ln();
        // best[s]: the highest log-probability of the slots so far for s steps of price.
        let mut best = vec![f64::NEG_INFINITY; STEPS + 1];
        best[0] = 0.0;
        let mut came_by: Vec<Vec<Option<(usize, usize)>>> = vec![];
        for (p, prices) in self.probabilities().iter().zip(&prices.slots) {
            let mut next = vec![f64::NEG_INFINITY; STEPS + 1];
            let mut from = vec![None; STEPS + 1];
            for (choice, (&p, &price)) in p.iter().zip(prices).enumerate() {
                let size = steps_of(price);
                for start in 0..(STEPS + 1).saturating_sub(size) {
                    let value = best[start] + log(p);
                    if value > next[start + size] {
                        next[start + size] = value;
                        from[start + size] = Some((choice, start));
                    }
                }
            }
            best = next;
            came_by.push(from);
        }
        let order = |a: &usize, b: &usize| best[*a].total_cmp(&best[*b]);
        let mut at = (0..=STEPS).max_by(order)?;
        let mut picks = vec![];
        for from in came_by.iter().rev() {
            let (choice, start) = from[at]?;
            picks.push(choice);
            at = start;
        }
        picks.reverse();
        Some(picks)
    }
}

/// Picks drawn from the space evenly, but within `limit`: where a draw is too dear, slots in
/// random order take a random cheaper choice until it fits. `None` when nothing fits.
pub fn random_within(prices: &PriceTable, limit: f64, seed: Seed) -> Option<Vec<usize>> {
    if prices.least() > limit {
        return None;
    }
    let mut random = seed.random();
    let mut picks: Vec<usize> = prices
        .slots
        .iter()
        .map(|slot| random.below(slot.len()))
        .collect();
    // An even draw is kept as long as one turns up; the space may be far larger than the limit.
    for _ in 0..200 {
        if prices.of(&picks) <= limit {
            return Some(picks);
        }
        picks = prices
            .slots
            .iter()
            .map(|slot| random.below(slot.len()))
            .collect();
    }
    while prices.of(&picks) > limit {
        let slot = random.below(picks.len());
        let current = prices.slots[slot][picks[slot]];
        let cheaper: Vec<usize> = (0..prices.slots[slot].len())
            .filter(|&c| prices.slots[slot][c] < current)
            .collect();
        if !cheaper.is_empty() {
            picks[slot] = cheaper[random.below(cheaper.len())];
        }
    }
    Some(picks)
}

fn sample_pair(logits: &[f32], temperature: f32, random: &mut Random) -> Vec<(usize, f32)> {
    let mut perturbed: Vec<(usize, f32)> = logits
        .iter()
        .map(|logit| logit + random.gumbel())
        .enumerate()
        .collect();
    perturbed.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
    let [first, second, ..] = perturbed[..] else {
        return vec![(0, 1.0)];
    };
    // The largest of the two is first, so the exponent is at most zero.
    let odds = ((second.1 - first.1) / temperature).exp();
    let weight = 1.0 / (1.0 + odds);
    vec![(first.0, weight), (second.0, 1.0 - weight)]
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|l| f64::from(l - largest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices() -> PriceTable {
        PriceTable {
            fixed: 1.0,
            slots: vec![vec![0.0, 2.0, 5.0], vec![1.0, 3.0]],
        }
    }

    #[test]
    fn every_example_draws_its_own_pair() {
        let architecture = Architecture::even(&[8]);
        let mixture = architecture.sample(64, (1.0, 1.0), &mut Seed(1).random());
        let pairs = mixture.slots[0].as_chunks::<2>().0;
        let firsts: std::collections::BTreeSet<_> =
            pairs.iter().map(|pair| pair[0].choice).collect();
        assert_eq!(
            firsts.len(),
            8,
            "64 even draws among 8 miss one with probability 1.5e-3"
        );
        assert!(
            pairs
                .iter()
                .all(|[a, b]| (a.weight + b.weight - 1.0).abs() < 1e-6)
        );
    }

    #[test]
    fn first_choices_follow_the_probabilities() {
        // Gumbel-max: the largest perturbed logit is drawn with the softmax's probability.
        let architecture = Architecture {
            logits: vec![vec![0.0, 1.0, 2.0]],
        };
        let wanted = &architecture.probabilities()[0];
        let n = 20_000;
        let mixture = architecture.sample(n, (1.0, 1.0), &mut Seed(3).random());
        for choice in 0..3 {
            let firsts = mixture.slots[0].iter().step_by(2);
            let seen = firsts.filter(|part| part.choice == choice).count() as f64;
            let deviation = (wanted[choice] * (1.0 - wanted[choice]) / n as f64).sqrt();
            assert!(
                (seen / n as f64 - wanted[choice]).abs() < 4.0 * deviation,
                "{choice}"
            );
        }
    }

    #[test]
    fn only_what_is_offered_is_drawn() {
        let architecture = Architecture::even(&[8, 3]);
        let mut random = Seed(2).random();
        let mixture = architecture
            .offered(4, &mut random)
            .sample(200, (1.0, 0.5), &mut random);
        let drawn = |slot: usize| {
            let choices = mixture.slots[slot].iter().map(|part| part.choice);
            choices.collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!([drawn(0), drawn(1)], [4, 3]);
        // Of 200 examples about half take two choices: 300 parts, give or take 7.
        let parts = mixture.slots[0].len();
        assert!((265..=335).contains(&parts), "{parts} parts");
        let whole = mixture.slots[0].iter().filter(|part| part.weight == 1.0);
        assert!(whole.count() >= 400 - parts);
    }

    #[test]
    fn lifted_choices_have_their_share() {
        let lifted = Architecture::even(&[13, 4]).lifted(&[2, 0], 0.75);
        let p = lifted.probabilities();
        assert!((p[0][2] - 0.75).abs() < 1e-6 && (p[1][0] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn low_temperatures_select() {
        let architecture = Architecture::even(&[4]);
        let mixture = architecture.sample(100, (1e-3, 1.0), &mut Seed(1).random());
        let decided = mixture.slots[0]
            .iter()
            .filter(|part| part.weight > 0.99)
            .count();
        assert!(decided >= 95, "{decided} of 100 pairs are decided");
    }

    #[test]
    fn gradient_of_the_expected_price_is_its_slope() {
        let mut architecture = Architecture {
            logits: vec![vec![0.3, -0.2, 0.7], vec![0.1, 0.5]],
        };
        let (_, gradient) = architecture.expected(&prices());
        for slot in 0..2 {
            for choice in 0..architecture.logits[slot].len() {
                let h = 1e-3;
                let mut at = |delta: f32| {
                    architecture.logits[slot][choice] += delta;
                    let (price, _) = architecture.expected(&prices());
                    architecture.logits[slot][choice] -= delta;
                    price
                };
                let slope = (at(h) - at(-h)) / (2.0 * f64::from(h));
                assert!(
                    (slope - gradient[slot][choice]).abs() < 1e-3,
                    "{slot} {choice}"
                );
            }
        }
    }

    #[test]
    fn gradient_of_a_pair_is_its_slope() {
        // A loss of 3 w0 - 2 w1 for the pair of choices 1 and 2, whose noise stays fixed.
        let weights = |a: f32, b: f32, t: f32| {
            let weight = 1.0 / (1.0 + ((b - a) / t).exp());
            (weight, 1.0 - weight)
        };
        let (a, b, t) = (0.4, 0.1, 2.0);
        let loss = |a: f32, b: f32| {
            let (w0, w1) = weights(a, b, t);
            3.0 * w0 - 2.0 * w1
        };
        let (w0, w1) = weights(a, b, t);
        let architecture = Architecture::even(&[3]);
        let part = |choice, weight| Part {
            example: 0,
            choice,
            weight,
        };
        let mixture = Mixture {
            slots: vec![vec![part(1, w0), part(2, w1)]],
        };
        let gradient = architecture.gradient(&mixture, &[vec![3.0, -2.0]], t);
        let h = 1e-2;
        let slope_a = (loss(a + h, b) - loss(a - h, b)) / (2.0 * h);
        let slope_b = (loss(a, b + h) - loss(a, b - h)) / (2.0 * h);
        assert!((gradient[0][1] - f64::from(slope_a)).abs() < 1e-3);
        assert!((gradient[0][2] - f64::from(slope_b)).abs() < 1e-3);
        assert_eq!(gradient[0][0], 0.0);
    }

    #[test]
    fn likeliest_within_the_limit() {
        let architecture = Architecture {
            logits: vec![vec![0.0, 1.0, 2.0], vec![0.0, 1.0]],
        };
        let within = |limit| architecture.likeliest_within(&prices(), limit);
        assert_eq!(within(100.0), Some(vec![2, 1]));
        assert_eq!(within(9.0), Some(vec![2, 1]));
        assert_eq!(within(8.9), Some(vec![2, 0]));
        assert_eq!(within(6.0), Some(vec![1, 1]));
        assert_eq!(within(2.0), Some(vec![0, 0]));
        assert_eq!(within(1.9), None);
    }

    #[test]
    fn random_picks_keep_the_limit() {
        for number in 0..50 {
            let picks = random_within(&prices(), 4.0, Seed(number)).expect("some fit");
            assert!(prices().of(&picks) <= 4.0);
        }
        assert_eq!(random_within(&prices(), 1.5, Seed(0)), None);
    }
}
