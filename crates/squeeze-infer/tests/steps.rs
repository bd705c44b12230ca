//! What the steps of a plan are: which operators become one, and which stay.

mod cases;

use squeeze_infer::{Precision, Target, compile};
use squeeze_rewrite::fresh;
use squeeze_tensor::Seed;

use cases::case;

/// In bytes, grouped queries, keys and values are one product where each head lies in one group.
#[test]
fn heads_of_groups_are_one_product() {
    let graph = case("grouped_encoder");
    let names = |precision| {
        let target = Target::here(1).with_precision(precision);
        let plan = compile(&graph, &fresh(&graph, Seed(2)), &target).expect("it compiles");
        let names = plan.steps().map(|step| step.name.to_owned());
        names.collect::<Vec<_>>()
    };
    let has = |precision, name: &str| names(precision).iter().any(|step| step == name);
    assert!(has(Precision::Int8, "0.query"), "two groups share a head");
    assert!(has(Precision::Int8, "1.query + key + value"));
    assert!(has(Precision::F32, "1.query"));
}

/// Patches are written behind the class token at once, and first layers are computed band by band with what follows them.
#[test]
fn steps_become_one() {
    let steps = |name: &str| {
        let graph = case(name);
        let plan = compile(&graph, &fresh(&graph, Seed(2)), &Target::here(1)).expect("it compiles");
        let steps = plan
            .steps()
            .map(|step| format!("{}: {}", step.name, step.kind));
        steps.collect::<Vec<_>>().join(", ")
    };
    assert!(
        steps("patches_of_one_image").starts_with("patch: conv2d, class: class_token, places: ")
    );
    assert_eq!(steps("first_block"), "down: conv2d + depthwise + project");
    assert_eq!(steps("first_windows"), "deep: conv2d + depthwise");
    assert_eq!(steps("first_pool"), "pool: conv2d + pool");
    let gates = steps("gates_of_one_image");
    assert!(gates.contains("excite: gate + conv2d, "), "{gates}");
    assert!(gates.ends_with("excite2: mul, wide: conv2d"), "{gates}");
}
