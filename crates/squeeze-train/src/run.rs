//! The training loop: steps, validations, checkpoints, and the way back from them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use squeeze_data::{Batch, Batching, Prepared};
use squeeze_graph::Graph;
use squeeze_tensor::Seed;

use crate::checkpoint::{self, Best, Header};
use crate::evaluate::{Answers, Feeds, Score, predict, score};
use crate::event::{Ending, Event, Log};
use crate::plan::{Plan, Times};
use crate::{Average, Config, Engine, Mode, Network, Parameters, State, TrainError};

/// What is trained, and on what.
pub struct Job<'a> {
    /// The network; any batch size.
    pub graph: &'a Graph,
    /// Its weights at the start.
    pub parameters: Parameters,
    /// What it learns from.
    pub train: &'a Prepared,
    /// What tells the best weights; without it the last ones are taken.
    pub validation: Option<&'a Prepared>,
    /// A network to imitate beside the labels.
    pub teacher: Option<Teacher>,
    /// Where the log and checkpoints go, and where an interrupted run goes on from.
    pub folder: Option<&'a Path>,
    /// Set by others to stop after the step under way.
    pub stop: Option<&'a AtomicBool>,
}

/// A network to imitate.
pub struct Teacher {
    /// The network.
    pub network: Network,
    /// Its weights.
    pub parameters: Parameters,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The best weights; of a stopped run those of its last step.
    pub parameters: Parameters,
    /// The best validation.
    pub best: Option<Best>,
    /// Why the run ended.
    pub ending: Ending,
    /// Steps that were made, in all parts of the run.
    pub steps: u64,
    /// Time of all parts of the run, in seconds.
    pub seconds: f64,
}

/// Trains a network as `config` says. A folder with a checkpoint of the same run is gone on from,
/// to the same bits as if it had never been interrupted.
///
/// # Errors
/// When recipe, data and network do not fit together, the loss is no longer a number, or a file of
/// the folder cannot be read or written.
pub fn run(
    engine: &Engine,
    job: Job,
    config: &Config,
    on_event: &mut dyn FnMut(&Event),
) -> Result<Outcome, TrainError> {
    config.check()?;
    let batching = Batching {
        seed: config.seed,
        ..config.batching.clone()
    };
    let mut run = Run::new(engine, job, config, on_event)?;
    let epoch = run.job.train.epoch(&batching, 0).len() as u64;
    if epoch == 0 {
        let reason = "the training split is empty: nothing to learn from".into();
        return Err(TrainError::Config { reason });
    }
    if !run.resume()? {
        run.start(&batching, epoch)?;
    }
    let mut ending = run.done.then_some(Ending::Finished);
    while ending.is_none() {
        let (number, skip) = (run.step / epoch, run.step % epoch);
        let skip = usize::try_from(skip).expect("below the number of batches");
        let train = run.job.train;
        let batches = train.epoch(&batching, number).skipping(skip);
        ending = batches.ahead(2, |batches| {
            for batch in batches {
                if let Some(ending) = run.advance(batch?, epoch)? {
                    return Ok(Some(ending));
                }
            }
            Ok::<_, TrainError>(None)
        })?;
    }
    run.finish(ending.unwrap_or(Ending::Finished))
}

/// A run under way.
struct Run<'a> {
    engine: &'a Engine,
    job: Job<'a>,
    config: &'a Config,
    on_event: &'a mut dyn FnMut(&Event),
    log: Log,
    network: Network,
    state: State,
    average: Option<Average>,
    best: Option<Best>,
    best_values: Vec<f32>,
    best_statistics: Vec<f32>,
    since_best: usize,
    step: u64,
    plan: Plan,
    times: Times,
    started: Instant,
    /// Time of earlier parts of the run, in seconds.
    before: f64,
    saved: Instant,
    done: bool,
    gradient: Vec<f32>,
}

/// Seconds between checkpoints, beside those at validations.
const SAVE_EVERY: u64 = 20;

impl<'a> Run<'a> {
    fn new(
        engine: &'a Engine,
        job: Job<'a>,
        config: &'a Config,
        on_event: &'a mut dyn FnMut(&Event),
    ) -> Result<Self, TrainError> {
        Ok(Self {
            engine,
            network: Network::new(job.graph, &job.parameters)?,
            state: State::new(&config.optimiser, &job.parameters),
            average: (config.average > 0.0).then(|| Average::new(config.average, &job.parameters)),
            log: Log::open(job.folder)?,
            job,
            config,
            on_event,
            best: None,
            best_values: vec![],
            best_statistics: vec![],
            since_best: 0,
            step: 0,
            plan: Plan::default(),
            times: Times::default(),
            started: Instant::now(),
            before: 0.0,
            saved: Instant::now(),
            done: false,
            gradient: vec![],
        })
    }

    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    fn tell(&mut self, event: &Event) {
        self.log.write(event);
        (self.on_event)(event);
    }

    /// Decides the number of steps.
    fn start(&mut self, batching: &Batching, epoch: u64) -> Result<(), TrainError> {
        self.plan = Plan::of_epochs(self.config.epochs, epoch);
        if let Some(limit) = self.config.seconds {
            self.times = self.measure(batching)?;
            let left = limit - self.seconds();
            self.plan = self.plan.within(left, epoch, self.times);
        }
        self.tell_plan(epoch);
        self.save()
    }

    fn tell_plan(&mut self, epoch: u64) {
        let event = Event::Planned {
            steps: self.plan.steps,
            epoch,
            validate_every: self.plan.validate_every,
            step_seconds: self.config.seconds.map(|_| self.times.step),
        };
        self.tell(&event);
    }

    /// Times steps and a part of a validation on a copy of the weights.
    fn measure(&mut self, batching: &Batching) -> Result<Times, TrainError> {
        let (parameters, state) = (self.job.parameters.clone(), self.state.clone());
        let mut taken = vec![];
        let train = self.job.train;
        let begin = Instant::now();
        for batch in train.epoch(batching, 0).take(24) {
            let start = Instant::now();
            self.learn(batch?, 0.0)?;
            taken.push(start.elapsed().as_secs_f64());
            if taken.len() >= 5 && begin.elapsed().as_secs_f64() > 1.0 {
                break;
            }
        }
        let mut times = Times {
            step: Times::typical(&taken),
            validation: 0.0,
        };
        if let Some(split) = self.job.validation {
            let batch = self.config.batching.size;
            let mut rows = 0;
            let start = Instant::now();
            for batch in split.once(batch).take(8) {
                let batch = batch?;
                rows += batch.rows.len();
                let feeds = Feeds::new(self.job.graph, batch)?;
                let parameters = &mut self.job.parameters;
                self.engine
                    .forward(&self.network, parameters, &feeds.feeds(), Mode::Eval)?;
            }
            let share = split.len() as f64 / rows.max(1) as f64;
            times.validation = start.elapsed().as_secs_f64() * share;
        }
        (self.job.parameters, self.state) = (parameters, state);
        Ok(times)
    }

    /// Makes a step, and what is due after it; says whether the run ends.
    fn advance(&mut self, batch: Batch, epoch: u64) -> Result<Option<Ending>, TrainError> {
        let begin = Instant::now();
        let factor = self.config.schedule.factor(self.step, self.plan.steps);
        let (loss, norm) = self.learn(batch, factor)?;
        if let Some(average) = &mut self.average {
            average.step(self.engine.cpu(), &self.job.parameters);
        }
        self.step += 1;
        self.times.add(begin.elapsed().as_secs_f64());
        let event = Event::Step {
            step: self.step,
            steps: self.plan.steps,
            loss,
            rate: self.config.optimiser.rate * factor,
            norm,
            seconds: self.seconds(),
        };
        self.tell(&event);
        let last = self.step >= self.plan.steps;
        if last || self.step.is_multiple_of(self.plan.validate_every) {
            self.validate()?;
            let patience = self.config.patience;
            if !last && patience > 0 && self.since_best >= patience {
                return Ok(Some(Ending::Patience));
            }
            if let Some(limit) = self.config.seconds.filter(|_| !last) {
                let at = (self.step, self.seconds());
                let longest = Plan::of_epochs(self.config.epochs, epoch).steps;
                if let Some(plan) = self.plan.corrected(at, limit, self.times, longest) {
                    self.plan = plan;
                    self.tell_plan(epoch);
                }
            }
            self.save()?;
        } else if self.saved.elapsed().as_secs() >= SAVE_EVERY {
            self.save()?;
        }
        if self.step >= self.plan.steps {
            return Ok(Some(Ending::Finished));
        }
        let stop = self
            .job
            .stop
            .is_some_and(|stop| stop.load(Ordering::Relaxed));
        Ok(stop.then_some(Ending::Stopped))
    }

    /// Forward, backward and the optimiser for one batch; gives the loss and the gradient's norm.
    fn learn(&mut self, batch: Batch, factor: f64) -> Result<(f32, f32), TrainError> {
        let width = *self
            .job
            .graph
            .node(self.job.graph.outputs()[0])
            .shape
            .last()
            .expect("[n, c]");
        let answers = Answers::new(&batch, width);
        let feeds = Feeds::new(self.job.graph, batch)?;
        let feeds = feeds.feeds();
        let engine = self.engine;
        let taught = match &mut self.job.teacher {
            None => None,
            Some(Teacher {
                network,
                parameters,
            }) => {
                let tape = engine.forward(network, parameters, &feeds, Mode::Eval)?;
                Some(tape.output().to_vec())
            }
        };
        let parameters = &mut self.job.parameters;
        let seed = Seed(self.config.seed).child("step").child_number(self.step);
        let tape = engine.forward(&self.network, parameters, &feeds, Mode::Train(seed))?;
        self.gradient.resize(tape.output().len(), 0.0);
        let outputs = (tape.output(), width);
        let (targets, taught) = (answers.targets(), taught.as_deref());
        let gradient = &mut self.gradient;
        let loss = self
            .config
            .loss
            .of(engine.cpu(), outputs, targets, taught, gradient)?;
        if !loss.is_finite() {
            let step = self.step;
            return Err(TrainError::Diverged { step, loss });
        }
        parameters.clear_gradients();
        engine.backward(&self.network, parameters, tape, &self.gradient);
        let optimiser = &self.config.optimiser;
        let norm = optimiser.step(engine.cpu(), parameters, &mut self.state, factor);
        Ok((loss, norm))
    }

    fn validate(&mut self) -> Result<(), TrainError> {
        let Some(split) = self.job.validation.filter(|split| !split.is_empty()) else {
            return Ok(());
        };
        let begin = Instant::now();
        if let Some(average) = &mut self.average {
            average.swap(&mut self.job.parameters);
        }
        let score = evaluate(self.engine, &self.network, &mut self.job.parameters, split);
        let best = match &score {
            Err(_) => false,
            Ok(score) => self
                .best
                .is_none_or(|best| (score.metric, -score.loss) > (best.metric, -best.loss)),
        };
        if best {
            self.best_values.clone_from(&self.job.parameters.values);
            self.best_statistics
                .clone_from(&self.job.parameters.statistics);
        }
        if let Some(average) = &mut self.average {
            average.swap(&mut self.job.parameters);
        }
        let Score { loss, metric, .. } = score?;
        self.since_best = if best { 0 } else { self.since_best + 1 };
        if best {
            let step = self.step;
            self.best = Some(Best { step, metric, loss });
        }
        self.times.validation = begin.elapsed().as_secs_f64();
        let event = Event::Validated {
            step: self.step,
            loss,
            metric,
            best,
            seconds: self.seconds(),
        };
        self.tell(&event);
        Ok(())
    }

    /// Recipe, network and names of the weights in one number.
    fn identity(&self) -> String {
        let recipe = serde_json::to_string(self.config).expect("a recipe has a text form");
        let text = format!(
            "{recipe}\n{}\n{}",
            self.job.graph.to_toml(),
            self.job.train.len()
        );
        format!("{:016x}", Seed(0).child(&text).0)
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let Some(folder) = self.job.folder else {
            return Ok(());
        };
        let mut buffers: Vec<&[f32]> = vec![
            &self.job.parameters.values,
            &self.job.parameters.statistics,
            &self.best_values,
            &self.best_statistics,
        ];
        if let Some(average) = &self.average {
            buffers.extend([&average.values[..], &average.statistics]);
        }
        buffers.extend(self.state.buffers.iter().map(|buffer| &buffer[..]));
        let header = Header {
            run: self.identity(),
            step: self.step,
            steps: self.plan.steps,
            validate_every: self.plan.validate_every,
            seconds: self.seconds(),
            best: self.best,
            since_best: self.since_best,
            optimiser_steps: self.state.steps,
            average_steps: self.average.as_ref().map_or(0, Average::steps),
            done: self.done,
            lengths: buffers.iter().map(|buffer| buffer.len()).collect(),
        };
        checkpoint::write(folder, &header, &buffers)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Goes on from the folder's checkpoint; says whether there was one.
    fn resume(&mut self) -> Result<bool, TrainError> {
        let Some(folder) = self.job.folder else {
            return Ok(false);
        };
        let Some((header, buffers)) = checkpoint::read(folder)? else {
            return Ok(false);
        };
        let other = || TrainError::Checkpoint {
            path: folder.join(checkpoint::NAME),
            reason:
                "it is of a run with another recipe, network or data; choose another folder or \
                     delete it"
                    .into(),
        };
        if header.run != self.identity() {
            return Err(other());
        }
        let mut buffers = buffers.into_iter();
        let mut fill = |into: &mut Vec<f32>, may_differ: bool| {
            let buffer = buffers.next().ok_or_else(other)?;
            if !may_differ && buffer.len() != into.len() {
                return Err(other());
            }
            *into = buffer;
            Ok(())
        };
        fill(&mut self.job.parameters.values, false)?;
        fill(&mut self.job.parameters.statistics, false)?;
        fill(&mut self.best_values, true)?;
        fill(&mut self.best_statistics, true)?;
        if let Some(average) = &mut self.average {
            fill(&mut average.values, false)?;
            fill(&mut average.statistics, false)?;
            average.set_steps(header.average_steps);
        }
        for buffer in &mut self.state.buffers {
            fill(buffer, false)?;
        }
        self.state.steps = header.optimiser_steps;
        self.step = header.step;
        self.plan = Plan {
            steps: header.steps,
            validate_every: header.validate_every.max(1),
        };
        (self.best, self.since_best) = (header.best, header.since_best);
        (self.before, self.done) = (header.seconds, header.done);
        let (step, steps) = (self.step, self.plan.steps);
        self.tell(&Event::Resumed { step, steps });
        // A run that was killed between its last step and its end.
        self.done |= step >= steps;
        Ok(true)
    }

    fn finish(mut self, ending: Ending) -> Result<Outcome, TrainError> {
        self.done |= ending != Ending::Stopped;
        self.save()?;
        let event = Event::Ended {
            reason: ending,
            step: self.step,
            seconds: self.seconds(),
        };
        self.tell(&event);
        let seconds = self.seconds();
        let mut parameters = self.job.parameters;
        if self.best.is_some() && ending != Ending::Stopped {
            parameters.values = self.best_values;
            parameters.statistics = self.best_statistics;
        } else if let Some(mut average) = self.average.filter(|_| ending != Ending::Stopped) {
            average.swap(&mut parameters);
        }
        Ok(Outcome {
            parameters,
            best: self.best,
            ending,
            steps: self.step,
            seconds,
        })
    }
}

/// How well a network does on a split.
///
/// # Errors
/// When the data does not fit the network.
pub fn evaluate(
    engine: &Engine,
    network: &Network,
    parameters: &mut Parameters,
    split: &Prepared,
) -> Result<Score, TrainError> {
    let outputs = predict(engine, network, parameters, split, 64)?;
    score(engine, &outputs, split.labels())
}
