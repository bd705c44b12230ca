//! A network as a picture: one SVG file, boxes of layers from top to bottom.

mod layout;
mod words;

use std::fmt::Write;

use squeeze_graph::{Graph, Node};

use crate::report::escape;
use crate::units::show_count;
use layout::{Block, Layout, Line, Way};

const BOX: [usize; 2] = [272, 58];
const GAP: [usize; 2] = [36, 30];
const LEFT: usize = 148;
const TOP: usize = 84;
const TRACK: usize = 10;
const MARGIN: usize = 16;

const STYLE: &str = "\
text{font:11px system-ui,sans-serif;fill:#475569}\
.title{font-size:17px;font-weight:600;fill:#0f172a}.name{font-size:12px;font-weight:600;fill:#0f172a}\
.block{font-size:11px;fill:#64748b}.band{fill:#f8fafc}.line{fill:none;stroke:#94a3b8;stroke-width:1.4;stroke-linejoin:round}\
.share{fill:#0f172a;opacity:.55}";

/// The network as SVG: a box for each layer with its shape, multiply-adds and parameters, its
/// share of the multiply-adds as a bar at its foot, and lines from what it reads.
pub fn svg(graph: &Graph) -> String {
    let layout = Layout::of(graph);
    let width = right_of(layout.lanes().saturating_sub(1)) + TRACK * (layout.tracks() + 2) + MARGIN;
    let width = width.max(LEFT + 2 * (BOX[0] + GAP[0]));
    let height = y_of(layout.rows()) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\
         <title>{}</title><style>{STYLE}{}</style>\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0 0L8 4L0 8z\" fill=\"#94a3b8\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        escape(graph.name()),
        colours(),
    );
    head(&mut svg, graph);
    bands(&mut svg, graph, &layout, width);
    for line in &layout.lines {
        let points = points(&layout, line);
        let way: Vec<String> = points.iter().map(|[x, y]| format!("{x},{y}")).collect();
        put(
            &mut svg,
            format_args!(
                "<polyline class=\"line\" marker-end=\"url(#tip)\" points=\"{}\"/>\n",
                way.join(" ")
            ),
        );
    }
    let most = graph.nodes().iter().map(|node| graph.cost_of(node).macs);
    let most = most.max().unwrap_or(0).max(1);
    for block in &layout.blocks {
        draw(&mut svg, graph, block, most);
    }
    svg + "</svg>\n"
}

fn put(svg: &mut String, text: std::fmt::Arguments) {
    svg.write_fmt(text).expect("a string takes it");
}

fn colours() -> String {
    let rule = |(class, fill, edge, _): &(&str, &str, &str, &str)| {
        format!(".{class}{{fill:{fill};stroke:{edge}}}")
    };
    words::KINDS.iter().map(rule).collect()
}

fn x_of(lane: usize) -> usize {
    LEFT + lane * (BOX[0] + GAP[0])
}

fn right_of(lane: usize) -> usize {
    x_of(lane) + BOX[0]
}

fn y_of(row: usize) -> usize {
    TOP + row * (BOX[1] + GAP[1])
}

/// Name, cost and what the colours stand for.
fn head(svg: &mut String, graph: &Graph) {
    let cost = graph.cost();
    put(
        svg,
        format_args!(
            "<text class=\"title\" x=\"{MARGIN}\" y=\"30\">{}</text>\
             <text x=\"{MARGIN}\" y=\"48\">{} parameters, {} multiply-adds; at the foot of a box its share of the costliest one's multiply-adds</text>\n",
            escape(graph.name()),
            show_count(cost.params),
            show_count(cost.macs),
        ),
    );
    let mut x = MARGIN;
    for (class, _, _, what) in words::KINDS {
        put(
            svg,
            format_args!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"58\" width=\"11\" height=\"11\" rx=\"2\"/><text x=\"{}\" y=\"68\">{what}</text>",
                x + 16
            ),
        );
        x += 30 + 6 * what.len();
    }
    svg.push('\n');
}

/// A name up to its first number: the block of the network that it belongs to.
fn part_of(name: &str) -> &str {
    let mut end = 0;
    for part in name.split('.') {
        end += part.len() + 1;
        if part.bytes().all(|digit| digit.is_ascii_digit()) {
            return &name[..end - 1];
        }
    }
    name.split('.').next().unwrap_or(name)
}

/// Rows of one block of the network on a shade of their own, with its name.
fn bands(svg: &mut String, graph: &Graph, layout: &Layout, width: usize) {
    let mut parts: Vec<&str> = vec![""; layout.rows()];
    for block in layout.blocks.iter().rev() {
        parts[block.row] = part_of(&graph.node(block.nodes[0]).name);
    }
    let mut row = 0;
    for (band, rows) in parts.chunk_by(|a, b| a == b).enumerate() {
        let (y, height) = (y_of(row) - GAP[1] / 2, rows.len() * (BOX[1] + GAP[1]));
        if band % 2 == 0 {
            put(
                svg,
                format_args!(
                    "<rect class=\"band\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>"
                ),
            );
        }
        let name = ending(rows[0], 21);
        put(
            svg,
            format_args!(
                "<text class=\"block\" x=\"{MARGIN}\" y=\"{}\">{}</text>\n",
                y + 30,
                escape(&name)
            ),
        );
        row += rows.len();
    }
}

/// The end of a text that may have this many characters.
fn ending(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.into();
    }
    let end: String = text.chars().skip(length + 1 - most).collect();
    format!("…{end}")
}

/// The start of a text that may have this many characters.
fn start(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    let start: String = text.chars().take(most - 1).collect();
    format!("{start}…")
}

fn draw(svg: &mut String, graph: &Graph, block: &Block, most: u64) {
    let nodes: Vec<&Node> = block.nodes.iter().map(|&id| graph.node(id)).collect();
    let (first, last) = (nodes[0], nodes[nodes.len() - 1]);
    let [x, y] = [x_of(block.lane), y_of(block.row)];
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let what: Vec<String> = nodes.iter().map(|node| words::operator(&node.op)).collect();
    let part = part_of(&first.name);
    let own = first.name[part.len()..].trim_start_matches('.');
    let own = if own.is_empty() { &first.name } else { own };
    let shape: Vec<String> = last.shape[1..].iter().map(usize::to_string).collect();
    let shape = if shape.is_empty() {
        "1".into()
    } else {
        shape.join(" x ")
    };
    let macs: u64 = nodes.iter().map(|node| graph.cost_of(node).macs).sum();
    let params: u64 = nodes.iter().map(|node| graph.cost_of(node).params).sum();
    let cost = match (macs, params) {
        (0, 0) => String::new(),
        (0, params) => format!("{} parameters", show_count(params)),
        (macs, 0) => format!("{} MAC", show_count(macs)),
        (macs, params) => format!("{} MAC, {} par.", show_count(macs), show_count(params)),
    };
    let given = block.nodes.iter().any(|id| graph.outputs().contains(id));
    let edge = if given { " stroke-width=\"2.5\"" } else { "" };
    put(
        svg,
        format_args!(
            "<g><title>{}</title><rect class=\"{}\"{edge} x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"5\"/>",
            escape(&names.join("\n")),
            words::kind(&first.op),
            BOX[0],
            BOX[1],
        ),
    );
    let share = (macs as f64 / most as f64 * (BOX[0] - 10) as f64).round();
    if share >= 1.0 {
        put(
            svg,
            format_args!(
                "<rect class=\"share\" x=\"{}\" y=\"{}\" width=\"{share}\" height=\"3\"/>",
                x + 5,
                y + BOX[1] - 5
            ),
        );
    }
    let left = x + 8;
    put(
        svg,
        format_args!(
            "<text class=\"name\" x=\"{left}\" y=\"{}\">{}</text><text x=\"{left}\" y=\"{}\">{}</text>\
             <text x=\"{left}\" y=\"{}\">{shape}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{cost}</text></g>\n",
            y + 16,
            escape(&ending(own, 34)),
            y + 31,
            escape(&start(&what.join(", "), 44)),
            y + 46,
            x + BOX[0] - 8,
            y + 46,
        ),
    );
}

/// Corners of a line. It leaves at the foot of one box, crosses to its lane or track in the gap
/// between rows, and enters at the head of the other.
fn points(layout: &Layout, line: &Line) -> Vec<[usize; 2]> {
    let (from, to) = (&layout.blocks[line.from], &layout.blocks[line.to]);
    let start = [x_of(from.lane) + BOX[0] / 2, y_of(from.row) + BOX[1]];
    let end = [x_of(to.lane) + BOX[0] / 2, y_of(to.row)];
    let between = match line.way {
        Way::Lane(lane) => x_of(lane) + BOX[0] / 2,
        Way::Track(lane, track) => right_of(lane) + TRACK * (track + 1),
    };
    let [leaves, enters] = [start[1] + GAP[1] / 3, end[1] - GAP[1] / 3];
    let mut points = vec![start];
    if between != start[0] {
        points.extend([[start[0], leaves], [between, leaves]]);
    }
    if between != end[0] {
        points.extend([[between, enters], [end[0], enters]]);
    }
    points.push(end);
    points
}

#[cfg(test)]
mod tests {
    use squeeze_graph::ops::Linear;
    use squeeze_graph::{Builder, Element, Op};

    use super::*;

    #[test]
    fn every_node_is_named_and_every_tag_closed() {
        for name in [
            "squeezenet1_1",
            "squeezebert",
            "deeplabv3_mobilenet_v3_large",
        ] {
            let graph =
                squeeze_zoo::build(name, &squeeze_zoo::Options::default()).expect("defaults fit");
            let svg = svg(&graph);
            for node in graph.nodes() {
                assert!(svg.contains(&node.name), "{name}: {}", node.name);
            }
            for tag in ["g", "text", "title", "style", "svg", "defs"] {
                let opened = svg.matches(&format!("<{tag}>")).count()
                    + svg.matches(&format!("<{tag} ")).count();
                assert_eq!(
                    opened,
                    svg.matches(&format!("</{tag}>")).count(),
                    "{name}: <{tag}>"
                );
            }
        }
    }

    #[test]
    fn hostile_names_are_text() {
        let mut b = Builder::new("<script>");
        let x = b.input("a\"b", &[1, 4], Element::Number).expect("a shape");
        let linear = Linear {
            out: 2,
            groups: 1,
            bias: true,
        };
        let x = b
            .add("c<d>&e", Op::Linear(linear), &[x])
            .expect("it takes four channels");
        let svg = svg(&b.finish(&[x]).expect("a network"));
        assert!(svg.contains("&lt;script&gt;") && svg.contains("c&lt;d&gt;&amp;e"));
        assert!(!svg.contains("<script>") && !svg.contains("c<d>"));
    }

    #[test]
    fn parts_end_at_the_first_number() {
        assert_eq!(
            part_of("encoder.layers.0.attention.query"),
            "encoder.layers.0"
        );
        assert_eq!(part_of("conv1"), "conv1");
        assert_eq!(part_of("classifier.out"), "classifier");
    }
}
