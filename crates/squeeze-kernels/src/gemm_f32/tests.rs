//! Every kernel at every tier of this machine against the definition, with sizes around the tiles.

use super::*;
use crate::{Buffer, Cpu};

/// Small numbers of both signs from a fixed sequence.
pub(crate) fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Panics when a number is further from what it should be than `terms` roundings of a sum of terms below 1 explain.
#[track_caller]
pub(crate) fn close(got: &[f32], want: &[f32], terms: usize) {
    assert_eq!(got.len(), want.len());
    let bound = (terms + 4) as f32 * f32::EPSILON * (terms as f32).sqrt().max(4.0);
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got == want || (got.is_nan() && want.is_nan());
        assert!(
            same || (got - want).abs() <= bound,
            "at {at}: {got} for {want}, bound {bound}"
        );
    }
}

/// A weight in panels, so many numbers behind the start of a cache line.
struct InPanels(Buffer, usize);

impl Deref for InPanels {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0[self.1..]
    }
}

/// A weight in panels: in one piece on a cache line, in one off it, and in two.
fn pieces(weight: &[f32], k: usize) -> impl Iterator<Item = Vec<Kept>> {
    let kept = move |rows: &[f32], first: usize| -> Kept {
        let mut panels = Buffer::zeros(first + rows.len());
        for (at, to) in panels[first..].iter_mut().enumerate() {
            let (panel, within) = (at / (PANEL * k), at % (PANEL * k));
            *to = rows[(panel * PANEL + within % PANEL) * k + within / PANEL];
        }
        Arc::new(InPanels(panels, first))
    };
    let (above, below) = weight.split_at((PANEL * k).min(weight.len()));
    let two = vec![kept(above, 0), kept(below, 0)];
    [vec![kept(weight, 0)], vec![kept(weight, 1)], two].into_iter()
}

#[track_caller]
fn check(g: Geometry) {
    check_epilogue(g, Activation::Identity, Start::Zero, |_| None);
}

#[track_caller]
fn check_epilogue(
    g: Geometry,
    activation: Activation,
    start: Start,
    residual: impl Fn(&[f32]) -> Option<Residual<'_>>,
) {
    let (a, w) = (numbers(g.m * g.lda, 1), numbers(g.groups * g.n * g.k, 2));
    let (bias, other) = (numbers(g.groups * g.n, 3), numbers(g.m * g.ldc, 4));
    let before = numbers(g.m * g.ldc, 5);
    let epilogue = Epilogue {
        start,
        bias: Some(&bias),
        activation,
        residual: residual(&other),
    };
    let mut want = before.clone();
    scalar::product(&g, &a, &w, &epilogue, &mut want);
    for tier in Tier::here() {
        for count in [1, 3] {
            let threads = Threads::new(count);
            let mut got = before.clone();
            let packed = Packed::pack(&w, &g, tier);
            packed.run(&a, &epilogue, &mut got, &threads);
            close(&got, &want, g.k + 4);
            let is_whole = g.n.is_multiple_of(PANEL);
            for pieces in is_whole.then(|| pieces(&w, g.k)).into_iter().flatten() {
                let packed = Packed::of_panels(pieces, &g, tier, &Slab::default());
                assert_eq!(packed.is_none(), tier == Tier::Scalar, "eight columns");
                if let Some(packed) = packed {
                    let mut again = before.clone();
                    packed.run(&a, &epilogue, &mut again, &threads);
                    assert_eq!(got, again, "{g:?}");
                }
            }
            let (mut again, cpu) = (
                before.clone(),
                Cpu {
                    tier,
                    threads: &threads,
                },
            );
            forward(
                &g,
                (&a, &w),
                &epilogue,
                &mut again,
                &mut Scratch::default(),
                cpu,
            );
            assert_eq!(got, again, "training and plans compute the same bits");
        }
    }
}

#[track_caller]
fn check_gradients(g: Geometry) {
    let (x, w) = (numbers(g.m * g.lda, 1), numbers(g.groups * g.n * g.k, 2));
    let dy = numbers(g.m * g.ldc, 3);
    let (dx0, dw0) = (numbers(x.len(), 4), numbers(w.len(), 5));
    let db0 = numbers(g.groups * g.n, 6);
    let mut scratch = Scratch::default();
    for tier in Tier::here() {
        let mut first: Option<Vec<f32>> = None;
        for count in [1, 2] {
            let threads = Threads::new(count);
            let cpu = Cpu {
                tier,
                threads: &threads,
            };
            for start in [Start::Zero, Start::Add] {
                let (mut got, mut want) = (dx0.clone(), dx0.clone());
                input_gradient(&g, (&w, &dy), &mut got, start, &mut scratch, cpu);
                scalar::input_gradient(&g, &w, &dy, &mut want, start);
                close(&got, &want, g.n + 1);
            }
            let (mut got, mut want) = (dw0.clone(), dw0.clone());
            weight_gradient(&g, (&dy, &x), &mut got, &mut scratch, cpu);
            scalar::weight_gradient(&g, &dy, &x, &mut want);
            // Sums of at most 192 products, joined one after the other.
            close(&got, &want, g.m.min(192) + g.m / 64 + 2);
            assert_eq!(
                &got,
                first.get_or_insert(got.clone()),
                "threads change no bit"
            );
            let (mut got, mut want) = (db0.clone(), db0.clone());
            bias_gradient(&g, &dy, &mut got, cpu);
            scalar::bias_gradient(&g, &dy, &mut want);
            close(&got, &want, g.m.min(128) + g.m / 64 + 2);
        }
    }
}

#[test]
fn sizes_around_the_tiles() {
    for m in [1, 2, 5, 7, 8, 9, 13, 16, 17] {
        for n in [1, 7, 8, 15, 16, 17, 24, 40, 47, 48, 49, 77, 96] {
            check(Geometry::dense(m, n, 19));
        }
    }
}

#[test]
fn sums_longer_than_a_block() {
    for k in [1, 2, 191, 192, 193, 384, 385, 500, 1000] {
        check(Geometry::dense(9, 50, k));
        check(Geometry::dense(9, 64, k));
    }
}

#[test]
fn groups_side_by_side() {
    for (n, k) in [
        (1, 1),
        (4, 4),
        (8, 3),
        (16, 16),
        (48, 20),
        (50, 200),
        (80, 400),
    ] {
        check(Geometry::grouped(11, n, k, 4));
    }
}

#[test]
fn rows_with_gaps_are_left_alone() {
    let g = Geometry {
        lda: 70,
        ldc: 90,
        ..Geometry::grouped(10, 20, 15, 4)
    };
    check(g);
    check_gradients(g);
}

#[test]
fn enough_work_for_threads() {
    check(Geometry::dense(200, 100, 90));
    check(Geometry::dense(3, 500, 600));
    check(Geometry::grouped(64, 40, 96, 4));
    check(Geometry::dense(2000, 8, 40));
}

#[test]
fn every_epilogue() {
    for activation in Activation::ALL {
        for start in [Start::Zero, Start::Add] {
            let g = Geometry::grouped(10, 50, 7, 2);
            check_epilogue(g, activation, start, |_| None);
            check_epilogue(g, activation, start, |r| Some(Residual::plain(r)));
            check_epilogue(g, activation, start, |r| {
                Some(Residual {
                    values: r,
                    factors: Some(r),
                })
            });
        }
    }
}

#[test]
fn gates_are_factors_of_the_inputs() {
    for (m, n, k) in [(9, 16, 5), (40, 80, 24), (300, 96, 200), (50, 21, 7)] {
        let g = Geometry::dense(m, n, k);
        let (a, w, gate) = (numbers(m * k, 1), numbers(n * k, 2), numbers(k, 3));
        let (bias, other) = (numbers(n, 4), numbers(m * n, 5));
        let epilogue = Epilogue {
            bias: Some(&bias),
            activation: Activation::Relu,
            residual: Some(Residual::plain(&other)),
            ..Epilogue::default()
        };
        let gated: Vec<f32> = a
            .iter()
            .zip(gate.iter().cycle())
            .map(|(a, g)| a * g)
            .collect();
        let mut want = vec![0.0; m * n];
        scalar::product(&g, &gated, &w, &epilogue, &mut want);
        for (tier, count) in Tier::here()
            .into_iter()
            .flat_map(|tier| [(tier, 1), (tier, 3)])
        {
            let threads = &Threads::new(count);
            let whole = n.is_multiple_of(PANEL).then(|| pieces(&w, k).next());
            let of_panels = |pieces| Packed::of_panels(pieces, &g, tier, &Slab::default());
            let packed = whole.flatten().and_then(of_panels);
            for packed in packed.into_iter().chain([Packed::pack(&w, &g, tier)]) {
                let mut got = vec![f32::NAN; m * n];
                let mut scratch = vec![f32::NAN; packed.bytes() / 4];
                let cpu = Cpu { tier, threads };
                packed.run_gated((&a, &gate), &epilogue, &mut got, &mut scratch, cpu);
                close(&got, &want, k + 4);
            }
        }
    }
}

#[test]
fn gradients() {
    check_gradients(Geometry::dense(1, 1, 1));
    check_gradients(Geometry::dense(9, 17, 49));
    check_gradients(Geometry::dense(200, 60, 100));
    check_gradients(Geometry::grouped(33, 5, 3, 4));
    check_gradients(Geometry::grouped(500, 48, 40, 4));
    check_gradients(Geometry::dense(4000, 20, 30));
}

/// A plain running sum of 100,000 rows would be off by about 1e-2 of the gradient.
#[test]
fn long_sums_stay_exact() {
    let g = Geometry::dense(100_000, 8, 16);
    let (x, dy) = (vec![0.1; g.m * g.k], vec![0.3; g.m * g.n]);
    let want = 100_000.0 * f64::from(0.1f32) * f64::from(0.3f32);
    let threads = Threads::new(2);
    for tier in Tier::here() {
        let (mut dw, mut db) = (vec![0.0; g.n * g.k], vec![0.0; g.n]);
        let cpu = Cpu {
            tier,
            threads: &threads,
        };
        weight_gradient(&g, (&dy, &x), &mut dw, &mut Scratch::default(), cpu);
        bias_gradient(&g, &dy, &mut db, cpu);
        // 192 + 521 (or, at tiers with smaller blocks, 391) roundings one after the other, here all to the same side at worst.
        let bound = 713.0 * f64::from(f32::EPSILON) / 2.0;
        assert!(
            dw.iter()
                .all(|&dw| (f64::from(dw) / want - 1.0).abs() < bound),
            "{tier}: {}",
            dw[0]
        );
        assert!(
            db.iter().all(
                |&db| (f64::from(db) / 100_000.0 / f64::from(0.3f32) - 1.0).abs() < bound * 1.3
            )
        );
    }
}

#[test]
fn nan_and_infinity_reach_the_output() {
    let g = Geometry::grouped(9, 20, 5, 2);
    let w = vec![1.0; 200];
    for tier in Tier::here() {
        for activation in [
            Activation::Identity,
            Activation::Relu,
            Activation::Relu6,
            Activation::Gelu,
            Activation::HardSwish,
        ] {
            let mut a = vec![1.0; g.m * g.lda];
            a[0] = f32::NAN;
            a[g.lda] = f32::INFINITY;
            let mut c = vec![0.0; g.m * g.ldc];
            let epilogue = Epilogue {
                activation,
                ..Epilogue::default()
            };
            Packed::pack(&w, &g, tier).run(&a, &epilogue, &mut c, &Threads::new(1));
            assert!(c[..20].iter().all(|c| c.is_nan()), "{tier} {activation:?}");
            let top = if activation == Activation::Relu6 {
                6.0
            } else {
                f32::INFINITY
            };
            assert!(c[40..60].iter().all(|&c| c == top), "{tier} {activation:?}");
            assert!(
                c[20..40].iter().chain(&c[60..]).all(|c| c.is_finite()),
                "{tier} {activation:?}"
            );
        }
    }
}

#[test]
fn the_table_rises_and_names_its_tiles() {
    for kernel in KERNELS {
        let widest = kernel.lanes * kernel.registers();
        assert_eq!(
            kernel.name,
            format!("f32_gemm_{}x{widest}_{}", kernel.rows(), kernel.tier)
        );
        assert!(kernel.depth <= product::PATCH * 2);
        if kernel.tier.is_present() {
            assert_eq!(Kernel::of(kernel.tier).name, kernel.name);
        }
    }
    assert!(KERNELS.is_sorted_by_key(|kernel| kernel.tier));
}

#[test]
fn no_rows_is_no_work() {
    let packed = Packed::pack(&[1.0], &Geometry::dense(0, 1, 1), Tier::Scalar);
    packed.run(&[], &Epilogue::default(), &mut [], &Threads::new(1));
}

#[test]
#[should_panic(expected = "outputs are too few")]
fn a_short_output_is_refused() {
    let packed = Packed::pack(&[1.0], &Geometry::dense(2, 1, 1), Tier::Scalar);
    packed.run(
        &[1.0, 1.0],
        &Epilogue::default(),
        &mut [0.0],
        &Threads::new(1),
    );
}

/// What Miri can finish.
#[test]
fn smallest() {
    for g in [Geometry::dense(9, 17, 5), Geometry::grouped(3, 2, 3, 2)] {
        check(g);
        check_epilogue(g, Activation::Silu, Start::Add, |other| {
            Some(Residual::plain(other))
        });
        check_gradients(g);
    }
}

#[test]
fn no_rows() {
    check(Geometry::dense(0, 9, 17));
    check_gradients(Geometry::dense(0, 9, 17));
}

/// What tiles ask for is what comes next: the same registers further on in k, and at its end the next panel.
#[test]
fn tiles_ask_for_what_comes_next() {
    let near = Panels::new((16, 3), 400, 96);
    assert_eq!(near.ahead(0, 0..200, 16).of(0), [200 * 48, 3, 600]);
    assert_eq!(near.ahead(0, 200..400, 16).of(2), [200 * 48 + 1200, 3, 600]);
    let apart = near.of_whole().expect("registers of sixteen");
    let next = |k: Range<usize>| apart.block(0, k).start;
    let [ahead, each_k, each_tile] = apart.ahead(0, 0..200, 16).of(0);
    assert_eq!((next(0..200) + ahead, each_k), (next(200..400), 3));
    assert_eq!(each_tile, 3 * 200);
    // The sixth tile has passed the first register, of which a block has 3,200 numbers.
    let [ahead, ..] = apart.ahead(0, 200..400, 16).of(6);
    let second = apart.block(1, 0..200).start;
    assert_eq!(next(200..400) + ahead, second + 16 * 400 + 6 * 600 - 3200);
}
