//! The report of a run: one HTML file that needs nothing else, readable on a phone, light and dark.

mod chart;
mod forms;
mod markup;

use std::collections::BTreeMap;

use crate::record::{
    Candidate, Comparison, DataFacts, Layer, Limit, Linear, Machine, Origin, RunRecord,
    SearchFacts, Stage,
};
use crate::units;
pub(crate) use markup::escape;
use markup::{Table, facts, percent, section};

/// Name of the report in a run's folder.
pub const FILE: &str = "report.html";

/// The report as HTML.
pub fn html(record: &RunRecord) -> String {
    let title = format!("{} on {}", record.data.name, record.machine.name);
    let parts = [
        heading(record, &title),
        section("Limits", &limits(&record.limits)),
        section("Accuracy against measured latency", &chart::scatter(record)),
        section(
            "Beside hand-designed networks",
            &comparisons(&record.comparisons, record.linear.as_ref()),
        ),
        section("In numbers and in bytes", &forms::table(&record.forms)),
        section("Where the time goes", &layers(&record.layers)),
        section(
            "What the search cost",
            &record.search.as_ref().map(search).unwrap_or_default(),
        ),
        section("Every network that was evaluated", &candidates(record)),
        section("Data", &data(&record.data)),
        section("Stages", &stages(&record.stages, record.seconds)),
        section("Machine and run", &machine(record)),
        section("Notes", &markup::list(&record.notes)),
    ];
    markup::page(&title, &parts.concat())
}

fn heading(record: &RunRecord, title: &str) -> String {
    let verdict = match (record.winner(), record.meets_limits()) {
        (None, _) => "<p class=no>No network within the limits was found.</p>",
        (Some(_), true) => "<p class=yes>The exported file meets every limit.</p>",
        (Some(_), false) => "<p class=no>The exported file does not meet every limit.</p>",
    };
    let Some(winner) = record.winner() else {
        return format!("<h1>{}</h1>{verdict}", escape(title));
    };
    let mut tiles = vec![(
        percent(winner.accuracy),
        format!("accuracy, {}", winner.accuracy_on),
    )];
    if let Some(time) = &winner.timing {
        let spread = format!(
            "p90 of {} runs, {} thread{}",
            time.runs,
            time.threads,
            plural(time.threads)
        );
        tiles.push((units::show_time(time.p90_ms), spread));
    }
    tiles.push((
        units::show_size(winner.peak_bytes),
        "peak working memory".into(),
    ));
    tiles.push((units::show_count(winner.params), "parameters".into()));
    tiles.push((units::show_count(winner.macs), "multiply-adds".into()));
    let tile = |(value, what): &(String, String)| {
        format!("<div><b>{}</b>{}</div>", escape(value), escape(what))
    };
    let tiles: String = tiles.iter().map(tile).collect();
    format!(
        "<h1>{}</h1>{verdict}<div class=tiles>{tiles}</div>",
        escape(title)
    )
}

fn limits(limits: &[Limit]) -> String {
    let shown = |unit: &str, value: f64| match unit {
        "bytes" => units::show_size(value.max(0.0) as u64),
        _ => units::show_time(value),
    };
    let mut table = Table::new(&["limit", "at most", "measured", "met"]);
    for limit in limits {
        let measured = limit
            .measured
            .map_or("-".into(), |value| shown(&limit.unit, value));
        let met = if limit.is_met() { "yes" } else { "no" };
        table.row(&[
            &limit.name,
            &shown(&limit.unit, limit.limit),
            &measured,
            met,
        ]);
    }
    table.html()
}

fn comparisons(comparisons: &[Comparison], linear: Option<&Linear>) -> String {
    let mut table = Table::new(&[
        "network",
        "FLOP ratio",
        "measured ratio",
        "quartiles",
        "pairs",
        "accuracy",
    ]);
    for other in comparisons {
        let [low, high] = other.quartiles;
        table.row(&[
            &other.reference,
            &format!("{:.2}x", other.flop_ratio),
            &format!("{:.2}x", other.time_ratio),
            &format!("{low:.2} - {high:.2}"),
            &other.pairs.to_string(),
            &with_interval(other.accuracy, other.ci95),
        ]);
    }
    if let Some(linear) = linear {
        let accuracy = with_interval(Some(linear.accuracy), Some(linear.ci95));
        table.row(&[&linear.name, "-", "-", "-", "-", &accuracy]);
    }
    let said = "<p>How many times more the hand-designed network costs than the winner: in FLOPs, and as \
                measured in interleaved pairs in one process. Accuracy is at the same training budget.</p>";
    table.html_after(said)
}

/// `97.11 % (95.91 % - 97.97 %)`.
fn with_interval(accuracy: Option<f64>, ci95: Option<[f64; 2]>) -> String {
    match (accuracy, ci95) {
        (None, _) => "-".into(),
        (Some(accuracy), None) => percent(accuracy),
        (Some(accuracy), Some([low, high])) => {
            format!(
                "{} ({} - {})",
                percent(accuracy),
                percent(low),
                percent(high)
            )
        }
    }
}

fn layers(layers: &[Layer]) -> String {
    let total: f64 = layers.iter().map(|layer| layer.ms).sum();
    if total <= 0.0 {
        return String::new();
    }
    let macs: u64 = layers.iter().map(|layer| layer.macs).sum();
    let mut families: BTreeMap<&str, (f64, u64, usize)> = BTreeMap::new();
    for layer in layers {
        let sum = families.entry(family(&layer.kind)).or_default();
        *sum = (sum.0 + layer.ms, sum.1 + layer.macs, sum.2 + 1);
    }
    let mut families: Vec<_> = families.into_iter().collect();
    families.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let mut kinds = Table::new(&[
        "kind",
        "steps",
        "multiply-adds",
        "share of MACs",
        "time",
        "share of time",
    ]);
    for (kind, (ms, of, steps)) in families {
        let part = if macs == 0 {
            0.0
        } else {
            of as f64 / macs as f64
        };
        kinds.bar_row(
            &[
                kind,
                &steps.to_string(),
                &units::show_count(of),
                &percent(part),
                &units::show_time(ms),
            ],
            ms / total,
        );
    }
    let mut rows = Table::new(&[
        "layer",
        "kind",
        "kernel",
        "multiply-adds",
        "time",
        "share of time",
    ]);
    for layer in layers {
        rows.bar_row(
            &[
                &layer.name,
                &layer.kind,
                &layer.kernel,
                &units::show_count(layer.macs),
                &units::show_time(layer.ms),
            ],
            layer.ms / total,
        );
    }
    let summary = format!("All {} steps", layers.len());
    format!("{}{}", kinds.html(), markup::fold(&summary, &rows.html()))
}

/// The family that a step's time is counted under: that of its heaviest part.
pub fn family(kind: &str) -> &'static str {
    const FAMILIES: &[(&str, &[&str])] = &[
        ("fully connected", &["linear"]),
        ("convolution", &["conv2d", "conv1d"]),
        ("attention", &["attention"]),
        ("norm", &["layer_norm", "batch_norm"]),
        ("embedding", &["embedding"]),
        (
            "pooling",
            &["pool", "global_average", "token_mean", "token_max"],
        ),
        (
            "rearranging",
            &[
                "channel_shuffle",
                "concat",
                "copy",
                "reshape",
                "select",
                "slice",
                "transpose",
            ],
        ),
    ];
    let parts: Vec<&str> = kind.split(['+', ' ']).collect();
    let is_of = |(_, names): &&(&str, &[&str])| names.iter().any(|name| parts.contains(name));
    FAMILIES
        .iter()
        .find(is_of)
        .map_or("other", |(family, _)| family)
}

fn search(search: &SearchFacts) -> String {
    let seconds = units::show_seconds;
    let mut lines = vec![
        ("supernet search", seconds(search.seconds)),
        (
            "one full training of the winner",
            seconds(search.training_seconds),
        ),
        (
            "random search (the control)",
            seconds(search.control_seconds),
        ),
    ];
    if let Some(multiple) = search.multiple() {
        lines.insert(
            2,
            (
                "search as a multiple of one training",
                format!("{multiple:.2}x"),
            ),
        );
    }
    for (what, values) in [
        ("accuracy of the supernet's choice", &search.chosen),
        ("accuracy of the best random network", &search.random),
    ] {
        if !values.is_empty() {
            lines.push((what, spread(values)));
        }
    }
    for (what, value) in [
        (
            "the supernet's choice, fully trained, on test",
            search.chosen_test,
        ),
        (
            "the best random network, fully trained, on test",
            search.random_test,
        ),
    ] {
        lines.extend(value.map(|value| (what, percent(value))));
    }
    facts(&lines)
}

/// `97.9 %` of one value, `97.9 % (97.2 - 98.1, 3 seeds)` of several.
fn spread(values: &[f64]) -> String {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    if values.len() == 1 {
        return format!("{} (1 seed)", percent(mean));
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!(
        "{} ({} to {}, {} seeds)",
        percent(mean),
        percent(low),
        percent(high),
        values.len()
    )
}

fn candidates(record: &RunRecord) -> String {
    let mut order: Vec<&Candidate> = record.candidates.iter().collect();
    order.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
    let mut table = Table::new(&[
        "network",
        "from",
        "accuracy",
        "on",
        "predicted",
        "p50",
        "p90",
        "multiply-adds",
        "parameters",
        "choices",
    ]);
    for one in order {
        let time = |of: fn(&crate::record::Timing) -> f64| {
            one.timing
                .as_ref()
                .map_or("-".into(), |timing| units::show_time(of(timing)))
        };
        let crown = if record
            .winner()
            .is_some_and(|winner| std::ptr::eq(winner, one))
        {
            " (winner)"
        } else {
            ""
        };
        table.row(&[
            &format!("{}{crown}", one.name),
            one.origin.name(),
            &percent(one.accuracy),
            &one.accuracy_on,
            &one.predicted_ms.map_or("-".into(), units::show_time),
            &time(|timing| timing.p50_ms),
            &time(|timing| timing.p90_ms),
            &units::show_count(one.macs),
            &units::show_count(one.params),
            &one.picks.join(" "),
        ]);
    }
    let summary = format!("All {} networks", record.candidates.len());
    if record.candidates.is_empty() {
        String::new()
    } else {
        markup::fold(&summary, &table.html())
    }
}

fn data(data: &DataFacts) -> String {
    let [train, validation, test] = data.examples;
    let lines = [
        ("task", data.task.clone()),
        (
            "examples",
            format!("{train} training, {validation} validation, {test} test"),
        ),
        ("split", data.split.clone()),
        ("sizes", data.sizes.clone()),
    ];
    let mut table = Table::new(&["class", "training examples"]);
    for (class, count) in data.classes.iter().zip(&data.class_counts) {
        table.row(&[class, &count.to_string()]);
    }
    let summary = format!("{} classes", data.classes.len());
    let problems = match data.problems.len() {
        0 => String::new(),
        n => markup::fold(
            &format!("{n} problem{}", plural(n)),
            &markup::list(&data.problems),
        ),
    };
    format!(
        "{}{}{problems}",
        facts(&lines),
        markup::fold(&summary, &table.html())
    )
}

fn stages(stages: &[Stage], seconds: f64) -> String {
    let mut table = Table::new(&["stage", "time", "result"]);
    for stage in stages {
        let again = if stage.resumed {
            " (from an earlier, interrupted run)"
        } else {
            ""
        };
        let result = format!("{}{again}", stage.result);
        table.row(&[&stage.name, &units::show_seconds(stage.seconds), &result]);
    }
    table.row(&["all", &units::show_seconds(seconds), ""]);
    table.html()
}

fn machine(record: &RunRecord) -> String {
    let Machine {
        cpu,
        cores,
        threads,
        tier,
        memory_bytes,
        system,
        ..
    } = &record.machine;
    facts(&[
        (
            "processor",
            format!("{cpu}, {cores} core{}, kernels for {tier}", plural(*cores)),
        ),
        (
            "measured with",
            format!("{threads} thread{}", plural(*threads)),
        ),
        ("memory", units::show_size(*memory_bytes)),
        ("system", system.clone()),
        ("command", record.command.clone()),
        ("begun", format!("{} UTC", record.started)),
        (
            "space",
            format!("{}, {:.3e} networks", record.space, record.space_size),
        ),
        ("seed", record.seed.to_string()),
        ("squeeze", record.version.clone()),
    ])
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// The class under which a candidate's point is drawn and listed.
fn mark(origin: Origin) -> &'static str {
    match origin {
        Origin::Supernet => "supernet",
        Origin::Random => "random",
        Origin::Reference => "reference",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Form, Timing};

    fn candidate(name: &str, origin: Origin, accuracy: f64, ms: f64) -> Candidate {
        let timing = Timing {
            runs: 50,
            threads: 1,
            min_ms: ms,
            p50_ms: ms,
            p90_ms: ms * 1.1,
            p99_ms: ms * 1.3,
            disturbed: false,
        };
        Candidate {
            name: name.into(),
            origin,
            accuracy,
            timing: Some(timing),
            macs: 1_000_000,
            ..Candidate::default()
        }
    }

    fn record() -> RunRecord {
        RunRecord {
            data: DataFacts {
                name: "a <b> & c".into(),
                classes: vec!["ham".into()],
                class_counts: vec![3],
                ..DataFacts::default()
            },
            candidates: vec![
                candidate("one", Origin::Supernet, 0.98, 0.8),
                candidate("two", Origin::Random, 0.97, 0.7),
                candidate("three", Origin::Reference, 0.96, 2.4),
            ],
            winner: Some(0),
            forms: ["f32", "int8"]
                .map(|precision| Form {
                    precision: precision.into(),
                    weight_bytes: 123_000,
                    is_exported: precision == "int8",
                    ..Form::default()
                })
                .into(),
            layers: vec![
                Layer {
                    name: "head".into(),
                    kind: "linear+gelu".into(),
                    macs: 10,
                    ms: 0.3,
                    ..Layer::default()
                },
                Layer {
                    name: "mix".into(),
                    kind: "attention".into(),
                    macs: 5,
                    ms: 0.1,
                    ..Layer::default()
                },
            ],
            limits: vec![Limit {
                name: "p90 latency".into(),
                unit: "ms".into(),
                limit: 1.0,
                measured: Some(0.88),
            }],
            search: Some(SearchFacts {
                seconds: 30.0,
                training_seconds: 20.0,
                chosen: vec![0.9, 0.8],
                ..SearchFacts::default()
            }),
            ..RunRecord::default()
        }
    }

    #[test]
    fn stands_alone_and_is_escaped() {
        let page = html(&record());
        assert!(page.contains("a &lt;b&gt; &amp; c"));
        assert!(page.contains("int8") && page.contains("123 kB"));
        assert!(
            !page.contains("http://") && !page.contains("https://") && !page.contains("<script")
        );
        assert!(page.contains("<svg") && page.contains("prefers-color-scheme"));
    }

    #[test]
    fn says_what_was_asked() {
        let page = html(&record());
        for wanted in [
            "98.0 %",
            "meets every limit",
            "880 us",
            "75.0 %",
            "1.50x",
            "85.0 % (80.0 % to 90.0 %, 2 seeds)",
        ] {
            assert!(page.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn an_unfinished_run_has_a_report() {
        let page = html(&RunRecord::default());
        assert!(page.contains("No network within the limits"));
    }

    #[test]
    fn kinds_have_families() {
        assert_eq!(family("linear+gelu"), "fully connected");
        assert_eq!(family("conv2d + relu"), "convolution");
        assert_eq!(family("add + layer_norm"), "norm");
        assert_eq!(family("softmax"), "other");
    }
}
