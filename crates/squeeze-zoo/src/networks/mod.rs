//! One file a family of published networks.

pub(crate) mod alexnet;
pub(crate) mod encoder;
pub(crate) mod mobilenet_v2;
pub(crate) mod resnet;
pub(crate) mod squeezenet;
