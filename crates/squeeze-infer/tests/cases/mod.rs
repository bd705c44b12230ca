//! The table of small networks: every operator, every fusion, odd sizes.

mod bytes;
mod images;
mod patches;
mod spaces;
mod texts;

use squeeze_graph::{Builder, Graph, GraphError, NodeId};

/// The network of every case, named after what is special about it.
pub fn cases() -> Vec<Graph> {
    let rows = images::CASES.iter().chain(bytes::CASES);
    let rows = rows.chain(texts::CASES).chain(patches::CASES);
    let small = rows.map(|&(name, make)| build(name, make));
    small.chain(spaces::networks()).collect()
}

/// The case of this name.
#[allow(dead_code, reason = "not every test asks for one by its name")]
pub fn case(name: &str) -> Graph {
    let mut cases = cases().into_iter();
    let case = cases.find(|graph| graph.name() == name);
    case.unwrap_or_else(|| panic!("{name} is no case"))
}

/// Adds nodes to a network and names its outputs.
pub type Make = fn(&mut Builder) -> Result<Vec<NodeId>, GraphError>;

fn build(name: &str, make: Make) -> Graph {
    let mut b = Builder::new(name);
    let outputs = make(&mut b);
    let graph = outputs.and_then(|outputs| b.finish(&outputs));
    graph.unwrap_or_else(|error| panic!("{name}: {error}"))
}
