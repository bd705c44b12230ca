//! Forward and backward of each operator, losses, optimisers, the training loop and its checkpoints.
