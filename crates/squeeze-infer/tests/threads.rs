//! A plan gives the same bits wherever its threads cut their work: cuts follow how quick each was, which a neighbour changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use squeeze_infer::{Input, Precision, Target, compile};
use squeeze_rewrite::fresh;
use squeeze_tensor::Seed;
use squeeze_zoo::{Options, build};

#[test]
fn cuts_change_no_bit() {
    for (name, precision) in [
        ("mobilenet_v3_small", Precision::F32),
        ("squeezenet1_1", Precision::F32),
        ("resnet18", Precision::Int8),
    ] {
        let options = Options {
            image: Some(128),
            ..Options::default()
        };
        let graph = build(name, &options).expect("it is listed");
        let target = Target::here(2).with_precision(precision);
        let plan = compile(&graph, &fresh(&graph, Seed(1)), &target).expect("its own weights");
        let image: Vec<f32> = (0..3 * 128 * 128)
            .map(|at| (at % 251) as f32 / 125.0 - 1.0)
            .collect();
        let mut scratch = plan.scratch();
        let mut answer = || -> Vec<u32> {
            let outputs = plan.run(&[Input::Numbers(&image)], &mut scratch);
            outputs.iter().flatten().map(|x| x.to_bits()).collect()
        };
        let first = answer();
        let stop = AtomicBool::new(false);
        let beside = thread::scope(|scope| {
            // Takes a core from time to time, so that one of two threads is late.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let same = (0..40).all(|_| answer() == first);
            stop.store(true, Ordering::Relaxed);
            same
        });
        let alone = (0..10).all(|_| answer() == first);
        assert!(beside && alone, "{name}");
    }
}
