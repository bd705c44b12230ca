//! The list of networks as a page of the documentation: what each costs, and what is published.

use std::fmt::Write;

use squeeze_graph::{Graph, NodeId};

use crate::licences::LICENCES;
use crate::list::{Entry, Options, Task, build, list};

const HEAD: &str = "# Networks that are known by name

Written by `cargo run -p squeeze-zoo --example models > docs/models.md`; a test fails when it is out of date. Parameters and multiply-adds (in units
of 10^9) are counted from the graph, as `squeeze cost NAME` prints them. *Published* is what the source prints, or what its reference implementation holds;
tests compare the two, and the last column explains each difference. Multiply-adds are those of products: convolutions, linear layers, attention.

    squeeze list models
    squeeze cost efficientnet_b3 --per-layer
    squeeze import fcn_resnet50_coco-1167a1af.pth --model fcn_resnet50 -o fcn.squeeze

Weights have the names of the source's files, so that those are read as they are: torchvision's, timm's, those of `transformers` and of the repositories named.
`golden/zoo_parity.py` builds each network in PyTorch with random weights and compares its answer with Squeeze's; the difference must stay below 1e-4 of
the largest output.
";

const LICENCES_HEAD: &str = "
## Licences of published weights

What those who publish the weights say of them; `squeeze list models` shows it beside each network. Whether the terms of a training set bind its weights is open in law.

| source | licence of the weights | stated in |
|---|---|---|
";

/// The page `docs/models.md`.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for (task, title) in [
        (Task::Image, "Image classification"),
        (Task::Segment, "Segmentation"),
        (Task::Detection, "Object detection"),
        (Task::Text, "Text classification, at 128 tokens"),
        (Task::Language, "Language models, at 128 tokens"),
        (Task::Translate, "Translation, at 128 tokens of both texts"),
    ] {
        let columns = "name | input | parameters | published | G multiply-adds | published | published accuracy | source | remarks";
        let rule = "---|---|---:|---:|---:|---:|---|---|---";
        write!(page, "\n## {title}\n\n| {columns} |\n|{rule}|\n").expect("a string takes it");
        for entry in list().iter().filter(|entry| entry.task == task) {
            page += &row(entry);
        }
    }
    page += LICENCES_HEAD;
    for row in LICENCES {
        writeln!(page, "| {} | {} | {} |", row.source, row.name, row.stated)
            .expect("a string takes it");
    }
    page
}

fn row(entry: &Entry) -> String {
    let graph = build(entry.name, &Options::default()).expect("defaults fit");
    let cost = graph.cost();
    let cells = [
        format!("`{}`", entry.name),
        input(&graph),
        thousands(cost.params),
        thousands(entry.params),
        format!("{:.3}", cost.macs as f64 / 1e9),
        entry.gmacs.unwrap_or_default().into(),
        entry
            .accuracy
            .map_or(String::new(), |accuracy| accuracy.to_string()),
        entry.source.into(),
        remarks(entry),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// Height and width of the image, or tokens of the text.
fn input(graph: &Graph) -> String {
    let shape = &graph.node(NodeId(0)).shape;
    match shape[..] {
        [_, _, height, width] => format!("{height} x {width}"),
        _ => format!("{} tokens", shape[1]),
    }
}

fn remarks(entry: &Entry) -> String {
    let mut remarks = vec![];
    if let Some(beyond) = entry.beyond {
        let params = thousands(beyond.params);
        let mut figure = format!("{params} parameters");
        if beyond.macs > 0 {
            write!(figure, " and {:.3} G", beyond.macs as f64 / 1e9).expect("a string takes it");
        }
        let (path, what) = (beyond.path, beyond.what);
        remarks.push(format!("published: {figure} more of `{path}` ({what})"));
    }
    if !entry.head.is_empty() {
        let paths = entry.head.iter().map(|path| format!("`{path}`"));
        let paths = paths.collect::<Vec<_>>().join(", ");
        remarks.push(format!("published without {paths}"));
    }
    remarks.extend(entry.remark.map(str::to_owned));
    remarks.join("; ")
}

/// A number in groups of three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/models.md");
        let page = std::fs::read_to_string(path).expect("docs/models.md");
        assert!(
            page == markdown(),
            "docs/models.md is out of date: cargo run -p squeeze-zoo --example models > docs/models.md"
        );
    }

    #[test]
    fn digits_come_in_threes() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(465_774), "465,774");
        assert_eq!(thousands(1_918_734), "1,918,734");
    }
}
