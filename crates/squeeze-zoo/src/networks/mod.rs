//! One file a family of published networks.

pub(crate) mod albert;
pub(crate) mod alexnet;
pub(crate) mod deeplab_v3;
pub(crate) mod deeplab_v3_plus;
pub(crate) mod efficientnet;
pub(crate) mod encoder;
pub(crate) mod fcn;
pub(crate) mod gpt2;
pub(crate) mod lite_transformer;
pub(crate) mod lraspp;
pub(crate) mod mnasnet;
pub(crate) mod mobilebert;
pub(crate) mod mobilenet_v1;
pub(crate) mod mobilenet_v2;
pub(crate) mod mobilenet_v3;
pub(crate) mod mobilenet_v4;
pub(crate) mod regnet;
pub(crate) mod resnet;
pub(crate) mod shufflenet_v2;
pub(crate) mod squeezenas;
pub(crate) mod squeezenet;
pub(crate) mod ssdlite;
pub(crate) mod transformer;
pub(crate) mod unet;
pub(crate) mod vgg;
pub(crate) mod xception;
