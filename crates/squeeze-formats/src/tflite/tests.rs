//! Files of `golden/tflite_files.py` damaged in all ways, and small files that lie. What networks compute is tested where they can be run.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::import::from_bytes;
use super::{Imported, import};

fn golden(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.join("../../golden").join(format!("{name}.tflite"))
}

const GOLDEN: [&str; 4] = [
    "tflite_image",
    "tflite_segment",
    "tflite_int8",
    "tflite_uint8",
];

/// What an import may take of the processor, however a file lies.
const LONGEST: Duration = Duration::from_secs(1);

/// How long this thread has worked; where the system does not say, how long it is since a first call.
fn worked() -> Duration {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/thread-self/schedstat");
    let nanoseconds = text
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| FIRST.elapsed(), Duration::from_nanos)
}

#[test]
fn weights_are_those_of_the_graph() {
    for name in GOLDEN {
        let Imported { graph, weights, .. } = import(&golden(name)).expect("a golden file");
        for (name, param) in graph.params() {
            let tensor = weights.get(&name).expect(&name);
            assert_eq!(tensor.shape(), param.shape, "{name}");
        }
        let beside = weights
            .iter()
            .filter(|(name, _)| graph.node_of_range(name).is_some());
        assert_eq!(weights.len(), graph.params().len() + beside.count());
    }
}

#[test]
fn whatever_is_cut_off_is_missed() {
    for name in GOLDEN {
        let bytes = std::fs::read(golden(name)).expect("a golden file");
        for length in (0..bytes.len()).step_by(64) {
            let begun = worked();
            let cut = from_bytes(bytes[..length].to_vec().into(), "x");
            assert!(cut.is_err(), "{name} of {length} bytes");
            assert!(worked() - begun < LONGEST, "{name} of {length} bytes");
        }
    }
}

#[test]
fn damage_is_an_error_or_another_network() {
    for name in GOLDEN {
        let bytes = std::fs::read(golden(name)).expect("a golden file");
        for at in (0..bytes.len()).step_by(9) {
            let mut bytes = bytes.clone();
            let begun = worked();
            // Without checksums some changes give another network; none may panic or hang.
            for changed in [bytes[at] ^ 1 << (at % 8), 0xff, 0x00, 0x80] {
                bytes[at] = changed;
                let _ = from_bytes(bytes.clone().into(), "x");
            }
            assert!(worked() - begun < 4 * LONGEST, "{name}, byte {at}");
        }
    }
}

/// A part of a FlatBuffer.
#[derive(Clone)]
enum Flat {
    Byte(i8),
    Int(i32),
    Ints(Vec<i32>),
    Floats(Vec<f32>),
    Bytes(Vec<u8>),
    Text(&'static str),
    /// Fields by their numbers.
    Table(Vec<(usize, Flat)>),
    Tables(Vec<Flat>),
}

use Flat::{Byte, Bytes, Floats, Int, Ints, Table, Tables, Text};

/// Bytes that a field takes.
const SLOT: usize = 8;

impl Flat {
    /// Appends the part; where it begins.
    fn write(&self, out: &mut Vec<u8>) -> usize {
        let list = |out: &mut Vec<u8>, count: usize, bytes: &[u8]| {
            let at = out.len();
            out.extend((count as u32).to_le_bytes());
            out.extend(bytes);
            at
        };
        match self {
            Byte(_) | Int(_) => unreachable!("they lie in their tables"),
            Ints(ints) => list(
                out,
                ints.len(),
                &ints
                    .iter()
                    .flat_map(|i| i.to_le_bytes())
                    .collect::<Vec<_>>(),
            ),
            Floats(all) => list(
                out,
                all.len(),
                &all.iter().flat_map(|f| f.to_le_bytes()).collect::<Vec<_>>(),
            ),
            Bytes(bytes) => list(out, bytes.len(), bytes),
            Text(text) => list(out, text.len(), text.as_bytes()),
            Tables(parts) => {
                let at = list(out, parts.len(), &vec![0; 4 * parts.len()]);
                for (index, part) in parts.iter().enumerate() {
                    part.write_behind(out, at + 4 + 4 * index);
                }
                at
            }
            Table(fields) => {
                let count = fields.iter().map(|(field, _)| field + 1).max().unwrap_or(0);
                let size = 4 + SLOT * fields.len();
                out.extend(((4 + 2 * count) as u16).to_le_bytes());
                out.extend((size as u16).to_le_bytes());
                let mut places = vec![0u16; count];
                for (slot, (field, _)) in fields.iter().enumerate() {
                    places[*field] = (4 + SLOT * slot) as u16;
                }
                out.extend(places.iter().flat_map(|place| place.to_le_bytes()));
                let at = out.len();
                out.extend((4 + 2 * count as i32).to_le_bytes());
                out.extend(vec![0; size - 4]);
                for (slot, (_, part)) in fields.iter().enumerate() {
                    let place = at + 4 + SLOT * slot;
                    match part {
                        Byte(byte) => out[place] = byte.cast_unsigned(),
                        Int(int) => out[place..place + 4].copy_from_slice(&int.to_le_bytes()),
                        _ => part.write_behind(out, place),
                    }
                }
                at
            }
        }
    }

    /// Appends the part, and its offset where it is asked for.
    fn write_behind(&self, out: &mut Vec<u8>, place: usize) {
        let at = self.write(out) - place;
        out[place..place + 4].copy_from_slice(&(at as u32).to_le_bytes());
    }
}

/// A file of one network.
#[derive(Clone)]
struct Net {
    /// Operators of the schema with their versions.
    codes: Vec<(i32, i32)>,
    buffers: Vec<Vec<u8>>,
    tensors: Vec<Flat>,
    operators: Vec<Flat>,
    inputs: Vec<i32>,
    outputs: Vec<i32>,
}

const ADD: i32 = 0;
const CONV_2D: i32 = 3;
const RELU: i32 = 19;
const LSTM: i32 = 16;
const CUSTOM: i32 = 32;

fn tensor(shape: &[i32], kind: i8, buffer: i32) -> Flat {
    Table(vec![
        (0, Ints(shape.to_vec())),
        (1, Byte(kind)),
        (2, Int(buffer)),
        (3, Text("x")),
    ])
}

fn operator(code: i32, inputs: &[i32], outputs: &[i32], options: Vec<(usize, Flat)>) -> Flat {
    Table(vec![
        (0, Int(code)),
        (1, Ints(inputs.to_vec())),
        (2, Ints(outputs.to_vec())),
        (4, Table(options)),
    ])
}

impl Net {
    /// A convolution of one tap over an image of two channels, and a ReLU.
    fn small() -> Self {
        let weight: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect();
        let conv = vec![(0, Byte(1)), (1, Int(1)), (2, Int(1))];
        Self {
            codes: vec![(CONV_2D, 1), (RELU, 1)],
            buffers: vec![vec![], weight],
            tensors: vec![
                tensor(&[1, 4, 4, 2], 0, 0),
                tensor(&[3, 1, 1, 2], 0, 1),
                tensor(&[1, 4, 4, 3], 0, 0),
                tensor(&[1, 4, 4, 3], 0, 0),
            ],
            operators: vec![
                operator(0, &[0, 1, -1], &[2], conv),
                operator(1, &[2], &[3], vec![]),
            ],
            inputs: vec![0],
            outputs: vec![3],
        }
    }

    fn bytes(self) -> Vec<u8> {
        let code = |&(code, version): &(i32, i32)| {
            Table(vec![
                (0, Byte(code.min(127) as i8)),
                (2, Int(version)),
                (3, Int(code)),
            ])
        };
        let buffer = |data: Vec<u8>| match data.is_empty() {
            true => Table(vec![]),
            false => Table(vec![(0, Bytes(data))]),
        };
        let graph = Table(vec![
            (0, Tables(self.tensors)),
            (1, Ints(self.inputs)),
            (2, Ints(self.outputs)),
            (3, Tables(self.operators)),
        ]);
        let model = Table(vec![
            (0, Int(3)),
            (1, Tables(self.codes.iter().map(code).collect())),
            (2, Tables(vec![graph])),
            (4, Tables(self.buffers.into_iter().map(buffer).collect())),
        ]);
        let mut out = b"\0\0\0\0TFL3".to_vec();
        model.write_behind(&mut out, 0);
        out
    }

    fn read(self) -> Result<Imported, String> {
        let (bytes, begun) = (self.bytes(), worked());
        let found = from_bytes(bytes.into(), "x").map_err(|broken| broken.0);
        assert!(worked() - begun < LONGEST, "it took too long");
        found
    }
}

/// What is said about the small network after a change.
#[track_caller]
fn refused(change: impl Fn(&mut Net), message: &str) {
    let mut net = Net::small();
    change(&mut net);
    let error = net.read().expect_err("it lies");
    assert!(error.contains(message), "{error}");
}

#[test]
fn the_small_network_is_read() {
    let Imported { graph, weights, .. } = Net::small().read().expect("it is whole");
    assert_eq!(graph.node(graph.outputs()[0]).shape, [1, 3, 4, 4]);
    let weight = weights.get("x.weight").expect("the convolution's").floats();
    assert_eq!(weight, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn operators_that_are_not_read_are_named() {
    refused(
        |net| net.codes[1].0 = LSTM,
        "node 1 (LSTM): this operator is not read: cut the network before it",
    );
    refused(|net| net.codes[1].0 = CUSTOM, "convert without custom");
    refused(
        |net| net.codes[1].0 = 4000,
        "node 1 (STABLEHLO or later operator): this operator is not read",
    );
    refused(
        |net| net.codes[0].1 = 9,
        "node 0 (CONV_2D): its version 9 is not read, 1 to 8 are: convert with an older",
    );
    let ending = |ending| {
        move |net: &mut Net| {
            net.operators[0] = operator(
                0,
                &[0, 1],
                &[2],
                vec![(1, Int(1)), (2, Int(1)), (3, Byte(ending))],
            );
        }
    };
    refused(
        ending(2),
        "node 0 (CONV_2D): an ending of type 2 of the schema is not read",
    );
    refused(ending(-7), "an ending of type -7");
}

#[test]
fn shapes_that_lie_are_refused() {
    refused(
        |net| net.tensors[0] = tensor(&[1, -4, 4, 2], 0, 0),
        "none negative, are read",
    );
    refused(
        |net| net.tensors[0] = tensor(&[1; 99], 0, 0),
        "at most 8 axes",
    );
    refused(
        |net| net.tensors[0] = tensor(&[1, 0, 4, 2], 0, 0),
        "must not be zero",
    );
    let huge = [i32::MAX; 4];
    refused(|net| net.tensors[0] = tensor(&huge, 0, 0), "2^40 elements");
    refused(
        |net| net.tensors[0] = tensor(&[1, 1 << 20, 1 << 15, 2], 0, 0),
        "at most 2147483648 numbers",
    );
    refused(
        |net| net.tensors[2] = tensor(&[1, 4, 4, 4], 0, 0),
        "a result of [1, 4, 4, 3] that the file says is [1, 4, 4, 4]",
    );
    refused(
        |net| net.tensors[1] = tensor(&[3, 1, 1, 200], 0, 1),
        "a weight of [3, 1, 1, 200] for 2 channels",
    );
    refused(
        |net| net.tensors[1] = tensor(&[300, 1, 1, 2], 0, 1),
        "of [300, 1, 1, 2] has 24 bytes",
    );
    refused(
        |net| net.tensors[1] = tensor(&[i32::MAX, 0, 0, 2], 0, 1),
        "a window, stride or dilation of 0",
    );
    refused(
        |net| net.tensors[1] = tensor(&[3, 1, 1, 2], 5, 1),
        "elements of type 5",
    );
    refused(
        |net| net.tensors[1] = tensor(&[3, 1, 1, 2], 2, 1),
        "has integers and no scale",
    );
}

#[test]
fn what_is_not_there_is_refused() {
    refused(
        |net| net.tensors[1] = tensor(&[3, 1, 1, 2], 0, 7),
        "buffer 7 is asked for, there are 2",
    );
    refused(
        |net| net.outputs = vec![9],
        "tensor 9 is asked for, there are 4",
    );
    refused(
        |net| net.outputs = vec![-1],
        "an input or output is missing",
    );
    refused(|net| net.outputs = vec![1], "is not the result of a layer");
    refused(|net| net.outputs.clear(), "has no output");
    refused(
        |net| net.codes.truncate(1),
        "operator code 1 is asked for, there are 1",
    );
    refused(|net| net.inputs.clear(), "an input 0 that nothing gives");
    refused(
        |net| net.operators.swap(0, 1),
        "node 0 (RELU): an input 0 that nothing gives",
    );
}

#[test]
fn circles_and_second_results_are_refused() {
    refused(
        |net| net.operators[0] = operator(1, &[3], &[2], vec![]),
        "an input 0 that nothing gives",
    );
    refused(
        |net| net.operators[1] = operator(1, &[2], &[2], vec![]),
        "a result that another operator gives too",
    );
    refused(
        |net| net.operators[1] = operator(1, &[2], &[3, 2], vec![]),
        "2 outputs where 1 come out",
    );
}

/// Thousands of layers that share one weight: much would be made of little.
#[test]
fn a_small_file_does_not_become_a_large_network() {
    let mut net = Net::small();
    let width = 300;
    net.buffers[1] = vec![0; 4 * width * width];
    net.tensors = vec![
        tensor(&[1, 1, 1, width as i32], 0, 0),
        tensor(&[width as i32, 1, 1, width as i32], 0, 1),
    ];
    net.operators.clear();
    for layer in 0..3000 {
        net.tensors.push(tensor(&[1, 1, 1, width as i32], 0, 0));
        let before = if layer == 0 { 0 } else { layer + 1 };
        net.operators.push(operator(
            0,
            &[before, 1],
            &[layer + 2],
            vec![(1, Int(1)), (2, Int(1))],
        ));
    }
    net.outputs = vec![3001];
    let error = net.read().expect_err("1 GB of weights");
    assert!(error.contains("its parts lie upon each other"), "{error}");
}

/// A number for each of two thousand million channels.
#[test]
fn constants_are_not_spread_without_end() {
    let mut net = Net::small();
    net.codes = vec![(ADD, 1)];
    net.buffers[1] = 1.0f32.to_le_bytes().to_vec();
    net.tensors = vec![
        tensor(&[1, 1, 1, i32::MAX], 0, 0),
        tensor(&[], 0, 1),
        tensor(&[1, 1, 1, i32::MAX], 0, 0),
    ];
    net.operators = vec![operator(0, &[0, 1], &[2], vec![])];
    net.outputs = vec![2];
    let error = net.read().expect_err("8 GB of addends");
    assert!(error.contains("its parts lie upon each other"), "{error}");
}

#[test]
fn scales_that_lie_are_refused() {
    let quantized = |scales: &[f32], axis: i32| {
        let Table(mut fields) = tensor(&[3, 1, 1, 2], 9, 1) else {
            unreachable!("a tensor is a table");
        };
        fields.push((4, Table(vec![(2, Floats(scales.to_vec())), (6, Int(axis))])));
        Table(fields)
    };
    let with = |scales: &[f32], axis: i32| {
        let weight = quantized(scales, axis);
        move |net: &mut Net| {
            net.buffers[1] = vec![1, 2, 3, 4, 5, 127];
            net.tensors[1] = weight.clone();
        }
    };
    let mut net = Net::small();
    with(&[0.5, 0.25, 2.0], 0)(&mut net);
    let weights = net.read().expect("it is whole").weights;
    let weight = weights.get("x.weight").expect("the convolution's");
    assert_eq!(weight.floats(), [0.5, 1.0, 0.75, 1.0, 10.0, 254.0]);
    assert!(weight.scaled().is_some());
    refused(with(&[0.5, 0.25], 0), "has 2 scales and 2 zero points");
    refused(with(&[0.5, 0.25], 3), "scales along axis 3");
    refused(with(&[0.5, 0.25, 2.0], -1), "has 3 scales");
    refused(with(&[0.5, f32::NAN, 2.0], 0), "has the scale NaN");
    refused(with(&[-0.5], 0), "has the scale -0.5");
}

/// The file's first bytes lead to tables that lead to themselves.
#[test]
fn tables_that_lead_nowhere() {
    let bytes = Net::small().bytes();
    let root = u32::from_le_bytes(*bytes.first_chunk().expect("a file")) as usize;
    for (at, value) in [
        (0, 0u32),
        (0, 4),
        (0, u32::MAX),
        (0, bytes.len() as u32 - 2),
        (root, 0),
        (root, u32::MAX),
        (root, i32::MIN.cast_unsigned()),
        (root, root as u32),
        (root, (root as u32).wrapping_neg()),
    ] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let begun = worked();
        assert!(from_bytes(bytes.into(), "x").is_err(), "{value} at {at}");
        assert!(worked() - begun < LONGEST);
    }
    assert!(from_bytes(b"PK\x03\x04 no such file".to_vec().into(), "x").is_err());
    assert!(from_bytes(vec![].into(), "x").is_err());
}
