//! Operators, shapes, costs, text form and search spaces: what a network is, without any number in it.

pub mod builder;
pub mod cost;
pub mod graph;
pub mod op;
pub mod ops;
pub mod param;
pub mod placement;
pub mod shape;
pub mod space;
pub mod text;

pub use builder::Builder;
pub use cost::Cost;
pub use graph::{Element, Graph, GraphError, Node, NodeId, RANGE};
pub use op::Op;
pub use param::{Init, Param, Role};
pub use placement::{Interval, Placement, place};
pub use shape::{Shape, ShapeError, channel_axis, elements};
pub use space::{Choice, PriceTable, Slot, Space};
