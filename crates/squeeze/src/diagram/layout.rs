//! Where the boxes of a picture lie, and how the lines between them run.
//!
//! A box is a layer with the cheap ones that follow it alone (norm, activation, dropout). Boxes lie
//! in rows: each one row below the lowest of its inputs; side by side in lanes. A line that would
//! cross a box runs beside all boxes, in a track that all lines of one source share.

use squeeze_graph::{Graph, NodeId, Op};

/// A layer and what was drawn into it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Its nodes in running order.
    pub nodes: Vec<NodeId>,
    /// The boxes that its first node reads, each once.
    pub inputs: Vec<usize>,
    /// Rows from the top.
    pub row: usize,
    /// Lanes from the left.
    pub lane: usize,
}

/// A line between two boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Box it comes from.
    pub from: usize,
    /// Box it goes to.
    pub to: usize,
    /// How it gets there.
    pub way: Way,
}

/// The way of a line past the rows between its boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Down in this lane, which is empty there.
    Lane(usize),
    /// Beside the boxes: right of this lane, in this track.
    Track(usize, usize),
}

/// Boxes and lines of a picture.
pub(super) struct Layout {
    pub blocks: Vec<Block>,
    pub lines: Vec<Line>,
}

impl Layout {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut blocks = blocks(graph);
        place(&mut blocks);
        let lines = lines(&blocks);
        Self { blocks, lines }
    }

    pub(super) fn rows(&self) -> usize {
        self.blocks.iter().map(|b| b.row + 1).max().unwrap_or(0)
    }

    pub(super) fn lanes(&self) -> usize {
        self.blocks.iter().map(|b| b.lane + 1).max().unwrap_or(0)
    }

    pub(super) fn tracks(&self) -> usize {
        let tracks = self.lines.iter().map(|line| match line.way {
            Way::Lane(_) => 0,
            Way::Track(_, track) => track + 1,
        });
        tracks.max().unwrap_or(0)
    }
}

/// Whether the operator is drawn into the box of the layer before it.
fn follows(op: &Op) -> bool {
    match op {
        Op::Activation(_) | Op::BatchNorm(_) | Op::LayerNorm(_) | Op::NoNorm(_) => true,
        Op::Dropout(_) | Op::Softmax(_) | Op::Reshape(_) | Op::Transpose(_) => true,
        Op::Scale(_) => true,
        Op::Input(_) | Op::Conv2d(_) | Op::Conv1d(_) | Op::Linear(_) | Op::Pool(_) => false,
        Op::GlobalAverage(_) | Op::TokenMax(_) | Op::TokenMean(_) => false,
        Op::Add(_) | Op::Mul(_) | Op::Concat(_) | Op::Attention(_) => false,
        Op::Embedding(_) | Op::Position(_) | Op::ClassToken(_) => false,
        Op::ChannelShuffle(_) | Op::Slice(_) | Op::Select(_) => false,
        Op::Resize(_) | Op::Slot(_) => false,
    }
}

fn blocks(graph: &Graph) -> Vec<Block> {
    let uses = graph.uses();
    let mut home = vec![0; graph.nodes().len()];
    let mut blocks: Vec<Block> = vec![];
    for id in graph.ids() {
        let node = graph.node(id);
        if let [before] = node.inputs[..]
            && follows(&node.op)
            && uses[before.0] == 1
            && !matches!(graph.node(before).op, Op::Input(_))
        {
            home[id.0] = home[before.0];
            blocks[home[id.0]].nodes.push(id);
            continue;
        }
        home[id.0] = blocks.len();
        let mut inputs: Vec<usize> = vec![];
        for input in &node.inputs {
            let from = home[input.0];
            if !inputs.contains(&from) {
                inputs.push(from);
            }
        }
        blocks.push(Block {
            nodes: vec![id],
            inputs,
            row: 0,
            lane: 0,
        });
    }
    blocks
}

/// Rows by depth; lanes so that a box lies under the leftmost of its inputs if that place is free.
fn place(blocks: &mut [Block]) {
    let mut taken: Vec<Vec<usize>> = vec![];
    for at in 0..blocks.len() {
        let inputs = &blocks[at].inputs;
        let row = inputs.iter().map(|&from| blocks[from].row + 1).max();
        let row = row.unwrap_or(0);
        let wish = inputs.iter().map(|&from| blocks[from].lane).min();
        let wish = wish.unwrap_or(0);
        if taken.len() <= row {
            taken.resize(row + 1, vec![]);
        }
        let lane = (wish..).find(|lane| !taken[row].contains(lane));
        let lane = lane.expect("there is always one further right");
        taken[row].push(lane);
        (blocks[at].row, blocks[at].lane) = (row, lane);
    }
}

fn lines(blocks: &[Block]) -> Vec<Line> {
    let empty = |lane: usize, above: usize, below: usize| {
        let between = |block: &&Block| block.row > above && block.row < below;
        !blocks
            .iter()
            .filter(between)
            .any(|block| block.lane == lane)
    };
    let mut tracks: Vec<Track> = vec![];
    let mut lines = vec![];
    for (to, block) in blocks.iter().enumerate() {
        for &from in &block.inputs {
            let (above, below) = (blocks[from].row, block.row);
            let own = [block.lane, blocks[from].lane];
            let lane = own.into_iter().find(|&lane| empty(lane, above, below));
            let way = match lane {
                Some(lane) => Way::Lane(lane),
                None => track(&mut tracks, blocks, [from, to]),
            };
            lines.push(Line { from, to, way });
        }
    }
    lines
}

/// A track in use.
struct Track {
    from: usize,
    lane: usize,
    number: usize,
    rows: [usize; 2],
}

/// The track of a line: that of its source if there is one, else the innermost that is free.
fn track(tracks: &mut Vec<Track>, blocks: &[Block], [from, to]: [usize; 2]) -> Way {
    let reads = blocks.iter().filter(|block| block.inputs.contains(&from));
    let last = reads.map(|block| block.row).max();
    let rows = [blocks[from].row, last.unwrap_or(blocks[to].row)];
    if let Some(track) = tracks.iter().find(|track| track.from == from) {
        return Way::Track(track.lane, track.number);
    }
    let beside = blocks
        .iter()
        .filter(|block| block.row >= rows[0] && block.row <= rows[1]);
    let lane = beside.map(|block| block.lane).max().unwrap_or(0);
    let free = |number: &usize| {
        let meets = |track: &&Track| track.rows[0] < rows[1] && rows[0] < track.rows[1];
        !tracks
            .iter()
            .filter(meets)
            .any(|track| track.number == *number)
    };
    let number = (0..).find(free).expect("there is always one further out");
    tracks.push(Track {
        from,
        lane,
        number,
        rows,
    });
    Way::Track(lane, number)
}

#[cfg(test)]
mod tests {
    use squeeze_zoo::{Options, build};

    use super::*;

    fn check(name: &str) {
        let graph = build(name, &Options::default()).expect("defaults fit");
        let layout = Layout::of(&graph);
        let drawn: usize = layout.blocks.iter().map(|block| block.nodes.len()).sum();
        assert_eq!(
            drawn,
            graph.nodes().len(),
            "{name}: every node is drawn once"
        );
        for (at, block) in layout.blocks.iter().enumerate() {
            let place = (block.row, block.lane);
            let mut others = layout.blocks[..at].iter();
            assert!(
                !others.any(|other| (other.row, other.lane) == place),
                "{name}: two boxes at {place:?}"
            );
        }
        for line in &layout.lines {
            let (from, to) = (&layout.blocks[line.from], &layout.blocks[line.to]);
            assert!(from.row < to.row, "{name}: {line:?} runs down");
            let between = |block: &&Block| block.row > from.row && block.row < to.row;
            let mut passed = layout.blocks.iter().filter(between);
            match line.way {
                Way::Lane(lane) => {
                    assert!(passed.all(|block| block.lane != lane), "{name}: {line:?}")
                }
                Way::Track(lane, _) => {
                    assert!(passed.all(|block| block.lane <= lane), "{name}: {line:?}")
                }
            }
        }
    }

    #[test]
    fn no_line_crosses_a_box_in_any_network() {
        for entry in squeeze_zoo::list() {
            check(entry.name);
        }
    }

    #[test]
    fn a_fire_module_lies_side_by_side() {
        let graph = build("squeezenet1_1", &Options::default()).expect("defaults fit");
        let layout = Layout::of(&graph);
        let at = |name: &str| {
            let id = graph.find(name).expect("it has this node");
            let block = layout.blocks.iter().find(|block| block.nodes.contains(&id));
            block
                .map(|block| (block.row, block.lane))
                .expect("it is drawn")
        };
        let (row, lane) = at("features.3.squeeze");
        assert_eq!(at("features.3.squeeze_activation"), (row, lane));
        assert_eq!(at("features.3.expand1x1"), (row + 1, lane));
        assert_eq!(at("features.3.expand3x3"), (row + 1, lane + 1));
        assert_eq!(at("features.3.concat"), (row + 2, lane));
        assert_eq!(layout.tracks(), 0);
    }
}
