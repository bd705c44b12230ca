"""PyTorch's side of `cargo bench -p squeeze-train`: one training step of the same encoder.

    OMP_NUM_THREADS=2 python golden/train_step.py [threads] [steps]
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

THREADS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 12
torch.set_num_threads(THREADS)
torch.manual_seed(0)
BATCH, TOKENS, C = 32, 64, 256


class Grouped(nn.Conv1d):
    """Position-wise with groups, on [n, s, c]."""

    def __init__(self, i, o, groups):
        super().__init__(i, o, 1, groups=groups)

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def linear(i, o, groups):
    return nn.Linear(i, o) if groups == 1 else Grouped(i, o, groups)


class Layer(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.query, self.key, self.value = (linear(C, C, groups) for _ in range(3))
        self.post = nn.Linear(C, C)
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.ffn1, self.ffn2 = linear(C, 4 * C, groups), linear(4 * C, C, groups)

    def forward(self, x):
        n, s, c = x.shape
        q, k, v = (f(x).reshape(n, s, 4, c // 4).transpose(1, 2) for f in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, s, c)
        x = self.norm1(x + self.post(y))
        return self.norm2(x + self.ffn2(F.gelu(self.ffn1(x))))


class Encoder(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.word, self.position = nn.Embedding(8000, C), nn.Embedding(TOKENS, C)
        self.norm = nn.LayerNorm(C)
        self.layers = nn.Sequential(*(Layer(groups) for _ in range(4)))
        self.classifier = nn.Linear(C, 10)

    def forward(self, ids):
        x = self.norm(self.word(ids) + self.position(torch.arange(TOKENS))[None])
        return self.classifier(self.layers(x)[:, 0])


ids = torch.randint(0, 8000, (BATCH, TOKENS))
labels = torch.arange(BATCH) % 10
models = {"dense": Encoder(1), "groups of 4": Encoder(4)}
optimisers = {name: torch.optim.AdamW(model.parameters(), lr=1e-3) for name, model in models.items()}
times = {name: [] for name in models}
for step in range(STEPS + 2):
    for name, model in models.items():
        start = time.perf_counter()
        loss = F.cross_entropy(model(ids), labels)
        optimisers[name].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimisers[name].step()
        if step >= 2:
            times[name].append((time.perf_counter() - start) * 1e3)
for name, t in times.items():
    t.sort()
    low, middle, high = (t[(len(t) - 1) * q // 4] for q in (1, 2, 3))
    print(f"{name:12} {middle:6.1f} ms a step, median of {len(t)}, quartiles {low:.1f}-{high:.1f}; {THREADS} threads")
