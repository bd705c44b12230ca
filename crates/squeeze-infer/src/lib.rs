//! Compiles a network for this machine to a plan that runs without allocating.
