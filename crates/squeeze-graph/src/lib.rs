//! Operators, shapes, costs, text form and search spaces: what a network is, without any number in it.
