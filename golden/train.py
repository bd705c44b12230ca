"""First ten training losses of three tiny networks, and steps of optimisers, from PyTorch.

    python golden/train.py        writes golden/train_*.json beside itself

Weights and inputs are multiples of 1/1024 (exact in f32 and short in text). LAMB follows the formula
of You et al., 2020, in numpy.
"""

import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = pathlib.Path(__file__).parent
torch.set_num_threads(1)
torch.manual_seed(0)


def short(tensor):
    return [round(x, 12) for x in tensor.detach().flatten().tolist()]


def coarse(module):
    """Weights with a spread that lets every layer matter, rounded to multiples of 1/1024."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if "norm" in name:
                p.copy_(1 + 0.2 * torch.randn_like(p) if name.endswith("weight") else 0.2 * torch.randn_like(p))
            elif p.dim() > 1:
                p.copy_(torch.randn_like(p) / (p[0].numel() ** 0.5))
            else:
                p.copy_(0.1 * torch.randn_like(p))
            p.copy_((p * 1024).round() / 1024)


class Layer(nn.Module):
    def __init__(self, c, heads, ffn, groups):
        super().__init__()
        self.heads = heads
        conv = lambda i, o, g: nn.Conv1d(i, o, 1, groups=g)
        self.query, self.key, self.value = (conv(c, c, groups) for _ in range(3))
        self.output = conv(c, c, 1)
        self.norm1 = nn.LayerNorm(c, eps=1e-12)
        self.intermediate = conv(c, ffn, groups)
        self.dense = conv(ffn, c, groups)
        self.norm2 = nn.LayerNorm(c, eps=1e-12)

    def forward(self, x, mask):
        n, s, c = x.shape
        each = lambda conv, x: conv(x.transpose(1, 2)).transpose(1, 2)
        heads = lambda x: x.reshape(n, s, self.heads, -1).transpose(1, 2)
        q, k, v = (heads(each(conv, x)) for conv in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / (q.shape[-1] ** 0.5) + mask
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, s, c)
        x = self.norm1(x + each(self.output, y))
        return self.norm2(x + each(self.dense, F.gelu(each(self.intermediate, x))))


class Encoder(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.word = nn.Embedding(20, 12)
        self.position = nn.Embedding(6, 12)
        self.norm = nn.LayerNorm(12, eps=1e-12)
        self.layer = nn.ModuleList(Layer(12, 2, 24, groups) for _ in range(2))
        self.classifier = nn.Linear(12, 3)

    def forward(self, ids, lengths):
        s = ids.shape[1]
        mask = torch.where(torch.arange(s)[None] < lengths[:, None], 0.0, -1e30)[:, None, None]
        x = self.norm(self.word(ids) + self.position(torch.arange(s))[None])
        for layer in self.layer:
            x = layer(x, mask)
        return self.classifier(x[:, 0])


class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 16, 3, padding=2, dilation=2, groups=4)
        self.norm3 = nn.BatchNorm2d(16)
        self.classifier = nn.Linear(16, 3)

    def forward(self, x):
        x = F.relu6(self.norm1(self.stem(x)))
        x = F.hardswish(self.norm2(self.depthwise(x)))
        x = F.max_pool2d(x, 2)
        x = F.relu(self.norm3(self.grouped(x)))
        return self.classifier(x.mean((2, 3)))


def losses(name, model, batches, optimiser):
    weights = {n: short(p) for n, p in model.named_parameters()}
    out = []
    for step in range(10):
        *inputs, labels = batches[step % len(batches)]
        loss = F.cross_entropy(model(*inputs), labels, label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        out.append(loss.item())
    statistics = {n: short(b) for n, b in model.named_buffers() if "running" in n}
    record = {
        "weights": weights,
        "batches": [[short(x) if x.is_floating_point() else x.flatten().tolist() for x in b] for b in batches],
        "losses": out,
        "statistics": statistics,
    }
    (HERE / f"train_{name}.json").write_text(json.dumps(record) + "\n")
    print(name, out)


def texts():
    make = lambda: (torch.randint(0, 20, (4, 6)), torch.tensor([6, 3, 5, 1]), torch.randint(0, 3, (4,)))
    return [make(), make()]


for name, groups in (("encoder", 1), ("encoder_grouped", 4)):
    model = Encoder(groups)
    coarse(model)
    decayed = [p for n, p in model.named_parameters() if n.endswith("weight") and "norm" not in n]
    others = [p for n, p in model.named_parameters() if not (n.endswith("weight") and "norm" not in n)]
    groups_of = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    losses(name, model, texts(), torch.optim.AdamW(groups_of, lr=3e-3))

model = Cnn()
coarse(model)
image = lambda: ((torch.randn(4, 3, 8, 8) * 64).round() / 64, torch.randint(0, 3, (4,)))
losses("cnn", model, [image(), image()], torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True))


def lamb(weights, gradients, lr, decay, betas=(0.9, 0.999), eps=1e-6):
    out = []
    for w, gs, d in zip(weights, gradients, decay):
        w, m, v = w.astype(np.float64), 0.0, 0.0
        for t, g in enumerate(gs.astype(np.float64), 1):
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            r = m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + d * w
            w = w - lr * np.linalg.norm(w) / np.linalg.norm(r) * r
        out.append(w.tolist())
    return out


start = [(np.random.RandomState(1).randn(6) * 1024).round() / 1024, (np.random.RandomState(2).randn(3) * 1024).round() / 1024]
grads = [(np.random.RandomState(3).randn(5, 6) * 1024).round() / 1024, (np.random.RandomState(4).randn(5, 3) * 1024).round() / 1024]


def torch_steps(make, clip=None):
    ps = [nn.Parameter(torch.tensor(w, dtype=torch.float32)) for w in start]
    optimiser = make([{"params": [ps[0]], "weight_decay": 0.1}, {"params": [ps[1]], "weight_decay": 0.0}])
    for t in range(5):
        for p, g in zip(ps, grads):
            p.grad = torch.tensor(g[t], dtype=torch.float32)
        if clip:
            nn.utils.clip_grad_norm_(ps, clip)
        optimiser.step()
    return [short(p.detach()) for p in ps]


record = {
    "start": [w.tolist() for w in start],
    "gradients": [g.tolist() for g in grads],
    "sgd": torch_steps(lambda g: torch.optim.SGD(g, lr=0.1, momentum=0.9)),
    "nesterov": torch_steps(lambda g: torch.optim.SGD(g, lr=0.1, momentum=0.9, nesterov=True)),
    "adamw": torch_steps(lambda g: torch.optim.AdamW(g, lr=0.01)),
    "adamw_clipped": torch_steps(lambda g: torch.optim.AdamW(g, lr=0.01), clip=0.5),
    "lamb": lamb(start, grads, 0.01, [0.1, 0.0]),
}
(HERE / "train_optimisers.json").write_text(json.dumps(record) + "\n")
