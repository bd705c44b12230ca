//! Prices decide which family of kernels a layer gets, and nothing else.

use squeeze_graph::ops::{Conv2d, Linear};
use squeeze_graph::{Builder, Element, Graph, Op};
use squeeze_infer::prices::{NEVER, Tiles};
use squeeze_infer::{Family, LayerFacts, Precision, Prices, Target, compile};
use squeeze_kernels::{Tier, amx, spmm, winograd};
use squeeze_rewrite::fresh;
use squeeze_tensor::{Seed, Tensor, Weights};

fn layer(x: &[usize], op: impl Into<Op>) -> Graph {
    let mut b = Builder::new("one_layer");
    let x = b.input("x", x, Element::Number).expect("fits");
    let y = b.add("layer", op, &[x]).expect("fits");
    b.finish(&[y]).expect("one output")
}

fn windows() -> Graph {
    layer(&[1, 64, 28, 28], Conv2d::square(64, 3))
}

fn product() -> Graph {
    layer(&[1, 128, 768], Linear::dense(768))
}

/// Weights of which nine in ten blocks of four outputs are zero.
fn sparse(graph: &Graph) -> Weights {
    let dense = fresh(graph, Seed(1));
    let mut random = Seed(2).random();
    let mut weights = Weights::default();
    for (name, tensor) in dense.iter() {
        let mut values = tensor.floats();
        if let &[_, k] = tensor.shape() {
            for rows in values.chunks_mut(4 * k) {
                for at in (0..k).filter(|_| random.uniform() < 0.9) {
                    rows.iter_mut().skip(at).step_by(k).for_each(|w| *w = 0.0);
                }
            }
        }
        weights.insert(name, Tensor::from_f32(tensor.shape(), &values));
    }
    weights
}

/// The family of a network's layer where prices were changed; the plan's kernel is of that family.
fn family(
    (graph, weights): (&Graph, &Weights),
    target: Target,
    change: impl Fn(&mut Prices),
) -> Family {
    let mut prices = target.prices;
    change(&mut prices);
    let target = target.with_prices(prices);
    let facts = LayerFacts::of_network(graph, weights).expect("it compiles");
    let plan = compile(graph, weights, &target).expect("it compiles");
    let kernel = plan.steps().next().expect("a layer").kernel;
    let family = facts.family(&target);
    let wanted = match family {
        Family::Sparse(spmm::Block::One, _) => "_spmm_1x1",
        Family::Sparse(spmm::Block::Four, _) => "_spmm_4x1",
        Family::Sparse(spmm::Block::Sixteen, _) => "_spmm_16x1",
        Family::Tiles(amx::Element::Bf16) => "bf16_",
        Family::Tiles(amx::Element::F16) => "f16_",
        Family::Tiles(amx::Element::Bf16x3) => "bf16x3_",
        Family::Winograd(winograd::Size::Two) => "winograd_2x2",
        Family::Winograd(winograd::Size::Four) => "winograd_4x4",
        Family::ProductInBytes | Family::WindowsInBytes => "i8_",
        Family::Product | Family::Windows => "f32_",
        family => unreachable!("{family:?} is not among these layers"),
    };
    assert!(kernel.contains(wanted), "{kernel} for {family:?}");
    family
}

#[test]
fn winograd() {
    if !Tier::Avx2.is_present() {
        return println!("skipped: Winograd is for vectors");
    }
    let graph = windows();
    let network = (&graph, &fresh(&graph, Seed(1)));
    let target = Target::here(1).at(Tier::Avx2);
    let four = Family::Winograd(winograd::Size::Four);
    assert_eq!(family(network, target, |_| {}), four);
    let two = Family::Winograd(winograd::Size::Two);
    assert_eq!(
        family(network, target, |p| p.winograd.four.number = NEVER),
        two
    );
    let without = |p: &mut Prices| {
        (p.winograd.two.number, p.winograd.four.number) = (NEVER, NEVER);
    };
    assert_eq!(family(network, target, without), Family::Windows);
}

#[test]
fn zeros() {
    let graph = product();
    let network = (&graph, &sparse(&graph));
    let target = Target::here(1).at(Tier::Scalar);
    let four = Family::Sparse(spmm::Block::Four, spmm::Element::F32);
    // Most blocks of sixteen hold a weight somewhere.
    assert_eq!(family(network, target, |_| {}), four);
    let one = Family::Sparse(spmm::Block::One, spmm::Element::F32);
    let single = |p: &mut Prices| p.sparse.f32.four = [NEVER; 2];
    assert_eq!(family(network, target, single), one);
    let dense = |p: &mut Prices| p.sparse.f32.turned = NEVER;
    assert_eq!(family(network, target, dense), Family::Product);
    let dense = |p: &mut Prices| p.sparse.under.f32 = 0.0;
    assert_eq!(family(network, target, dense), Family::Product);
}

#[test]
fn bytes() {
    let target = Target::here(1).at(Tier::Scalar);
    let target = target.with_precision(Precision::Int8);
    let graph = product();
    let network = (&graph, &fresh(&graph, Seed(1)));
    let [in_bytes, plain] = [Family::ProductInBytes, Family::Product];
    assert_eq!(family(network, target, |_| {}), in_bytes);
    let never = |p: &mut Prices| p.bytes.product.weights = usize::MAX;
    assert_eq!(family(network, target, never), plain);
    let graph = windows();
    let network = (&graph, &fresh(&graph, Seed(1)));
    let [in_bytes, plain] = [Family::WindowsInBytes, Family::Windows];
    assert_eq!(family(network, target, |_| {}), in_bytes);
    let never = |p: &mut Prices| p.bytes.window.inputs = usize::MAX;
    assert_eq!(family(network, target, never), plain);
}

#[test]
fn tiles() {
    let graph = product();
    let network = (&graph, &fresh(&graph, Seed(1)));
    for (precision, element) in [
        (Precision::Bf16, amx::Element::Bf16),
        (Precision::F16, amx::Element::F16),
    ] {
        let target = Target::here(1).with_precision(precision);
        if amx::Kernel::of(target.tier, element).tier < Tier::Avx512 {
            println!("skipped: no tiles of {} here", precision.name());
            continue;
        }
        let tiles = Family::Tiles(element);
        let alone = |p: &mut Prices| {
            let tile = p.tiles.of(precision);
            p.tiles = Tiles::default();
            *p.tiles.of_mut(precision) = tile;
        };
        assert_eq!(family(network, target, alone), tiles);
        let never = |p: &mut Prices| p.tiles = Tiles::default();
        assert_eq!(family(network, target, never), Family::Product);
    }
    if Tier::Amx.is_present() {
        // What is more exact and quicker.
        let target = Target::here(1).with_precision(Precision::F16);
        let exact = Family::Tiles(amx::Element::Bf16x3);
        assert_eq!(family(network, target, |_| {}), exact);
    }
}
