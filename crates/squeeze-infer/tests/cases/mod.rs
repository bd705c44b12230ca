//! The table of small networks: every operator, every fusion, odd sizes.

mod images;
mod texts;

use squeeze_graph::{Builder, Graph, GraphError, NodeId};

/// Name and network of every case.
pub fn cases() -> Vec<(&'static str, Graph)> {
    let rows = images::CASES.iter().chain(texts::CASES);
    rows.map(|&(name, make)| (name, build(name, make)))
        .collect()
}

/// Adds nodes to a network and names its outputs.
pub type Make = fn(&mut Builder) -> Result<Vec<NodeId>, GraphError>;

fn build(name: &str, make: Make) -> Graph {
    let mut b = Builder::new(name);
    let outputs = make(&mut b);
    let graph = outputs.and_then(|outputs| b.finish(&outputs));
    graph.unwrap_or_else(|error| panic!("{name}: {error}"))
}
