//! SIMD inner loops, forward and backward, in tables by family.
