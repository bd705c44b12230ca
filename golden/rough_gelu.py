"""Makes the table of `rough_gelu` (vector/math.rs): cubics of `|x|` around eight places of GELU less half of a line, the last a line.

`python rough_gelu.py` needs numpy and scipy. The largest error of each polynomial is the least, by Lawson's algorithm (1961).
"""

import numpy as np
from scipy.special import erf

PIECES = 8
PLACES = 1.55
DEGREE = 3


def even(a):
    return a * erf(a / np.sqrt(2)) / 2


def minimax(low, high):
    a = np.linspace(low, high, 2001)
    powers = a[:, None] ** np.arange(DEGREE + 1)
    weights = np.ones_like(a)
    for _ in range(400):
        scale = np.sqrt(weights)
        sums = np.linalg.lstsq(scale[:, None] * powers, scale * even(a), rcond=None)[0]
        weights *= np.abs(powers @ sums - even(a)) + 1e-12
        weights /= weights.sum()
    return sums


def main():
    rows = [minimax(max(p - 0.5, 0) / PLACES, (p + 0.5) / PLACES) for p in range(PIECES - 1)]
    table = np.array(rows + [[0, 0.5, 0, 0]]).T
    parts = table.astype(np.float32)
    x = np.linspace(-8, 8, 1_000_001).astype(np.float32)
    size = np.abs(x)
    place = np.minimum(np.rint(size * np.float32(PLACES)), PIECES - 1).astype(int)
    value = parts[DEGREE][place]
    for part in parts[-2::-1]:
        value = value * size + part[place]
    error = np.abs(value - even(size.astype(np.float64))).max()
    print(f"// off by at most {error:.2e}")
    for part in table:
        print("[" + ", ".join(f"{float(f'{number:.7g}')!r}" for number in part) + "],")


main()
