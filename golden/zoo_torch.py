"""Networks of the zoo that no Python package has, in PyTorch, with the weight names of the published files.

SqueezeNAS as ashaw596/squeezenas has it: `squeezenas(name)` for the six networks.
"""
import torch
from torch import nn
from torch.nn import functional as F

# What the search chose for each block: window, expansion, groups, dilation; `-` for nothing.
PICKS = {
    "mac_small": "3121 3111 3111 3121 5611 3111 3111 3122 5611 3612 - 3121 5611 3312 3112 3112 3612 3122 3122 3122",
    "mac_large": "3121 3611 3122 3121 3121 5611 5611 3612 5611 5611 5611 5111 3311 5611 3111 5111 3312 3612 3122 3122 3122 3112",
    "mac_xlarge": "3121 3311 3121 5111 3312 5611 5121 3122 3311 5611 3311 - 3122 5611 3111 5611 - 3612 3122 3122 3122 3312",
    "lat_small": "3111 - - - 3611 3611 - - 5611 3612 5121 3121 3612 3612 3612 3112 3612 3312 3312 3312",
    "lat_large": "- 3611 3311 3112 3311 5611 3611 3311 3612 5611 5111 5111 5121 3612 3612 3612 3111 3612 3612 3612 3612 3612",
    "lat_xlarge": "- 3311 3311 3311 3112 3611 3311 5611 5121 5611 3611 3122 3611 5611 3312 3122 3311 3612 3312 5111 3312 3612",
}
# First convolution, stages (channels, repeats, stride of the first), block that the decoder sees, channels inside it.
SKELETONS = {
    "small": (16, [(16, 4, 2), (24, 4, 2), (40, 4, 2), (48, 4, 1), (96, 4, 1)], 7, 128),
    "large": (16, [(16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (96, 4, 1), (160, 4, 1), (160, 1, 1)], 8, 128),
    "xlarge": (48, [(24, 1, 1), (32, 4, 2), (48, 4, 2), (96, 4, 2), (144, 4, 1), (240, 4, 1), (320, 1, 1)], 4, 160),
}


def conv(a, b, k=1, s=1, g=1, d=1):
    return nn.Conv2d(a, b, k, s, padding=k // 2 * d, groups=g, dilation=d, bias=False)


class Zero(nn.Module):
    def forward(self, x):
        return torch.zeros_like(x)


class Change(nn.Module):
    """What stands for nothing where the channels change."""

    def __init__(self, a, b):
        super().__init__()
        self.op = nn.Sequential(nn.ReLU(), conv(a, b), nn.BatchNorm2d(b))

    def forward(self, x):
        return self.op(x)


class Block(nn.Module):
    def __init__(self, pick, a, b, stride):
        super().__init__()
        self.keeps = stride == 1 and a == b
        if pick == "-":
            assert stride == 1
            self.op = Zero() if self.keeps else Change(a, b)
            return
        kernel, expand, groups, dilation = map(int, pick)
        h = a * expand
        self.op = nn.Sequential(conv(a, h, g=groups), nn.BatchNorm2d(h), nn.ReLU(),
                                conv(h, h, kernel, stride, h, dilation), nn.BatchNorm2d(h), nn.ReLU(),
                                conv(h, b, g=groups), nn.BatchNorm2d(b))

    def forward(self, x):
        return x + self.op(x) if self.keeps else self.op(x)


class Unit(nn.Module):
    def __init__(self, a, b, k=1, g=1, d=1):
        super().__init__()
        self.conv, self.bn = conv(a, b, k, g=g, d=d), nn.BatchNorm2d(b)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class LrAspp(nn.Module):
    def __init__(self, high, low, inner, classes):
        super().__init__()
        self._1x1_TL, self._1x1_BL = Unit(high, inner), nn.Conv2d(high, inner, 1)
        self._1x1_TR, self._1x1_BR = nn.Conv2d(inner, classes, 1), nn.Conv2d(low, classes, 1)

    def forward(self, high, low):
        x = self._1x1_TL(high)
        gate = torch.sigmoid(self._1x1_BL(F.avg_pool2d(high, 49, (16, 20), count_include_pad=False)))
        x = x * F.interpolate(gate, size=x.shape[2:], mode="bilinear", align_corners=False)
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self._1x1_TR(x) + self._1x1_BR(low)


class Aspp(nn.Module):
    def __init__(self, high, inner):
        super().__init__()
        self._1x1_1_conv = Unit(high, inner)
        self._3x3_1_conv, self._3x3_2_conv, self._3x3_3_conv = (Unit(high, inner, 3, inner, d) for d in (6, 12, 18))
        self._1x1_2_conv = Unit(4 * inner + high, inner)

    def forward(self, x):
        mean = x.mean((2, 3), keepdim=True).expand_as(x)
        parts = [self._1x1_1_conv(x), self._3x3_1_conv(x), self._3x3_2_conv(x), self._3x3_3_conv(x), mean]
        return self._1x1_2_conv(torch.cat(parts, 1))


class Encoder(nn.Module):
    def __init__(self, stem, stages, picks, last):
        super().__init__()
        self.conv1 = nn.Sequential(conv(3, stem, 3, 2), nn.BatchNorm2d(stem), nn.ReLU())
        self.residuals, self.channels = nn.ModuleList(), [stem]
        strides = [(c, s if i == 0 else 1) for c, n, s in stages for i in range(n)]
        assert len(strides) == len(picks)
        for (c, s), pick in zip(strides, picks):
            self.residuals.append(Block(pick, self.channels[-1], c, s))
            self.channels.append(c)
        if last:
            self.last_conv = nn.Sequential(conv(self.channels[-1], last), nn.BatchNorm2d(last), nn.ReLU())

    def forward(self, x, at):
        x = self.conv1(x)
        for index, block in enumerate(self.residuals):
            x = block(x)
            low = x if index == at else low if index > at else None
        return (self.last_conv(x) if hasattr(self, "last_conv") else x), low


class SqueezeNas(nn.Module):
    def __init__(self, picks, size, classes=19):
        super().__init__()
        stem, stages, self.skip, inner = SKELETONS[size]
        last = 256 if size == "small" else None
        self.encoder = Encoder(stem, stages, picks, last)
        high, low = last or self.encoder.channels[-1], self.encoder.channels[self.skip + 1]
        self.large = size == "xlarge"
        if not self.large:
            self.decoder = LrAspp(high, low, inner, classes)
            return
        both = inner + low
        self.decoder, self.lowlevel1x1 = Aspp(high, inner), nn.Conv2d(low, low, 1)
        self.logits2, self.logits3 = Unit(both, both, 3, both), nn.Conv2d(both, classes, 1)

    def forward(self, x):
        larger = lambda x, times: F.interpolate(x, scale_factor=times, mode="bilinear", align_corners=True)
        high, low = self.encoder(x, self.skip)
        if not self.large:
            return larger(self.decoder(high, low), 8)
        x = torch.cat([larger(self.decoder(high), 4), self.lowlevel1x1(low)], 1)
        return larger(self.logits3(self.logits2(x)), 4)


def squeezenas(name):
    """`lat_small` and so on."""
    return SqueezeNas(PICKS[name].split(), name.split("_")[1])
