//! A model file that continues texts: a text in, the tokens that may follow out.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use squeeze_data::{BytePieces, Task};
use squeeze_formats::{Meta, ModelFile};
use squeeze_infer::{Input, Plan, Scratch, Target, compile_owned};

/// What a model file says of its input.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    tokenizer: String,
    /// Most tokens that the network takes.
    length: usize,
}

/// What a model file says of a language model with these pieces, for texts of so many tokens.
///
/// # Errors
/// When the tokenizer cannot be written.
pub fn meta(pieces: &BytePieces, length: usize) -> Result<Meta> {
    let stored = Stored {
        tokenizer: pieces.to_json()?,
        length,
    };
    Ok(Meta {
        task: serde_json::to_value(Task::ContinueText)?,
        input: serde_json::to_value(stored)?,
        ..Meta::default()
    })
}

/// Whether a model file continues texts.
pub fn is_asked_for(meta: &Meta) -> bool {
    Task::of(&meta.task) == Some(Task::ContinueText)
}

/// A language model compiled for this machine, and a text that it goes on with.
#[derive(Debug)]
pub struct Language {
    pieces: BytePieces,
    plan: Plan,
    scratch: Scratch,
    ids: Vec<i32>,
    /// Tokens that the plan was made for.
    length: usize,
}

/// A token that may follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// Its number.
    pub id: i32,
    /// What it looks like; nothing where the tokenizer has no piece of this number.
    pub text: String,
    /// Its probability.
    pub probability: f32,
}

impl Language {
    /// Compiles a model for a text and so many tokens behind it.
    ///
    /// # Errors
    /// When the model is none of this kind, the text is empty, or there are more tokens than the network takes.
    pub fn new(model: ModelFile, target: &Target, text: &str, tokens: usize) -> Result<Self> {
        let ModelFile {
            graph,
            weights,
            meta,
        } = model;
        let stored: Stored = serde_json::from_value(meta.input)
            .context("the model does not say how its input is made")?;
        let pieces = BytePieces::from_json(&stored.tokenizer)?;
        let ids = pieces.encode(text)?;
        if ids.is_empty() {
            bail!("there is nothing to go on with: give a text");
        }
        let length = ids.len() + tokens;
        if length > stored.length {
            let (found, most) = (ids.len(), stored.length);
            bail!("{found} tokens and {tokens} more: the model takes {most}");
        }
        let graph = graph.with_length(length)?;
        let inputs = graph.inputs();
        let names: Vec<&str> = inputs.iter().map(|&id| &*graph.node(id).name).collect();
        let scores = &graph.node(graph.outputs()[0]).shape;
        let fits = matches!(scores[..], [1, s, rows] if s == length && rows >= pieces.vocabulary());
        if names != ["ids", "lengths"] || !fits {
            bail!("a network of {names:?} that gives {scores:?} is no language model");
        }
        let plan = compile_owned(&graph, weights, target)?;
        let scratch = plan.scratch();
        Ok(Self {
            pieces,
            plan,
            scratch,
            ids,
            length,
        })
    }

    /// The likeliest tokens to follow, so many of them, the likeliest first.
    ///
    /// # Errors
    /// When the network cannot take the text.
    pub fn next(&mut self, count: usize) -> Result<Vec<Next>> {
        let mut ids = self.ids.clone();
        ids.resize(self.length, 0);
        let lengths = [i32::try_from(self.ids.len())?];
        let inputs = [Input::Indices(&ids), Input::Indices(&lengths)];
        self.plan.check(&inputs)?;
        let outputs = self.plan.run(&inputs, &mut self.scratch);
        let width = outputs.first().len() / self.length;
        let logits = &outputs.first()[(self.ids.len() - 1) * width..][..width];
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|x| f64::from(x - highest).exp()).sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let next = |&at: &usize| {
            let id = i32::try_from(at)?;
            Ok(Next {
                id,
                text: self.pieces.decode(&[id]),
                probability: (f64::from(logits[at] - highest).exp() / sum) as f32,
            })
        };
        order.iter().take(count).map(next).collect()
    }

    /// The text of so many tokens, each the likeliest after those before, or of fewer where a text ends.
    ///
    /// # Errors
    /// When the network cannot take the text.
    pub fn go_on(&mut self, tokens: usize) -> Result<String> {
        let begun = self.ids.len();
        for _ in 0..tokens.min(self.length - begun) {
            let next = self.next(1)?;
            let Some(next) = next
                .first()
                .filter(|next| Some(next.id) != self.pieces.end())
            else {
                break;
            };
            self.ids.push(next.id);
        }
        Ok(self.pieces.decode(&self.ids[begun..]))
    }
}
