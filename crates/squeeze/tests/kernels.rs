//! `squeeze measure --kernels`, and plans by the prices that it leaves.

mod binary;

use std::fs;
use std::path::Path;
use std::time::Duration;

use binary::{lines, refused, squeeze};
use serde_json::Value;
use squeeze::infer::Target;
use squeeze::infer::prices::NEVER;
use squeeze::kernels::Tier;
use squeeze::measure::{Entry, Profile, Timing};

/// A profile of this machine in a file, and the file's name.
fn write(folder: &Path, name: &str, change: impl Fn(&mut Profile)) -> String {
    let mut profile = Profile::here(1);
    profile.prices = Some(Target::here(1).prices);
    change(&mut profile);
    let path = folder.join(name);
    fs::write(&path, profile.to_toml()).expect("writable");
    path.display().to_string()
}

fn kernels(device: &str) -> Vec<String> {
    let words = ["show", "squeezenet1_1", "--stage", "plan", "--json"];
    let steps = lines(&[&words[..], &["--device", device]].concat());
    let kernel = |step: &Value| step["kernel"].as_str().expect("a name").to_owned();
    steps.iter().map(kernel).collect()
}

#[test]
fn measured_prices_take_the_place_of_those_in_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let timing = Timing::from_runs(vec![Duration::from_millis(3)], None);
    let file = write(folder.path(), "d.toml", |profile| {
        let entry = Entry {
            what: "x".into(),
            macs: 64,
            timing: timing.clone(),
        };
        profile.entries.insert("0123456789abcdef".into(), entry);
        let prices = profile.prices.as_mut().expect("it has some");
        prices.winograd.weight = NEVER;
    });
    let words = ["measure", "--kernels", "--time", "100ms", "--json"];
    let told = lines(&[&words[..], &["-o", &file]].concat());
    let (last, layers) = told.split_last().expect("results");
    for layer in layers {
        let ways = layer["ways"].as_array().expect("a list");
        assert!(ways.len() > 1, "{layer}");
        let fraction = |value: &Value| value.as_f64().is_some_and(|loss| loss >= 0.0);
        assert!(fraction(&layer["built_in_loss"]), "{layer}");
        assert!(fraction(&layer["fitted_loss"]), "{layer}");
        let quickest = ways.iter().filter(|way| way["loss"] == 0.0);
        assert!(quickest.count() > 0, "{layer}");
    }
    let choices = ["bytes", "sparse-f32"];
    assert!(
        choices
            .iter()
            .all(|choice| layers.iter().any(|layer| layer["choice"] == *choice))
    );
    let profile = Profile::load(Path::new(&file)).expect("own file");
    let prices = profile.prices.expect("they were measured");
    assert!(prices.winograd.weight < NEVER);
    assert_eq!(serde_json::to_value(prices).expect("JSON"), last["prices"]);
    assert_eq!(profile.entries.len(), 1);
    kernels(&file);
}

#[test]
fn plans_go_by_the_prices_of_the_device() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let same = write(folder.path(), "same.toml", |_| {});
    assert_eq!(kernels(&same), kernels("here"));
    let dear = write(folder.path(), "dear.toml", |profile| {
        let prices = profile.prices.as_mut().expect("it has some");
        (prices.winograd.two.number, prices.winograd.four.number) = (NEVER, NEVER);
    });
    let transformed = |device: &str| {
        let kernels = kernels(device).into_iter();
        kernels.filter(|kernel| kernel.contains("winograd")).count()
    };
    assert_eq!(transformed(&dear), 0);
    // Matrix registers are quicker than transforms, and plain Rust has none.
    if [Tier::Avx2, Tier::Avx512].contains(&Tier::detect()) {
        assert!(transformed("here") > 0);
    }
    let words = [
        "measure",
        "squeezenet1_1",
        "--image",
        "33",
        "--vs",
        "squeezenet1_1",
        "--json",
    ];
    let told = lines(&[&words[..], &["--device", &dear]].concat());
    assert_eq!(
        (&told[0]["device"], &told[1]["device"]),
        (&"here".into(), &dear.into())
    );
}

#[test]
fn profiles_that_are_of_no_use() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let none = write(folder.path(), "none.toml", |profile| profile.prices = None);
    let plan = ["show", "squeezenet1_1", "--stage", "plan", "--device"];
    refused(
        &[&plan[..], &[&none]].concat(),
        "has no prices of kernels: measure them",
    );
    let other = write(folder.path(), "other.toml", |profile| {
        profile.machine.tier = "other".into()
    });
    refused(
        &[&plan[..], &[&other]].concat(),
        "its prices are of kernels for other",
    );
    refused(
        &["measure", "--kernels", "-o", &other],
        "is of another machine",
    );
    let text = fs::read_to_string(&none).expect("it was written");
    let lying = write(folder.path(), "lying.toml", |profile| {
        profile
            .prices
            .as_mut()
            .expect("it has some")
            .sparse
            .f32
            .turned = -7.0;
    });
    let wanted = "prices.sparse.f32.turned: -7 is no price";
    refused(&[&plan[..], &[&lying]].concat(), wanted);
    refused(
        &["run", "x.squeeze", "--text", "x", "--device", &lying],
        wanted,
    );
    refused(
        &["eval", "x.squeeze", "--data", "spam", "--device", &lying],
        wanted,
    );
    // A worker tells its caller too.
    let worker = squeeze(&["worker", "nowhere", "1", "--device", "nowhere.toml"]);
    assert_eq!(worker.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&worker.stderr).contains("nowhere"));
    let design = [
        "design", "--data", "spam", "--p90", "1ms", "--device", &lying,
    ];
    let out = folder.path().join("run").display().to_string();
    refused(&[&design[..], &["-o", &out]].concat(), wanted);
    assert!(!Path::new(&out).exists());
    refused(&["measure", "--kernels", "-o", &lying], wanted);
    refused(
        &["measure", "--kernels", "--threads", "2", "-o", &none],
        "was measured on 1 threads",
    );
    refused(
        &["measure", "--kernels", "squeezenet1_1"],
        "cannot be used with",
    );
    refused(&["measure", "squeezenet1_1", "--time", "1s"], "required");
    assert_eq!(fs::read_to_string(&none).expect("it is there"), text);
}
