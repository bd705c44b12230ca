"""Makes the tables of vector/pieces.rs: polynomials around 32 places of what GELU and SiLU take from a number below zero.

`python pieces.py` needs numpy and scipy. The error of each polynomial, times its argument, is the least in the maximum, by Lawson's
algorithm (1961); the last place is zero.
"""

import numpy as np
from scipy.special import erfc, expit

PIECES = 32


def gelu(a):
    return erfc(a / np.sqrt(2)) / 2


def silu(a):
    return expit(-a)


def minimax(f, center, width, degree):
    low, high = max(center - width / 2, 0), center + width / 2
    a = (low + high) / 2 - (high - low) / 2 * np.cos(np.linspace(0, np.pi, 400))
    powers = (a - center)[:, None] ** np.arange(degree + 1)
    weights = np.ones_like(a)
    for _ in range(200):
        scale = np.sqrt(weights) * np.maximum(a, width / 8)
        sums = np.linalg.lstsq(scale[:, None] * powers, scale * f(a), rcond=None)[0]
        error = np.abs((powers @ sums - f(a)) * np.maximum(a, width / 8))
        weights *= error / error.max()
        weights /= weights.sum()
    return sums


def table(f, width, degree):
    rows = [minimax(f, place * width, width, degree) for place in range(PIECES - 1)]
    return np.array(rows + [np.zeros(degree + 1)]).T.astype(np.float32)


def largest_error(f, width, parts):
    """Of `a` times a value, in single precision with sums that round once."""
    a = np.linspace(0, 40, 4_000_001).astype(np.float32)
    a = np.minimum(a, np.float32(width * (PIECES - 1)))
    place = np.rint(a * np.float32(1 / width)).astype(int)
    near = (a - place * np.float64(width)).astype(np.float32)
    value = parts[-1][place]
    for part in parts[-2::-1]:
        value = (value.astype(np.float64) * near + part[place]).astype(np.float32)
    error = np.abs(value.astype(np.float64) * a - f(a.astype(np.float64)) * a)
    return error.max()


def main():
    rows = [
        ("GELU", gelu, 0.1875, 4, "Of the standard normal distribution the probability beyond a number"),
        ("SILU", silu, 0.65625, 5, "The logistic function of numbers below zero"),
    ]
    for name, f, width, degree, what in rows:
        parts = table(f, width, degree)
        error = largest_error(f, width, parts)
        print(f"\n/// {what}; times the number it is off by at most {error:.2e}.")
        print(f"pub(crate) static {name}: Pieces<{degree + 1}> = Pieces {{")
        print(f"    width: {width},")
        print("    parts: [")
        for part in parts:
            print("        [")
            for number in part:
                print(f"            {float(str(number))!r},")
            print("        ],")
        print("    ],\n};")


main()
