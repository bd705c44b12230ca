//! Rewrites of a network: (graph, weights) to (graph, weights).
