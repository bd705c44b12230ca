//! A run allocates nothing, on one thread and on two, and works in as many bytes as the planner says.

mod cases;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use squeeze_graph::{Element, elements};
use squeeze_infer::{Input, Precision, Scratch, Target, compile};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; this one only counts"
)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What threads allocate while they start is smaller.
const LARGEST_OF_THREADS: usize = 16 << 10;

#[test]
fn a_run_allocates_nothing() {
    let mut exact = 0;
    for (graph, fraction) in cases::cases()
        .iter()
        .flat_map(|graph| [0.0, 0.9].map(|fraction| (graph, fraction)))
    {
        let weights = squeeze_rewrite::fresh(graph, squeeze_tensor::Seed(1));
        let how = squeeze_rewrite::Prune { fraction, block: 4 };
        let pruned = squeeze_rewrite::prune(graph, &weights, &how);
        let (graph, weights, _) = pruned.expect("they are its own weights");
        let name = format!("{} with {fraction} of its weights zero", graph.name());
        let every = Precision::ALL.map(|precision| [(precision, 1), (precision, 2)]);
        for (precision, threads) in every.into_iter().flatten() {
            let target = Target::here(threads).with_precision(precision);
            let plan = compile(&graph, &weights, &target).expect("compiles");
            LARGEST.store(0, Ordering::Relaxed);
            let mut scratch = plan.scratch();
            let largest = LARGEST.load(Ordering::Relaxed);
            if plan.peak_bytes() > LARGEST_OF_THREADS {
                // The arena is made of cache lines.
                assert_eq!(largest, plan.peak_bytes().next_multiple_of(64), "{name}");
                exact += 1;
            }
            let sizes: Vec<usize> = plan.inputs().iter().map(|x| elements(&x.shape)).collect();
            let numbers: Vec<Vec<f32>> = sizes.iter().map(|&size| vec![0.5; size]).collect();
            let indices: Vec<Vec<i32>> = sizes.iter().map(|&size| vec![1; size]).collect();
            let inputs: Vec<Input> = (0..sizes.len())
                .map(|at| match plan.inputs()[at].element {
                    Element::Number => Input::Numbers(&numbers[at]),
                    Element::Index => Input::Indices(&indices[at]),
                })
                .collect();
            let allocations = |scratch: &mut Scratch| {
                let before = ALLOCATIONS.load(Ordering::Relaxed);
                for _ in 0..3 {
                    plan.run(&inputs, scratch);
                }
                ALLOCATIONS.load(Ordering::Relaxed) - before
            };
            // Threads allocate while they start, at a time of their own.
            let quiet = (0..100).any(|_| allocations(&mut scratch) == 0);
            assert!(quiet, "{name} with {threads} threads: every run allocates");
        }
    }
    assert!(exact > 0, "every case works in less than its threads take");
}
