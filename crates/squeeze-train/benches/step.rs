//! One training step of a text encoder, dense and in groups of 4: forward, backward and AdamW.
//!
//! 4 layers, 256 wide, 4 heads, FFN 1024, vocabulary 8000, batch 32 x 64 tokens.
//! `golden/train_step.py` times the same in PyTorch. `cargo bench -p squeeze-train -- [threads] [steps]`

use std::time::Instant;

use squeeze_graph::ops::*;
use squeeze_graph::{Builder, Element, Graph, GraphError, NodeId};
use squeeze_tensor::Seed;
use squeeze_train::{Engine, Feed, Loss, Mode, Network, Optimiser, Parameters, State, Targets};

const BATCH: usize = 32;
const TOKENS: usize = 64;
const WIDTH: usize = 256;

fn encoder(groups: usize) -> Result<Graph, GraphError> {
    let mut b = Builder::new(format!("encoder_g{groups}"));
    let ids = b.input("ids", &[BATCH, TOKENS], Element::Index)?;
    let lengths = b.input("lengths", &[BATCH], Element::Index)?;
    let word = b.add(
        "word",
        Embedding {
            rows: 8000,
            width: WIDTH,
        },
        &[ids],
    )?;
    let place = b.add(
        "place",
        Position {
            first: 0,
            places: TOKENS,
        },
        &[ids],
    )?;
    let place = b.add(
        "position",
        Embedding {
            rows: TOKENS,
            width: WIDTH,
        },
        &[place],
    )?;
    let x = b.add("sum", Add {}, &[word, place])?;
    let mut x = b.add("norm", LayerNorm::default(), &[x])?;
    for at in 0..4 {
        x = layer(&mut b, [x, lengths], at, groups)?;
    }
    let x = b.add("first", Select { axis: 1, index: 0 }, &[x])?;
    let x = b.add("classifier", Linear::dense(10), &[x])?;
    b.finish(&[x])
}

fn layer(
    b: &mut Builder,
    [x, lengths]: [NodeId; 2],
    at: usize,
    groups: usize,
) -> Result<NodeId, GraphError> {
    let name = |part: &str| format!("layer.{at}.{part}");
    let q = b.add(name("query"), Linear::grouped(WIDTH, groups), &[x])?;
    let k = b.add(name("key"), Linear::grouped(WIDTH, groups), &[x])?;
    let v = b.add(name("value"), Linear::grouped(WIDTH, groups), &[x])?;
    let y = b.add(name("attention"), Attention::new(4), &[q, k, v, lengths])?;
    let y = b.add(name("post"), Linear::dense(WIDTH), &[y])?;
    let x = b.add(name("sum1"), Add {}, &[x, y])?;
    let x = b.add(name("norm1"), LayerNorm::default(), &[x])?;
    let y = b.add(name("ffn1"), Linear::grouped(4 * WIDTH, groups), &[x])?;
    let y = b.add(name("gelu"), Activation::Gelu, &[y])?;
    let y = b.add(name("ffn2"), Linear::grouped(WIDTH, groups), &[y])?;
    let x = b.add(name("sum2"), Add {}, &[x, y])?;
    b.add(name("norm2"), LayerNorm::default(), &[x])
}

/// A network that is being trained.
struct Trainee {
    network: Network,
    parameters: Parameters,
    state: State,
    optimiser: Optimiser,
    times: Vec<[f64; 3]>,
}

impl Trainee {
    fn new(groups: usize) -> Self {
        let graph = encoder(groups).expect("fits");
        let parameters = Parameters::fresh(&graph, Seed(1)).expect("names differ");
        let optimiser = Optimiser::default();
        Self {
            network: Network::new(&graph, &parameters).expect("bound"),
            state: State::new(&optimiser, &parameters),
            parameters,
            optimiser,
            times: vec![],
        }
    }

    fn step(&mut self, engine: &Engine, feeds: &[Feed], labels: &[i32]) {
        let start = Instant::now();
        let mode = Mode::Train(Seed(self.times.len() as u64));
        let (network, parameters) = (&self.network, &mut self.parameters);
        let tape = engine
            .forward(network, parameters, feeds, mode)
            .expect("fits");
        let mut dy = vec![0.0; tape.output().len()];
        let (outputs, targets) = ((tape.output(), 10), Targets::Classes(labels));
        let loss = Loss::default().of(engine.cpu(), outputs, targets, None, &mut dy);
        let forward = start.elapsed().as_secs_f64();
        assert!(loss.expect("fits").is_finite());
        parameters.clear_gradients();
        engine.backward(network, parameters, tape, &dy);
        let backward = start.elapsed().as_secs_f64();
        self.optimiser
            .step(engine.cpu(), parameters, &mut self.state, 1.0);
        let whole = start.elapsed().as_secs_f64();
        self.times
            .push([whole, forward, backward - forward].map(|s| s * 1e3));
    }

    fn quartiles(&self, part: usize) -> [f64; 3] {
        let mut times: Vec<f64> = self.times.iter().skip(2).map(|t| t[part]).collect();
        times.sort_by(f64::total_cmp);
        [1, 2, 3].map(|quarter| times[(times.len() - 1) * quarter / 4])
    }
}

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let threads = numbers.next().unwrap_or(2);
    let steps = numbers.next().unwrap_or(12);
    let engine = Engine::new(threads);
    let mut random = Seed(2).random();
    let ids: Vec<i32> = (0..BATCH * TOKENS)
        .map(|_| random.below(8000) as i32)
        .collect();
    let lengths = vec![TOKENS as i32; BATCH];
    let labels: Vec<i32> = (0..BATCH as i32).map(|i| i % 10).collect();
    let feeds = [
        Feed::indices(&[BATCH, TOKENS], &ids),
        Feed::indices(&[BATCH], &lengths),
    ];
    let mut trainees = [("dense", Trainee::new(1)), ("groups of 4", Trainee::new(4))];
    for _ in 0..steps + 2 {
        trainees
            .iter_mut()
            .for_each(|(_, trainee)| trainee.step(&engine, &feeds, &labels));
    }
    for (name, trainee) in &trainees {
        let [low, middle, high] = trainee.quartiles(0);
        let (forward, backward) = (trainee.quartiles(1)[1], trainee.quartiles(2)[1]);
        println!(
            "{name:12} {middle:6.1} ms a step, median of {steps}, quartiles {low:.1}-{high:.1}; \
             forward {forward:.1}, backward {backward:.1}; {threads} threads"
        );
    }
    let ratio = trainees[0].1.quartiles(0)[1] / trainees[1].1.quartiles(0)[1];
    println!("dense / grouped {ratio:.2}");
}
