//! What a design says of itself: the inspection's line, the model's card, the record.

use anyhow::Result;
use serde_json::{Value, json};
use squeeze_data::Problem;
use squeeze_graph::Space;
use squeeze_measure::machine::{Machine, today};

use super::Trained;
use super::bytes::Forms;
use super::choose::Measured;
use super::contest::{Chosen, Field, Tried};
use super::prove::{Proof, ROUNDS, Reference};
use super::stage::Context;
use crate::front::Front;
use crate::ready::Ready;
use crate::record::{
    Candidate, Comparison, DataFacts, Form, Limit, Machine as MachineFacts, Origin, RunRecord,
    SearchFacts, Timing,
};

/// The data in one line.
pub fn inspection(ready: &Ready) -> String {
    let set = &ready.set;
    let problems: Vec<String> = set.problems.iter().map(Problem::to_string).collect();
    let problems = match &problems[..] {
        [] => String::new(),
        some => format!("; passed over: {}", some.join(", ")),
    };
    format!(
        "{}: {}, {} classes, {} train + {} validation + {} test, {}{problems}",
        set.name,
        set.task,
        set.labels.len(),
        set.train.len(),
        set.validation.len(),
        set.test.len(),
        sizes(ready)
    )
}

fn sizes(ready: &Ready) -> String {
    match &ready.front {
        Front::Text { tokenizer, length } => {
            let mut lengths = ready.train.lengths();
            lengths.sort_unstable();
            // A text that was cut is exactly as long as the limit.
            let shorter = lengths.partition_point(|&own| own < *length);
            format!(
                "at most {length} tokens ({:.0} % of the texts are shorter), {} word pieces",
                100.0 * shorter as f64 / lengths.len().max(1) as f64,
                tokenizer.vocabulary()
            )
        }
        Front::Image(preprocess) => {
            let [height, width] = preprocess.size;
            format!("{height} x {width}, {} channels", preprocess.channels)
        }
    }
}

/// Facts for the model file's reader.
pub fn card(context: &Context, (space, network): (&Space, &str), accuracy: f64) -> Value {
    let request = &context.request;
    json!({
        "made_by": format!("squeeze {}", env!("CARGO_PKG_VERSION")),
        "date": today(),
        "data": request.data,
        "device": request.device,
        "limit_p90_ms": request.p90_ms,
        "limit_memory_bytes": request.memory,
        "threads": request.threads,
        "seed": request.seed,
        "space": space.name(),
        "network": network,
        "validation_accuracy": accuracy,
    })
}

/// The record of the whole design.
///
/// # Errors
/// When picks do not resolve, which they did before.
pub fn record(
    context: &Context,
    ready: &Ready,
    (field, measured): (&Field, &Measured),
    (chosen, tried): (&Chosen, &[Tried]),
    (trained, proof): (&Trained, &Proof),
) -> Result<RunRecord> {
    let request = &context.request;
    let timing = |t: &squeeze_measure::Timing| timing(t, request.threads);
    let mut candidates = vec![];
    for tried in tried {
        candidates.push(candidate(field, measured, tried, request.threads)?);
    }
    let winner = candidates.len();
    candidates.push(Candidate {
        name: "winner".into(),
        accuracy: proof.test,
        accuracy_on: format!("test, after {:.1} epochs", trained.epochs),
        ci95: Some(proof.ci95),
        train_seconds: trained.seconds,
        timing: Some(timing(&proof.timing)),
        peak_bytes: proof.peak_bytes as u64,
        ..candidate(field, measured, &trained.winner, request.threads)?
    });
    let machine = Machine::here();
    let memory = request.memory.map(|limit| Limit {
        name: "peak memory".into(),
        unit: "bytes".into(),
        limit: limit as f64,
        measured: Some(proof.peak_bytes as f64),
    });
    let latency = Limit {
        name: "p90 latency".into(),
        unit: "ms".into(),
        limit: request.p90_ms,
        // Another device was not measured: its limit stays unproven.
        measured: context.device.is_here().then_some(proof.timing.p90_ms),
    };
    let comparison = |reference: &Reference| Comparison {
        reference: reference.name.clone(),
        flop_ratio: reference.macs as f64 / proof.macs.max(1) as f64,
        time_ratio: reference.ratio.median,
        quartiles: reference.ratio.quartiles,
        pairs: ROUNDS,
        accuracy: None,
        ci95: None,
    };
    let of = |origin| tried.iter().filter(move |tried| tried.origin == origin);
    let best = |origin| {
        let accuracies = of(origin).map(|tried| tried.accuracy);
        accuracies.max_by(f64::total_cmp).into_iter().collect()
    };
    let mut notes = vec![];
    if measured.lowered {
        notes.push(format!(
            "networks were searched up to {:.3} ms only: larger ones would have seen too few \
             epochs in {} minutes",
            measured.limit_ms, request.minutes
        ));
    }
    if let Some(others) = proof.timing.others.filter(|&others| others > 0.08) {
        let share = 100.0 * others;
        notes.push(format!(
            "other processes used {share:.0} % of a core during the proof"
        ));
    }
    let mut search = SearchFacts {
        seconds: chosen.seconds + of(Origin::Supernet).map(|tried| tried.seconds).sum::<f64>(),
        training_seconds: trained.seconds,
        control_seconds: of(Origin::Random).map(|tried| tried.seconds).sum(),
        chosen: best(Origin::Supernet),
        random: best(Origin::Random),
        ..SearchFacts::default()
    };
    search.test(trained.winner.origin, proof.test);
    Ok(RunRecord {
        version: env!("CARGO_PKG_VERSION").into(),
        command: format!(
            "squeeze design --data {} --device {} --p90 {}ms{} --minutes {} --threads {} --seed {}{}",
            request.data,
            request.device,
            request.p90_ms,
            request
                .memory
                .map_or(String::new(), |bytes| format!(" --memory {bytes}B")),
            request.minutes,
            request.threads,
            request.seed,
            match request.int8_loss {
                Some(loss) => format!(" --int8-loss {}", 100.0 * loss),
                None => " --precision f32".into(),
            }
        ),
        started: today(),
        seconds: context.used(),
        seed: request.seed,
        space: field.space.name().into(),
        space_size: field.space.size(),
        machine: MachineFacts {
            name: request.device.clone(),
            cpu: machine.processor,
            cores: machine.cores,
            threads: request.threads,
            tier: machine.tier,
            memory_bytes: machine.memory_mib << 20,
            system: machine.system,
        },
        data: data(ready),
        limits: std::iter::once(latency).chain(memory).collect(),
        stages: context.stages.clone(),
        candidates,
        winner: Some(winner),
        model: Some(super::MODEL.into()),
        layers: proof.layers.clone(),
        comparisons: proof.references.iter().map(comparison).collect(),
        linear: None,
        forms: vec![],
        trained_alike: vec![],
        extra_seconds: 0.0,
        search: Some(search),
        notes,
    })
}

fn data(ready: &Ready) -> DataFacts {
    let set = &ready.set;
    let facts = set.inspect();
    let train = facts.splits.iter().find(|split| split.name == "train");
    DataFacts {
        name: set.name.clone(),
        task: set.task.to_string(),
        classes: set.labels.clone(),
        class_counts: train.map_or(vec![], |split| split.per_class.clone()),
        examples: [set.train.len(), set.validation.len(), set.test.len()],
        split: format!(
            "test {}; validation {}",
            set.origin.test, set.origin.validation
        ),
        sizes: sizes(ready),
        problems: facts.problems.iter().map(Problem::to_string).collect(),
    }
}

/// The winner in numbers and in bytes as the record has it.
pub fn forms(forms: Option<&Forms>, threads: usize) -> Vec<Form> {
    let Some(forms) = forms else {
        return vec![];
    };
    let both = [
        (&forms.numbers, !forms.exports_bytes),
        (&forms.bytes, forms.exports_bytes),
    ];
    let form = |(form, is_exported): (&super::bytes::Form, bool)| Form {
        precision: form.precision.clone(),
        accuracy: form.accuracy,
        timing: timing(&form.timing, threads),
        peak_bytes: form.peak_bytes as u64,
        weight_bytes: form.weight_bytes as u64,
        is_exported,
    };
    both.map(form).into()
}

/// A network as the record has it.
pub fn candidate(
    field: &Field,
    measured: &Measured,
    tried: &Tried,
    threads: usize,
) -> Result<Candidate> {
    let cost = field.graph(tried)?.cost();
    let names = field.space.slots().iter().zip(&tried.picks);
    let searched = tried.origin != Origin::Reference;
    Ok(Candidate {
        name: tried.name.clone(),
        origin: tried.origin,
        picks: names
            .map(|(slot, &pick)| slot.choices()[pick].name().into())
            .collect(),
        accuracy: tried.accuracy,
        accuracy_on: format!("validation, after {:.1} epochs", tried.epochs),
        ci95: None,
        train_seconds: tried.seconds,
        predicted_ms: searched.then(|| measured.table.prices().of(&tried.picks)),
        timing: Some(timing(&tried.timing, threads)),
        macs: cost.macs,
        params: cost.params,
        peak_bytes: tried.peak_bytes as u64,
    })
}

/// A timing as the record has it.
pub fn timing(timing: &squeeze_measure::Timing, threads: usize) -> Timing {
    Timing {
        runs: timing.runs,
        threads,
        min_ms: timing.min_ms,
        p50_ms: timing.p50_ms,
        p90_ms: timing.p90_ms,
        p99_ms: timing.p99_ms,
        disturbed: timing.others.is_some_and(|others| others > 0.08),
    }
}
