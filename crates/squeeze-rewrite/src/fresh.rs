//! First weights of a network, drawn from a seed.

use squeeze_graph::{Graph, Init, elements};
use squeeze_tensor::{Seed, Tensor, Weights};

/// Fills every weight as its operator asks. Each has a stream of its own, named after it, so that
/// a network with one more layer starts from the same numbers everywhere else.
pub fn fresh(graph: &Graph, seed: Seed) -> Weights {
    let fill = |(name, param): (String, squeeze_graph::Param)| {
        let mut random = seed.child(&name).random();
        let values: Vec<f32> = (0..elements(&param.shape))
            .map(|_| match param.init {
                Init::Zeros => 0.0,
                Init::Ones => 1.0,
                Init::Normal(deviation) => deviation * random.normal(),
                Init::Uniform(bound) => bound * (2.0 * random.uniform() - 1.0),
            })
            .collect();
        (name, Tensor::from_f32(&param.shape, &values))
    };
    graph.params().into_iter().map(fill).collect()
}

#[cfg(test)]
mod tests {
    use squeeze_graph::ops::{BatchNorm, Conv2d};
    use squeeze_graph::{Builder, Element};

    use super::*;

    #[test]
    fn values_follow_init_and_name() {
        let mut b = Builder::new("tiny");
        let x = b.input("x", &[1, 16, 4, 4], Element::Number).expect("fits");
        let y = b.add("a", Conv2d::square(64, 3), &[x]).expect("fits");
        let y = b.add("norm", BatchNorm::default(), &[y]).expect("fits");
        let graph = b.finish(&[y]).expect("one output");
        let weights = fresh(&graph, Seed(5));
        assert_eq!(weights, fresh(&graph, Seed(5)));
        assert_ne!(weights, fresh(&graph, Seed(6)));
        let of = |name: &str| weights.get(name).expect("filled").floats();
        assert!(of("norm.running_var").iter().all(|&v| v == 1.0));
        let a = of("a.weight");
        let variance = a.iter().map(|v| v * v).sum::<f32>() / a.len() as f32;
        let wanted = 2.0 / (64.0 * 9.0);
        // The variance of n squares of normals is 2 / n; five deviations of it.
        let bound = 5.0 * (2.0 / a.len() as f32).sqrt();
        assert!((variance / wanted - 1.0).abs() < bound, "{variance}");
    }
}
