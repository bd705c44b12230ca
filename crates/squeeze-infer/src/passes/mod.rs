//! The passes of the compiler, one file a pass, in the order of `compile.rs`.

mod bands;
mod bytes;
mod embed;
mod fuse;
mod heads;
mod in_place;
mod join;
mod merge;
mod needed_rows;
mod pools;
mod settle;
mod shuffle;

pub(crate) use bands::bands;
pub(crate) use bytes::bytes;
pub(crate) use embed::embed;
pub(crate) use fuse::fuse;
pub(crate) use heads::heads;
pub(crate) use in_place::in_place;
pub(crate) use join::join;
pub(crate) use merge::merge;
pub(crate) use needed_rows::needed_rows;
pub(crate) use pools::pools;
pub(crate) use settle::settle;
pub(crate) use shuffle::shuffle;
