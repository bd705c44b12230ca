//! A design that is stopped in every stage, by `kill -9` or by Ctrl-C, ends with the same weights
//! as one that never was.
//!
//! What only the clock decides is taken from the design that was never stopped, since no two runs
//! see the same clock: the prices of blocks, the steps of the search and of each training, and
//! whether the export is in bytes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use squeeze::formats::{ModelFile, model};
use squeeze::measure::Profile;
use squeeze::record::RunRecord;
use squeeze::tensor::Seed;

/// How a design is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stop {
    Kill,
    CtrlC,
}

/// Longest that anything may take, on however busy a machine.
const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn a_design_that_is_stopped_in_every_stage_ends_like_one_that_never_was() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let whole = Whole::run(root.path());
    std::thread::scope(|scope| {
        for stop in [Stop::Kill, Stop::CtrlC] {
            let (whole, root) = (&whole, root.path());
            scope.spawn(move || stopped_in_every_stage(stop, whole, root));
        }
    });
}

fn stopped_in_every_stage(stop: Stop, whole: &Whole, root: &Path) {
    let design = Design::new(root, &format!("{stop:?}"));
    for name in ["budget", "family", "train-seconds", "train-seeds"] {
        design.take(name, &whole.design);
    }
    for (training, checkpoint) in &whole.starts {
        fs::create_dir(design.folder.join(training)).expect("writable");
        fs::write(design.checkpoint(training), checkpoint).expect("writable");
    }

    design.stopped("inspect", stop, || design.has("request.json"));

    design.stopped("measure", stop, || design.has("profile.toml"));
    let blocks = design.profile().entries;
    assert!(!blocks.is_empty(), "{stop:?}: no measured block was kept");
    if stop == Stop::Kill {
        design.stopped("search", stop, || design.has("measure.json"));
        let all = design.profile().entries;
        let kept = |(key, entry)| all.get(key) == Some(entry);
        assert!(blocks.iter().all(kept), "a block was measured again");
    }
    design.take("measure", &whole.design);

    design.stopped("search", stop, || design.has("search-steps.json"));
    design.take("search-steps", &whole.design);

    let (first, second) = (whole.chosen()[0], whole.controls()[1]);
    for (stage, training) in [("compare", first), ("control", second), ("train", "train")] {
        let written = || fs::metadata(design.checkpoint(training)).and_then(|file| file.modified());
        let start = written().expect("a checkpoint");
        design.stopped(stage, stop, || written().is_ok_and(|now| now != start));
    }
    // Where no weight of the winner gains in bytes, which network wins being the clock's choice, the stage is over at once.
    if whole.design.has("precision.json") {
        design.stopped("bytes", stop, || design.has("train.json"));
        // Once it measures, Ctrl-C waits for its end: then the export is what this clock said.
        if !design.has("bytes.json") {
            design.take("precision", &whole.design);
        }
    }
    let trained = Cell::new(None);
    let proving = || {
        if trained.get().is_none() && design.has("bytes.json") {
            trained.set(Some(Instant::now()));
        }
        let proving = trained.get().map(|trained| trained.elapsed());
        proving.is_some_and(|proving| proving > Duration::from_millis(300))
    };
    design.stopped("prove", stop, proving);

    let said = design.finish(&[]);
    let kept = said.matches("(from the earlier run)").count();
    assert!(
        kept >= 6,
        "{stop:?}: a finished stage was done again: {said}"
    );
    let by_hand = design.value("by-hand");
    let by_hand = by_hand.as_array().expect("networks");
    assert!(by_hand.iter().all(|one| one["origin"] == "reference"));
    assert!(!by_hand.is_empty(), "every network is within the limit");
    let log = fs::read_to_string(design.folder.join("train/log.jsonl")).expect("a log");
    let resumed = |line: &&str| line.contains("\"resumed\"") && !line.contains("\"step\":0,");
    assert!(
        log.lines().any(|line| resumed(&line)),
        "{stop:?}: the winner's training did not go on from the middle: {log}"
    );

    for (stage, what) in [("search", "probabilities"), ("train", "accuracy")] {
        let of = |design: &Design| design.value(stage)[what].clone();
        assert!(!of(&design).is_null(), "{stage} has no {what}");
        assert_eq!(of(&design), of(&whole.design), "{stop:?}: {stage}, {what}");
    }
    let bytes =
        |design: &Design| fs::read(design.folder.join("supernet.safetensors")).expect("weights");
    assert!(
        bytes(&design) == bytes(&whole.design),
        "{stop:?}: another supernet"
    );
    same(&design.numbers(), &whole.design.numbers(), stop);
    let exported = |design: &Design| design.value("bytes")["exports_bytes"].clone();
    if exported(&design) == exported(&whole.design) {
        same(&design.model(), &whole.design.model(), stop);
    } else {
        assert_eq!(stop, Stop::CtrlC, "a killed design took the other export");
    }
    if stop == Stop::Kill {
        compared(&design);
    }
}

/// Two model files hold the same network with the same weights.
fn same(found: &ModelFile, wanted: &ModelFile, stop: Stop) {
    assert_eq!(
        found.graph.to_toml(),
        wanted.graph.to_toml(),
        "{stop:?}: another network"
    );
    assert!(found.weights == wanted.weights, "{stop:?}: other weights");
}

/// Networks that are trained as the winner was are in the record, and stay there.
fn compared(design: &Design) {
    let said = design.finish(&["--compare"]);
    let record = design.record();
    assert!(!record.comparisons.is_empty(), "{said}");
    for one in &record.comparisons {
        let within = |accuracy, [low, high]: [f64; 2]| low <= accuracy && accuracy <= high;
        let is_tested = one.accuracy.zip(one.ci95);
        assert!(
            is_tested.is_some_and(|(accuracy, ci95)| within(accuracy, ci95)),
            "{one:?}: {said}"
        );
        assert!(one.time_ratio > 0.0 && one.flop_ratio > 0.0, "{one:?}");
    }
    assert!(
        record.trained_alike.len() >= record.comparisons.len(),
        "{said}"
    );
    design.finish(&[]);
    let again = design.record();
    assert_eq!(again.comparisons, record.comparisons);
    assert_eq!(again.candidates, record.candidates);
}

/// The design that is never stopped, and how each of its trainings began.
struct Whole {
    design: Design,
    /// First checkpoint of each training, by the name of its folder: its plan is in there.
    starts: BTreeMap<String, Vec<u8>>,
}

impl Whole {
    fn run(root: &Path) -> Self {
        write_table(&root.join("data.csv"));
        let design = Design::new(root, "whole");
        fs::write(design.folder.join("budget.json"), ample(root)).expect("writable");
        fs::write(design.folder.join("family.json"), "0").expect("writable");
        let mut running = design.start(&[]);
        let mut starts = BTreeMap::new();
        running.wait("the design that is not stopped ends", |child| {
            for entry in fs::read_dir(&design.folder).expect("a folder").flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().is_dir()
                    && !starts.contains_key(&name)
                    && let Ok(checkpoint) = fs::read(design.checkpoint(&name))
                {
                    starts.insert(name, checkpoint);
                }
            }
            child.try_wait().expect("a child").is_some()
        });
        let (status, said) = running.end();
        assert_eq!(status.code(), Some(0), "{said}");
        let whole = Self { design, starts };
        let names: Vec<&String> = whole.starts.keys().collect();
        let (chosen, controls) = (whole.chosen().len(), whole.controls().len());
        assert!(
            chosen > 0 && controls > 1 && whole.starts.contains_key("train"),
            "{names:?}"
        );
        whole
    }

    /// Folders of the trainings of the supernet's choices.
    fn chosen(&self) -> Vec<&str> {
        let tried = self.starts.keys().filter(|name| name.starts_with("tried"));
        let chosen = tried.filter(|name| !name.starts_with("tried-random"));
        chosen.map(String::as_str).collect()
    }

    /// Folders of the random networks' trainings.
    fn controls(&self) -> Vec<&str> {
        let random = self
            .starts
            .keys()
            .filter(|name| name.starts_with("tried-random"));
        random.map(String::as_str).collect()
    }
}

/// A budget in which measuring and searching are short, and every training ends with its epochs.
fn ample(root: &Path) -> String {
    let design = Design::new(root, "budget");
    design.stopped("measure", Stop::Kill, || design.has("budget.json"));
    let text = fs::read_to_string(design.folder.join("budget.json")).expect("a budget");
    let mut budget: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for (name, time) in budget.as_object_mut().expect("an object") {
        let short = ["measure", "search"].contains(&name.as_str());
        time["secs"] = if short { 1 } else { 60 }.into();
    }
    budget.to_string()
}

/// A table of small talk about colours and food, a tenth of it with the wrong label, whose columns
/// have names of their own.
fn write_table(path: &Path) {
    const WORDS: [[&str; 8]; 2] = [
        [
            "red", "green", "blue", "warm", "pale", "dark", "grey", "pink",
        ],
        ["pear", "plum", "nut", "kale", "leek", "bean", "oat", "rice"],
    ];
    let mut random = Seed(1).random();
    let mut text = String::from("body,kind\n");
    for row in 0..150 {
        let class = row % 2;
        let mut word = |class: usize| WORDS[class][random.below(8)];
        let words = [word(class), word(1 - class), word(class), word(class)].join(" ");
        let wrong = random.below(10) == 0;
        let label = ["colour", "food"][if wrong { 1 - class } else { class }];
        text.push_str(&format!("{words} {row},{label}\n"));
    }
    fs::write(path, text).expect("writable");
}

/// A design's folder, and the command for it.
struct Design {
    folder: PathBuf,
    data: PathBuf,
}

impl Design {
    fn new(root: &Path, name: &str) -> Self {
        let (folder, data) = (root.join(name), root.join("data.csv"));
        fs::create_dir(&folder).expect("writable");
        Self { folder, data }
    }

    fn start(&self, options: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_squeeze"));
        command
            .arg("design")
            .arg("--data")
            .arg(&self.data)
            .arg("-o")
            .arg(&self.folder);
        command.args(["--text-column", "body", "--label-column", "kind"]);
        // No network of the space is slower, on any machine: what is within the limit does not
        // depend on the clock either.
        command.args(["--p90", "1s", "--minutes", "3"]);
        command.args(options);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Running(Some(child.expect("the binary runs")))
    }

    /// Starts the design and stops it in `stage`, once `under_way` says that the stage is.
    fn stopped(&self, stage: &str, stop: Stop, under_way: impl Fn() -> bool) {
        let mut running = self.start(&[]);
        running.wait(
            &format!("{stage} is under way, to be stopped by {stop:?}"),
            |child| {
                let is_over = child.try_wait().expect("a child").is_some();
                assert!(
                    !is_over,
                    "the design ended before {stage} could be stopped by {stop:?}"
                );
                under_way() && (stop == Stop::Kill || handles_interrupts(child))
            },
        );
        running.send(stop);
        let (status, said) = running.end();
        match stop {
            Stop::Kill => assert_eq!(status.signal(), Some(9), "{stage}: {said}"),
            Stop::CtrlC => {
                assert_eq!(status.code(), Some(130), "{stage}: {said}");
                let remedy = "stopped; the same command goes on from here";
                assert!(said.contains(remedy), "{stage}: {said}");
            }
        }
        // A killed stage leaves no result; one that was asked to stop may have been at its end.
        let is_done = stage != "inspect" && self.has(&format!("{stage}.json"));
        assert!(
            stop == Stop::CtrlC || !is_done,
            "{stage} was over when it was killed"
        );
    }

    /// Does what is left, and gives what was said.
    fn finish(&self, options: &[&str]) -> String {
        let mut running = self.start(options);
        let is_over = |child: &mut Child| child.try_wait().expect("a child").is_some();
        running.wait("the stopped design ends", is_over);
        let (status, said) = running.end();
        assert_eq!(status.code(), Some(0), "{said}");
        said
    }

    fn has(&self, file: &str) -> bool {
        self.folder.join(file).exists()
    }

    fn checkpoint(&self, training: &str) -> PathBuf {
        self.folder.join(training).join("train.ckpt")
    }

    fn profile(&self) -> Profile {
        Profile::load(&self.folder.join("profile.toml")).expect("a profile")
    }

    fn record(&self) -> RunRecord {
        RunRecord::load(&self.folder).expect("a record")
    }

    /// What was exported.
    fn model(&self) -> ModelFile {
        model::load(&self.folder.join("model.squeeze")).expect("a model")
    }

    /// The trained network in numbers: beside the export where that is in bytes.
    fn numbers(&self) -> ModelFile {
        let kept = self.folder.join("numbers.squeeze");
        if !kept.exists() {
            return self.model();
        }
        model::load(&kept).expect("a model")
    }

    /// What a stage found.
    fn value(&self, stage: &str) -> serde_json::Value {
        let text = fs::read_to_string(self.folder.join(format!("{stage}.json"))).expect("a result");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["value"].clone()
    }

    /// Takes over what another design keeps under a name.
    fn take(&self, name: &str, from: &Self) {
        let file = format!("{name}.json");
        fs::copy(from.folder.join(&file), self.folder.join(&file)).expect(name);
    }
}

/// Whether the process handles Ctrl-C yet. Before that it would die by it, or pass over it where its parent does, if what it waits for is
/// there from an earlier run. Only Linux tells.
fn handles_interrupts(child: &Child) -> bool {
    const SIGINT: u64 = 1 << 1;
    let Ok(status) = fs::read_to_string(format!("/proc/{}/status", child.id())) else {
        return true;
    };
    let caught = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .expect("a line of the signals that are handled");
    u64::from_str_radix(caught.trim(), 16).expect("bits") & SIGINT != 0
}

/// A design that runs; killed when the test fails.
struct Running(Option<Child>);

impl Running {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("running until its end")
    }

    /// Waits until something is so.
    fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Child) -> bool) {
        let begun = Instant::now();
        while !is_so(self.child()) {
            let waited = begun.elapsed();
            assert!(waited < DEADLINE, "waited {waited:?} until {what}");
            sleep(Duration::from_millis(1));
        }
    }

    /// A kill comes at once, since stages may be over before another process has begun.
    fn send(&mut self, stop: Stop) {
        if stop == Stop::Kill {
            return self.child().kill().expect("no process to stop");
        }
        let id = self.child().id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status();
        assert!(sent.expect("kill runs").success(), "no process to stop");
    }

    /// Waits for the end, and gives the exit status and what was said on stderr.
    fn end(mut self) -> (std::process::ExitStatus, String) {
        self.wait("the process ends", |child| {
            child.try_wait().expect("a child").is_some()
        });
        let child = self.0.take().expect("running until its end");
        let output = child.wait_with_output().expect("a child");
        (
            output.status,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
