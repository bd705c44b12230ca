//! Boxes from what a single-shot detector (SSD; Liu et al., 2015) says of its default boxes, with the rules of torchvision's:
//! offsets are decoded, scores made of each box's classes, and of boxes that overlap in one class the best is kept.
//!
//! Overlaps are those of the boxes as they are, class by class, as torchvision has them for more than 1000 candidates; for fewer it
//! moves the classes apart and loses some bits of the overlaps.

use serde::{Deserialize, Serialize};

use crate::DataError;

/// Left, top, right and bottom, in pixels.
pub type Corners = [f32; 4];

/// An object that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Its class.
    pub class: usize,
    /// How sure that is, of 1.
    pub score: f32,
    /// Where it is.
    pub corners: Corners,
}

impl Detection {
    /// The same in an image of another height and width.
    pub fn scaled(self, from: [usize; 2], to: [usize; 2]) -> Self {
        let [tall, wide] = [0, 1].map(|axis| to[axis] as f32 / from[axis] as f32);
        let [x0, y0, x1, y1] = self.corners;
        Self {
            corners: [x0 * wide, y0 * tall, x1 * wide, y1 * tall],
            ..self
        }
    }
}

/// How boxes are made of a detector's outputs; part of the model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleShot {
    /// Maps of features, each half as fine as the one before.
    pub maps: u32,
    /// Pixels of the image across one of the finest map's.
    pub stride: usize,
    /// Sides of the squares of the finest and of the coarsest map, of the image's.
    pub scales: [f64; 2],
    /// Width to height of the other default boxes, each both ways.
    pub ratios: Vec<f64>,
    /// What offsets of centres, and of logarithms of sizes, are divided by.
    pub weights: [f32; 2],
    /// Scores of a class up to this are left out.
    pub score: f32,
    /// The best so many boxes of a class are looked at.
    pub candidates: usize,
    /// A box goes when a better one of its class overlaps it by more.
    pub overlap: f64,
    /// At most so many objects are in an image.
    pub most: usize,
}

/// A box becomes at most 62.5 times as large as the default one.
const LARGEST: f64 = 1000.0 / 16.0;

impl SingleShot {
    /// torchvision's SSDLite320.
    pub fn ssdlite() -> Self {
        Self {
            maps: 6,
            stride: 16,
            scales: [0.2, 0.95],
            ratios: vec![2.0, 3.0],
            weights: [10.0, 5.0],
            score: 0.001,
            candidates: 300,
            overlap: 0.55,
            most: 300,
        }
    }

    /// Rows and columns of each map of an image of this height and width; nothing when there are no such maps.
    fn grids(&self, size: [usize; 2]) -> Option<Vec<[usize; 2]>> {
        let stride = |map| self.stride.checked_mul(1usize.checked_shl(map)?);
        let one = |map| stride(map).filter(|&stride| stride > 0);
        let grid = |map| one(map).map(|stride| size.map(|side| side.div_ceil(stride)));
        (0..self.maps).map(grid).collect()
    }

    /// Default boxes of an image of this height and width; nothing when there are more than can be counted.
    pub fn count(&self, size: [usize; 2]) -> Option<usize> {
        let shapes = self.ratios.len().checked_mul(2)?.checked_add(2)?;
        let grids = self.grids(size)?;
        let pixels = grids.iter().try_fold(0usize, |sum, [rows, columns]| {
            sum.checked_add(rows.checked_mul(*columns)?)
        });
        pixels?.checked_mul(shapes)
    }

    /// The default boxes of an image of this height and width: map by map, row by row, pixel by pixel.
    ///
    /// # Panics
    /// When they cannot be counted.
    pub fn default_boxes(&self, size: [usize; 2]) -> Vec<Corners> {
        let grids = self.grids(size).expect("they were counted");
        let [tall, wide] = size.map(|side| side as f32);
        let mut boxes = vec![];
        for (map, [rows, columns]) in grids.into_iter().enumerate() {
            let shapes = self.shapes(map);
            let centre = |at: usize, count: usize| (at as f32 + 0.5) / count as f32;
            for row in 0..rows {
                for column in 0..columns {
                    let [x, y] = [centre(column, columns), centre(row, rows)];
                    boxes.extend(shapes.iter().map(|[w, h]| {
                        let [x0, y0] = [(x - 0.5 * w) * wide, (y - 0.5 * h) * tall];
                        [x0, y0, (x + 0.5 * w) * wide, (y + 0.5 * h) * tall]
                    }));
                }
            }
        }
        boxes
    }

    /// Widths and heights of a map's default boxes, of the image's.
    fn shapes(&self, map: usize) -> Vec<[f32; 2]> {
        let [least, most] = self.scales;
        let steps = f64::from(self.maps) - 1.0;
        let scale = |map: usize| match map < self.maps as usize {
            true if steps > 0.0 => least + (most - least) * map as f64 / steps,
            true => least,
            false if steps > 0.0 => 1.0,
            false => most,
        };
        let own = scale(map);
        let between = (own * scale(map + 1)).sqrt();
        let mut shapes = vec![[own; 2], [between; 2]];
        for ratio in &self.ratios {
            let root = ratio.sqrt();
            let [w, h] = [own * root, own / root];
            shapes.extend([[w, h], [h, w]]);
        }
        let clipped = |side: f64| (side as f32).clamp(0.0, 1.0);
        shapes.into_iter().map(|shape| shape.map(clipped)).collect()
    }

    /// The box that offsets make of a default one.
    pub fn decoded(&self, offsets: [f32; 4], default: Corners) -> Corners {
        let [x0, y0, x1, y1] = default;
        let [width, height] = [x1 - x0, y1 - y0];
        let [by, times] = self.weights;
        let most = LARGEST.ln() as f32;
        let centre = |offset: f32, from: f32, side: f32| offset / by * side + (from + 0.5 * side);
        let reach = |offset: f32, side: f32| 0.5 * ((offset / times).min(most).exp() * side);
        let [x, y] = [
            centre(offsets[0], x0, width),
            centre(offsets[1], y0, height),
        ];
        let [w, h] = [reach(offsets[2], width), reach(offsets[3], height)];
        [x - w, y - h, x + w, y + h]
    }

    /// The objects that outputs of one image speak of, the surest first: scores `[boxes, classes]`, whose first class is nothing, and
    /// offsets `[boxes, 4]`, of these default boxes of an image of this height and width.
    ///
    /// # Errors
    /// When an output is not a finite number.
    ///
    /// # Panics
    /// When there are not as many offsets as boxes, or no class.
    pub fn detections(
        &self,
        [scores, offsets]: [&[f32]; 2],
        defaults: &[Corners],
        size: [usize; 2],
    ) -> Result<Vec<Detection>, DataError> {
        let offsets = offsets.as_chunks::<4>().0;
        assert_eq!(offsets.len(), defaults.len(), "offsets of each box");
        if defaults.is_empty() {
            return Ok(vec![]);
        }
        let classes = scores.len() / defaults.len();
        assert!(classes > 0, "scores of each box");
        let mut outputs = scores.iter().chain(offsets.as_flattened());
        if !outputs.all(|output| output.is_finite()) {
            return Err(DataError::Mismatch(
                "an output of the network is not a finite number: it has no boxes".to_owned(),
            ));
        }
        let scores: Vec<f32> = scores.chunks_exact(classes).flat_map(softmax).collect();
        let [height, width] = size.map(|side| side as f32);
        let corners = |at: usize| {
            let [x0, y0, x1, y1] = self.decoded(offsets[at], defaults[at]);
            let [x0, x1] = [x0, x1].map(|x| x.clamp(0.0, width));
            let [y0, y1] = [y0, y1].map(|y| y.clamp(0.0, height));
            [x0, y0, x1, y1]
        };
        let mut found = vec![];
        for class in 1..classes {
            let score = |at: usize| scores[at * classes + class];
            let mut best: Vec<usize> = (0..defaults.len()).collect();
            best.retain(|&at| score(at) > self.score);
            best_first(&mut best, &score);
            best.truncate(self.candidates);
            let boxes: Vec<Corners> = best.iter().map(|&at| corners(at)).collect();
            let scores: Vec<f32> = best.iter().map(|&at| score(at)).collect();
            let kept = non_maximum_suppression(&boxes, &scores, self.overlap);
            found.extend(kept.into_iter().map(|at| Detection {
                class,
                score: scores[at],
                corners: boxes[at],
            }));
        }
        let mut order: Vec<usize> = (0..found.len()).collect();
        best_first(&mut order, &|at| found[at].score);
        order.truncate(self.most);
        Ok(order.into_iter().map(|at| found[at]).collect())
    }
}

/// Probabilities of scores.
pub fn softmax(scores: &[f32]) -> Vec<f32> {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Puts numbers in the order of their scores, the best first, equals by number; what is not a number comes last.
fn best_first(order: &mut [usize], score: &dyn Fn(usize) -> f32) {
    order.sort_unstable_by(|&a, &b| {
        let (first, second) = (score(a), score(b));
        let numbers_first = first.is_nan().cmp(&second.is_nan());
        let best_first = second.total_cmp(&first);
        numbers_first.then(best_first).then(a.cmp(&b))
    });
}

/// The boxes that stay when each goes that a better one overlaps by more than `overlap`: their numbers, the best first, equals in their
/// order. Those whose score is not a number are the worst.
///
/// # Panics
/// When there is not a score for each box.
pub fn non_maximum_suppression(boxes: &[Corners], scores: &[f32], overlap: f64) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "a score for each box");
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    best_first(&mut order, &|at| scores[at]);
    let mut kept: Vec<usize> = vec![];
    for at in order {
        let goes = |&better: &usize| {
            let shared = intersection_over_union(boxes[better], boxes[at]);
            f64::from(shared) > overlap
        };
        if !kept.iter().any(goes) {
            kept.push(at);
        }
    }
    kept
}

/// How much of what two boxes cover both cover; not a number where neither covers anything.
pub fn intersection_over_union(a: Corners, b: Corners) -> f32 {
    let area = |[x0, y0, x1, y1]: Corners| (x1 - x0) * (y1 - y0);
    let side = |low: usize, high: usize| (a[high].min(b[high]) - a[low].max(b[low])).max(0.0);
    let both = side(0, 2) * side(1, 3);
    both / (area(a) + area(b) - both)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use squeeze_tensor::Seed;

    use super::*;

    /// What torchvision's classes give; `golden/ssdlite_parity.py` wrote it.
    #[derive(Deserialize)]
    struct Golden {
        default_boxes: Vec<Defaults>,
        images: Vec<Answer>,
    }

    #[derive(Deserialize)]
    struct Defaults {
        size: [usize; 2],
        count: usize,
        every: usize,
        boxes: Vec<Corners>,
    }

    #[derive(Deserialize)]
    struct Answer {
        size: [usize; 2],
        candidates: usize,
        most: usize,
        scores: Vec<f32>,
        offsets: Vec<f32>,
        classes: Vec<usize>,
        found: Vec<f32>,
        boxes: Vec<Corners>,
    }

    fn golden() -> Golden {
        let text = include_str!("../../../golden/detection.json");
        serde_json::from_str(text).expect("what the script wrote")
    }

    #[test]
    fn probabilities_sum_to_one_however_large_the_scores() {
        assert_eq!(softmax(&[1000.0, 1000.0, -1000.0]), [0.5, 0.5, 0.0]);
    }

    #[test]
    fn default_boxes_are_torchvisions() {
        let golden = golden();
        assert_eq!(golden.default_boxes[0].count, 3234);
        for row in golden.default_boxes {
            let shot = SingleShot::ssdlite();
            assert_eq!(shot.count(row.size), Some(row.count));
            let boxes = shot.default_boxes(row.size);
            assert_eq!(boxes.len(), row.count);
            let some: Vec<Corners> = boxes.into_iter().step_by(row.every).collect();
            assert_eq!(some, row.boxes, "{:?}", row.size);
        }
    }

    /// Powers differ in their last bit: 4 ulp of a score, and of a box that is as large as it can become before it is cut.
    #[test]
    fn objects_are_torchvisions() {
        for row in golden().images {
            let shot = SingleShot {
                candidates: row.candidates,
                most: row.most,
                ..SingleShot::ssdlite()
            };
            let defaults = shot.default_boxes(row.size);
            let outputs = [&*row.scores, &*row.offsets];
            let found = shot.detections(outputs, &defaults, row.size);
            let found = found.expect("finite");
            let most = row.most.min(4 * defaults.len());
            assert!((20..=most).contains(&row.found.len()));
            let classes: Vec<usize> = found.iter().map(|one| one.class).collect();
            assert_eq!(classes, row.classes);
            for ((one, score), corners) in found.iter().zip(row.found).zip(row.boxes) {
                assert!((one.score - score).abs() <= 4.0 * f32::EPSILON * score);
                let side = LARGEST as f32 * row.size[0].max(row.size[1]) as f32;
                for (a, b) in one.corners.into_iter().zip(corners) {
                    assert!((a - b).abs() <= 4.0 * f32::EPSILON * side, "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn an_output_that_is_no_number_is_refused() {
        let shot = SingleShot::ssdlite();
        let size = [16, 16];
        let defaults = shot.default_boxes(size);
        let zeros = vec![0.0; defaults.len() * 4];
        let fine = shot.detections([&zeros, &zeros], &defaults, size);
        assert!(!fine.expect("zeros are numbers").is_empty());
        for wrong in [f32::NAN, f32::INFINITY] {
            let mut outputs = zeros.clone();
            outputs[7] = wrong;
            assert!(
                shot.detections([&outputs, &zeros], &defaults, size)
                    .is_err()
            );
            assert!(
                shot.detections([&zeros, &outputs], &defaults, size)
                    .is_err()
            );
        }
    }

    #[test]
    fn maps_that_no_image_has_are_not_counted() {
        let shot = SingleShot::ssdlite();
        for strange in [
            SingleShot {
                maps: u32::MAX,
                ..shot.clone()
            },
            SingleShot {
                stride: 0,
                ..shot.clone()
            },
            SingleShot {
                stride: usize::MAX,
                ..shot.clone()
            },
        ] {
            assert_eq!(strange.count([320; 2]), None);
        }
        assert_eq!(shot.count([usize::MAX; 2]), None);
        let one = SingleShot { maps: 1, ..shot };
        // 0.2, and between 0.2 and 0.95, as torchvision has it for one map.
        let boxes = one.default_boxes([16; 2]);
        for (at, side) in [(0, 3.2), (1, 16.0 * 0.19f32.sqrt())] {
            let [x0, _, x1, _] = boxes[at];
            assert!((x1 - x0 - side).abs() <= 16.0 * f32::EPSILON, "{x0} {x1}");
        }
    }

    #[track_caller]
    fn check(boxes: &[Corners], scores: &[f32], kept: &[usize]) {
        assert_eq!(non_maximum_suppression(boxes, scores, 0.5), kept);
    }

    const A: Corners = [0.0, 0.0, 10.0, 10.0];
    const APART: Corners = [20.0, 0.0, 30.0, 10.0];
    const EMPTY: Corners = [5.0, 5.0, 5.0, 5.0];

    #[test]
    fn of_nothing_nothing_is_kept() {
        check(&[], &[], &[]);
    }

    #[test]
    fn of_the_same_box_the_best_is_kept() {
        check(&[A; 4], &[0.2, 0.9, 0.9, 0.1], &[1]);
    }

    #[test]
    fn boxes_apart_are_kept_best_first() {
        check(&[A, APART], &[0.2, 0.9], &[1, 0]);
    }

    /// A half, and a little more.
    #[test]
    fn as_much_as_the_limit_is_kept() {
        let half = [0.0, 0.0, 10.0, 5.0];
        check(&[A, half], &[0.9, 0.8], &[0, 1]);
        let more = [0.0, 0.0, 10.0, 5.01];
        check(&[A, more], &[0.9, 0.8], &[0]);
    }

    /// What went does not take others with it.
    #[test]
    fn a_chain_keeps_its_ends() {
        let at = |x: f32| [x, 0.0, x + 10.0, 10.0];
        check(&[at(0.0), at(3.0), at(6.0)], &[0.9, 0.8, 0.7], &[0, 2]);
    }

    #[test]
    fn boxes_without_area_are_kept() {
        check(&[A, EMPTY, EMPTY], &[0.9, 0.8, 0.7], &[0, 1, 2]);
    }

    #[test]
    fn scores_that_are_no_numbers_come_last() {
        let scores = [f32::NAN, 0.1, f32::NEG_INFINITY, -f32::NAN];
        let far = [40.0, 0.0, 50.0, 10.0];
        check(&[A, APART, far, far], &scores, &[1, 2, 0]);
    }

    /// No two that are kept overlap by more than the limit; each that went is overlapped by a better one that stayed.
    #[test]
    fn what_is_kept_is_apart_and_covers_the_rest() {
        let mut random = Seed(3).random();
        for round in 0..200 {
            let mut at = || [30.0 * random.uniform(), 1.0 + 20.0 * random.uniform()];
            let boxes: Vec<Corners> = (0..round % 60)
                .map(|_| {
                    let [[x, w], [y, h]] = [at(), at()];
                    [x, y, x + w, y + h]
                })
                .collect();
            let scores: Vec<f32> = boxes.iter().map(|_| random.below(20) as f32).collect();
            let limit = f64::from(random.uniform());
            let kept = non_maximum_suppression(&boxes, &scores, limit);
            let covers =
                |a: usize, b: usize| f64::from(intersection_over_union(boxes[a], boxes[b])) > limit;
            for (place, &one) in kept.iter().enumerate() {
                assert!(kept[..place].iter().all(|&other| !covers(other, one)));
            }
            for gone in (0..boxes.len()).filter(|at| !kept.contains(at)) {
                let better = |&&stays: &&usize| scores[stays] >= scores[gone];
                assert!(kept.iter().filter(better).any(|&stays| covers(stays, gone)));
            }
            assert!(kept.is_sorted_by(|&a, &b| scores[a] >= scores[b]));
        }
    }

    #[test]
    fn boxes_grow_with_the_image() {
        let one = Detection {
            class: 1,
            score: 0.5,
            corners: [1.0, 2.0, 3.0, 4.0],
        };
        let corners = one.scaled([320, 320], [640, 160]).corners;
        assert_eq!(corners, [0.5, 4.0, 1.5, 8.0]);
    }

    #[test]
    fn has_a_stable_form_in_files() {
        let json = serde_json::to_string(&SingleShot::ssdlite()).expect("plain");
        assert_eq!(
            json,
            r#"{"maps":6,"stride":16,"scales":[0.2,0.95],"ratios":[2.0,3.0],"weights":[10.0,5.0],"score":0.001,"candidates":300,"overlap":0.55,"most":300}"#
        );
        let again: SingleShot = serde_json::from_str(&json).expect("it was written");
        assert_eq!(again, SingleShot::ssdlite());
    }
}
