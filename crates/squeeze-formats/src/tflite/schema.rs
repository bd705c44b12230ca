//! The tables of TFLite files, as far as they are read (schema version 3).

use super::flat::{File, Table, Tables};
use crate::error::Broken;

/// A file's main network.
pub(super) struct Model<'a> {
    pub file: &'a File,
    codes: Tables<'a>,
    buffers: Tables<'a>,
    tensors: Tables<'a>,
    pub operators: Tables<'a>,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
}

/// What a tensor's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F32,
    F16,
    I8,
    U8,
    I16,
    I32,
    I64,
    /// Something else, by its number in the schema.
    Other(i8),
}

/// What is known of a tensor: a constant, or what flows between two operators.
pub(super) struct Tensor<'a> {
    pub name: &'a str,
    pub shape: Vec<usize>,
    /// Sizes that the user may choose are -1 here; empty when there are none.
    pub signature: Vec<i32>,
    pub kind: Kind,
    /// The elements of a constant; empty for everything else.
    pub data: &'a [u8],
    quantization: Option<Table<'a>>,
}

/// What integers stand for: `scale * (integer - zero)`, one scale for all or one for each index of an axis.
pub(super) struct Quantization {
    pub scales: Vec<f32>,
    pub zeros: Vec<i64>,
    pub axis: usize,
}

/// An operator with its place in the file.
pub(super) struct Operator<'a> {
    pub number: usize,
    /// Its name in the schema.
    pub kind: &'static str,
    /// Of an operator that is not in the schema.
    custom: &'a str,
    pub version: i32,
    /// -1 for one that was left out.
    pub inputs: Vec<i32>,
    pub outputs: Vec<usize>,
    options: Option<Table<'a>>,
}

/// The version of the schema that is read.
const VERSION: i32 = 3;

/// Most inputs and outputs of an operator.
const MOST_INPUTS: usize = 1 << 12;

/// Most axes of a tensor.
const MOST_AXES: usize = 8;

impl<'a> Model<'a> {
    pub fn read(file: &'a File) -> Result<Self, Broken> {
        if file.cut(0, 8).map(|head| &head[4..]).ok() != Some(b"TFL3".as_slice()) {
            return Err(Broken::new(
                "no TFLite file: it does not say TFL3 at byte 4",
            ));
        }
        let root = file.root()?;
        let version = root.int(0, 0)?;
        if version != VERSION {
            return Err(Broken::new(format!(
                "schema version {version}, {VERSION} is read: convert it again with a TensorFlow since 1.9"
            )));
        }
        let main = root.tables(2)?.get(0, "network")?;
        Ok(Self {
            file,
            codes: root.tables(1)?,
            buffers: root.tables(4)?,
            tensors: main.tables(0)?,
            operators: main.tables(3)?,
            inputs: numbers(&main.ints(1)?)?,
            outputs: numbers(&main.ints(2)?)?,
        })
    }

    pub fn tensor(&self, index: usize) -> Result<Tensor<'a>, Broken> {
        let table = self.tensors.get(index, "tensor")?;
        let name = table.text(3)?;
        let wrong = |shape: &[i32]| {
            let shape = &shape[..shape.len().min(MOST_AXES)];
            Broken::new(format!(
                "tensor {index} `{name}` has the shape {shape:?}: at most {MOST_AXES} axes, none negative, are read"
            ))
        };
        let sizes = table.ints(0)?;
        let shape: Result<Vec<usize>, _> =
            sizes.iter().map(|&size| usize::try_from(size)).collect();
        let shape = shape.map_err(|_| wrong(&sizes))?;
        if shape.len() > MOST_AXES {
            return Err(wrong(&sizes));
        }
        let kind = match table.byte(1, 0)? {
            0 => Kind::F32,
            1 => Kind::F16,
            2 => Kind::I32,
            3 => Kind::U8,
            4 => Kind::I64,
            7 => Kind::I16,
            9 => Kind::I8,
            other => Kind::Other(other),
        };
        if table.table(6)?.is_some() {
            return Err(Broken::new(format!(
                "tensor {index} `{name}` leaves out its zeros, which is not read: convert it without sparsity"
            )));
        }
        Ok(Tensor {
            name,
            shape,
            signature: table.ints(7)?,
            kind,
            data: self.data(table.index(2)?)?,
            quantization: table.table(4)?,
        })
    }

    /// The bytes of a buffer, which lie in it or, in large files, behind all tables.
    fn data(&self, index: usize) -> Result<&'a [u8], Broken> {
        if index == 0 {
            return Ok(&[]);
        }
        let table = self.buffers.get(index, "buffer")?;
        let [at, size] = [table.long(1)?, table.long(2)?].map(usize::try_from);
        match (at, size) {
            (Ok(0 | 1), _) => table.bytes(0),
            (Ok(at), Ok(size)) => self.file.cut(at, size),
            _ => self.file.cut(usize::MAX, 1),
        }
    }

    pub fn operator(&self, number: usize) -> Result<Operator<'a>, Broken> {
        let table = self.operators.get(number, "operator")?;
        let code = self.codes.get(table.index(0)?, "operator code")?;
        // Codes beyond 127 have a field of their own, older files only the first.
        let builtin = code.int(3, 0)?.max(i32::from(code.byte(0, 0)?));
        let name = usize::try_from(builtin).ok().and_then(|at| NAMES.get(at));
        let operator = Operator {
            number,
            kind: name.unwrap_or(&"STABLEHLO or later operator"),
            custom: code.text(1)?,
            version: code.int(2, 1)?,
            inputs: table.ints(1)?,
            outputs: numbers(&table.ints(2)?)?,
            options: table.table(4)?,
        };
        if operator.inputs.len().max(operator.outputs.len()) > MOST_INPUTS {
            let label = operator.label();
            return Err(Broken::new(format!(
                "{label}: more than {MOST_INPUTS} inputs or outputs are not read"
            )));
        }
        Ok(operator)
    }
}

/// Numbers of tensors, all there.
fn numbers(ints: &[i32]) -> Result<Vec<usize>, Broken> {
    let all: Result<_, _> = ints.iter().map(|&int| usize::try_from(int)).collect();
    all.map_err(|_| Broken::new("damaged: an input or output is missing"))
}

impl Tensor<'_> {
    /// What its integers stand for, if that is said.
    pub fn quantization(&self) -> Result<Option<Quantization>, Broken> {
        let Some(table) = self.quantization else {
            return Ok(None);
        };
        let (scales, mut zeros) = (table.floats(2)?, table.longs(3)?);
        if scales.is_empty() {
            return Ok(None);
        }
        let name = self.name;
        if table.byte(4, 0)? != 0 {
            return Err(Broken::new(format!(
                "tensor `{name}` has scales of a kind that is not read: convert it with a scale for each channel"
            )));
        }
        if let Some(scale) = scales
            .iter()
            .find(|scale| !(scale.is_finite() && **scale >= 0.0))
        {
            return Err(Broken::new(format!(
                "damaged: tensor `{name}` has the scale {scale}"
            )));
        }
        if zeros.is_empty() {
            zeros = vec![0; scales.len()];
        }
        let axis = usize::try_from(table.int(6, 0)?).unwrap_or(usize::MAX);
        let fits = scales.len() == 1 || self.shape.get(axis) == Some(&scales.len());
        if !fits || zeros.len() != scales.len() {
            let (scales, zeros, shape) = (scales.len(), zeros.len(), &self.shape);
            return Err(Broken::new(format!(
                "damaged: tensor `{name}` of {shape:?} has {scales} scales and {zeros} zero points"
            )));
        }
        Ok(Some(Quantization {
            scales,
            zeros,
            axis,
        }))
    }

    /// The smallest and the largest number that its bytes stand for, if they have one scale.
    pub fn range(&self) -> Result<Option<[f32; 2]>, Broken> {
        let ends = match self.kind {
            Kind::I8 => [-128, 127],
            Kind::U8 => [0, 255],
            Kind::I16 => [-32768, 32767],
            Kind::F32 | Kind::F16 | Kind::I32 | Kind::I64 | Kind::Other(_) => return Ok(None),
        };
        let Some(quantization) = self.quantization()? else {
            return Ok(None);
        };
        let (&[scale], &[zero]) = (&*quantization.scales, &*quantization.zeros) else {
            return Ok(None);
        };
        let range = ends.map(|end: i64| scale * end.saturating_sub(zero) as f32);
        Ok((range[0] < range[1] && range.iter().all(|end| end.is_finite())).then_some(range))
    }
}

impl Operator<'_> {
    /// What messages call it.
    pub fn label(&self) -> String {
        let Self {
            number,
            kind,
            custom,
            ..
        } = self;
        match *custom {
            "" => format!("node {number} ({kind})"),
            custom => format!("node {number} ({kind} `{custom}`)"),
        }
    }

    pub fn byte(&self, field: usize) -> Result<i8, Broken> {
        self.options.map_or(Ok(0), |table| table.byte(field, 0))
    }

    pub fn flag(&self, field: usize) -> Result<bool, Broken> {
        Ok(self.byte(field)? != 0)
    }

    pub fn int(&self, field: usize, default: i32) -> Result<i32, Broken> {
        let read = |table: Table| table.int(field, default);
        self.options.map_or(Ok(default), read)
    }

    pub fn float(&self, field: usize, default: f32) -> Result<f32, Broken> {
        let read = |table: Table| table.float(field, default);
        self.options.map_or(Ok(default), read)
    }

    pub fn ints(&self, field: usize) -> Result<Vec<i32>, Broken> {
        self.options.map_or(Ok(vec![]), |table| table.ints(field))
    }

    /// Two sizes, height and width, that must not be negative.
    pub fn sizes(&self, fields: [usize; 2], default: i32) -> Result<[usize; 2], Broken> {
        let size = |field| {
            let size = self.int(field, default)?;
            usize::try_from(size).map_err(|_| unread(&format!("a size of {size}")))
        };
        Ok([size(fields[0])?, size(fields[1])?])
    }
}

/// Something about an operator that is not understood; who walks over the operators says which one it is.
pub(super) fn unread(what: &str) -> Broken {
    Broken::new(format!("{what} is not read"))
}

/// Operators by their numbers in the schema; those of StableHLO come behind.
#[rustfmt::skip]
const NAMES: [&str; 162] = [
    "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "EMBEDDING_LOOKUP", "FLOOR", "FULLY_CONNECTED",
    "HASHTABLE_LOOKUP", "L2_NORMALIZATION", "L2_POOL_2D", "LOCAL_RESPONSE_NORMALIZATION", "LOGISTIC", "LSH_PROJECTION", "LSTM", "MAX_POOL_2D", "MUL", "RELU",
    "RELU_N1_TO_1", "RELU6", "RESHAPE", "RESIZE_BILINEAR", "RNN", "SOFTMAX", "SPACE_TO_DEPTH", "SVDF", "TANH", "CONCAT_EMBEDDINGS",
    "SKIP_GRAM", "CALL", "CUSTOM", "EMBEDDING_LOOKUP_SPARSE", "PAD", "UNIDIRECTIONAL_SEQUENCE_RNN", "GATHER", "BATCH_TO_SPACE_ND", "SPACE_TO_BATCH_ND", "TRANSPOSE",
    "MEAN", "SUB", "DIV", "SQUEEZE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "STRIDED_SLICE", "BIDIRECTIONAL_SEQUENCE_RNN", "EXP", "TOPK_V2", "SPLIT",
    "LOG_SOFTMAX", "DELEGATE", "BIDIRECTIONAL_SEQUENCE_LSTM", "CAST", "PRELU", "MAXIMUM", "ARG_MAX", "MINIMUM", "LESS", "NEG",
    "PADV2", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SLICE", "SIN", "TRANSPOSE_CONV", "SPARSE_TO_DENSE", "TILE",
    "EXPAND_DIMS", "EQUAL", "NOT_EQUAL", "LOG", "SUM", "SQRT", "RSQRT", "SHAPE", "POW", "ARG_MIN",
    "FAKE_QUANT", "REDUCE_PROD", "REDUCE_MAX", "PACK", "LOGICAL_OR", "ONE_HOT", "LOGICAL_AND", "LOGICAL_NOT", "UNPACK", "REDUCE_MIN",
    "FLOOR_DIV", "REDUCE_ANY", "SQUARE", "ZEROS_LIKE", "FILL", "FLOOR_MOD", "RANGE", "RESIZE_NEAREST_NEIGHBOR", "LEAKY_RELU", "SQUARED_DIFFERENCE",
    "MIRROR_PAD", "ABS", "SPLIT_V", "UNIQUE", "CEIL", "REVERSE_V2", "ADD_N", "GATHER_ND", "COS", "WHERE",
    "RANK", "ELU", "REVERSE_SEQUENCE", "MATRIX_DIAG", "QUANTIZE", "MATRIX_SET_DIAG", "ROUND", "HARD_SWISH", "IF", "WHILE",
    "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "SCATTER_ND", "SELECT_V2", "DENSIFY", "SEGMENT_SUM", "BATCH_MATMUL", "PLACEHOLDER_FOR_GREATER_OP_CODES", "CUMSUM", "CALL_ONCE",
    "BROADCAST_TO", "RFFT2D", "CONV_3D", "IMAG", "REAL", "COMPLEX_ABS", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT", "HASHTABLE_SIZE",
    "REDUCE_ALL", "CONV_3D_TRANSPOSE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "BROADCAST_ARGS", "RANDOM_STANDARD_NORMAL", "BUCKETIZE", "RANDOM_UNIFORM", "MULTINOMIAL",
    "GELU", "DYNAMIC_UPDATE_SLICE", "RELU_0_TO_1", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_SUM", "ATAN2", "UNSORTED_SEGMENT_MIN", "SIGN", "BITCAST",
    "BITWISE_XOR", "RIGHT_SHIFT",
];
