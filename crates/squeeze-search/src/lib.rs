//! Finds the network: supernet and random search over a space, with the cost on the device in the loss.
