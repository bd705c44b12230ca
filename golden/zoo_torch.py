"""Networks of the zoo that no Python package has, in PyTorch, with the weight names of the published files.

SqueezeNAS as ashaw596/squeezenas has it, U-Net as milesial/Pytorch-UNet, DeepLabV3+ as VainF/DeepLabV3Plus-Pytorch.
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


class Double(nn.Module):
    def __init__(self, a, b, middle=None):
        super().__init__()
        middle = middle or b
        self.double_conv = nn.Sequential(conv(a, middle, 3), nn.BatchNorm2d(middle), nn.ReLU(),
                                         conv(middle, b, 3), nn.BatchNorm2d(b), nn.ReLU())

    def forward(self, x):
        return self.double_conv(x)


class Up(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv = Double(a, b, a // 2)

    def forward(self, x, level):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.conv(torch.cat([level, x], 1))


class Down(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), Double(a, b))

    def forward(self, x):
        return self.maxpool_conv(x)


class Last(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv = nn.Conv2d(a, b, 1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    """milesial/Pytorch-UNet with bilinear resizing, in any width (there 64)."""

    def __init__(self, classes, width):
        super().__init__()
        w = width
        self.inc, self.outc = Double(3, w), Last(w, classes)
        self.down1, self.down2 = Down(w, 2 * w), Down(2 * w, 4 * w)
        self.down3, self.down4 = Down(4 * w, 8 * w), Down(8 * w, 8 * w)
        self.up1, self.up2 = Up(16 * w, 4 * w), Up(8 * w, 2 * w)
        self.up3, self.up4 = Up(4 * w, w), Up(2 * w, w)

    def forward(self, x):
        levels = [self.inc(x)]
        for down in (self.down1, self.down2, self.down3, self.down4):
            levels.append(down(levels[-1]))
        x = levels.pop()
        for up in (self.up1, self.up2, self.up3, self.up4):
            x = up(x, levels.pop())
        return self.outc(x)


class Padded(nn.Module):
    """The block of VainF/DeepLabV3Plus-Pytorch: its input is padded, not the image inside it."""

    def __init__(self, a, b, stride, dilation, expand):
        super().__init__()
        h = a * expand
        unit = lambda a, b, k, **more: nn.Sequential(nn.Conv2d(a, b, k, bias=False, **more), nn.BatchNorm2d(b), nn.ReLU6())
        first = [unit(a, h, 1)] if expand > 1 else []
        filter = unit(h, h, 3, stride=stride, dilation=dilation, groups=h)
        self.conv = nn.Sequential(*first, filter, conv(h, b), nn.BatchNorm2d(b))
        self.keeps, self.padding = stride == 1 and a == b, [dilation] * 4

    def forward(self, x):
        y = self.conv(F.pad(x, self.padding))
        return x + y if self.keeps else y


class DeepLabHead(nn.Module):
    def __init__(self, high, low, classes):
        from torchvision.models.segmentation.deeplabv3 import ASPP

        super().__init__()
        self.project = nn.Sequential(conv(low, 48), nn.BatchNorm2d(48), nn.ReLU())
        self.aspp = ASPP(high, [6, 12, 18])
        self.classifier = nn.Sequential(conv(304, 256, 3), nn.BatchNorm2d(256), nn.ReLU(), nn.Conv2d(256, classes, 1))

    def forward(self, low, high):
        low, high = self.project(low), self.aspp(high)
        high = F.interpolate(high, size=low.shape[2:], mode="bilinear", align_corners=False)
        return self.classifier(torch.cat([low, high], 1))


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        blocks = [nn.Sequential(nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU6())]
        rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
        channels, strides, dilation = 32, 2, 1
        for expand, out, repeats, stride in rows:
            before = dilation
            if strides == 16:
                dilation, stride = dilation * stride, 1
            strides *= stride
            for i in range(repeats):
                first = i == 0
                blocks.append(Padded(channels, out, stride if first else 1, before if first else dilation, expand))
                channels = out
        every = nn.Sequential(*blocks)
        self.low_level_features, self.high_level_features = every[:4], every[4:]

    def forward(self, x):
        low = self.low_level_features(x)
        return low, self.high_level_features(low)


class DeepLabPlus(nn.Module):
    """deeplabv3plus_mobilenet of VainF/DeepLabV3Plus-Pytorch with output stride 16."""

    def __init__(self, classes=21):
        super().__init__()
        self.backbone, self.classifier = Backbone(), DeepLabHead(320, 24, classes)

    def forward(self, x):
        return F.interpolate(self.classifier(*self.backbone(x)), size=x.shape[2:], mode="bilinear", align_corners=False)


def separable(a, b, d=1):
    unit = lambda *layers: nn.Sequential(*layers, nn.BatchNorm2d(layers[0].out_channels), nn.ReLU())
    return nn.Sequential(unit(conv(a, a, 3, g=a, d=d)), unit(conv(a, b)))


class DeepLabXception(nn.Module):
    """DeepLabV3+ of tensorflow/models on timm's Xception-65, output stride 16, separable convolutions in the head."""

    def __init__(self, classes=19):
        import timm
        from torchvision.models.segmentation.deeplabv3 import ASPP

        super().__init__()
        self.backbone = timm.create_model("xception65", output_stride=16)
        self.backbone.head = nn.Identity()
        self.backbone.blocks[1].stack.conv2.register_forward_hook(lambda part, inputs, out: setattr(self, "low", out.clone()))
        head = nn.Module()
        head.project = nn.Sequential(conv(256, 48), nn.BatchNorm2d(48), nn.ReLU())
        head.aspp = ASPP(2048, [6, 12, 18])
        for index, rate in enumerate([6, 12, 18]):
            head.aspp.convs[index + 1] = separable(2048, 256, rate)
        head.classifier = nn.ModuleList([separable(304, 256), separable(256, 256), nn.Identity(), nn.Conv2d(256, classes, 1)])
        self.classifier = head

    def forward(self, x):
        larger = lambda x, size: F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        high = self.classifier.aspp(self.backbone.forward_features(x))
        low = self.classifier.project(self.low)
        y = torch.cat([low, larger(high, low.shape[2:])], 1)
        for part in self.classifier.classifier:
            y = part(y)
        return larger(y, x.shape[2:])


class LightConv(nn.Module):
    """A convolution over tokens whose taps are a softmax that the channels of a head share (Wu et al., 2019); padding is zero. With
    `own`, each channel has taps of its own, as they are."""

    def __init__(self, channels, heads, kernel, own):
        super().__init__()
        self.own, self.weight = own, nn.Parameter(torch.randn(channels if own else heads, 1, kernel))

    def forward(self, x, mask):
        taps = self.weight
        if not self.own:
            taps = taps.softmax(-1).repeat_interleave(x.shape[2] // len(taps), 0)
        x = (x * mask[..., None]).transpose(1, 2)
        return F.conv1d(x, taps, padding=taps.shape[2] // 2, groups=x.shape[1]).transpose(1, 2)


class FarBranch(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, mask):
        q, k, v = (part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj))
        scores = q @ k.transpose(2, 3) / q.shape[3] ** 0.5
        shares = scores.masked_fill(~mask.bool()[:, None, None], -torch.inf).softmax(-1)
        return self.out_proj((shares @ v).transpose(1, 2).flatten(2))


class NearBranch(nn.Module):
    def __init__(self, width, heads, kernel, gated, own):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, width * (2 if gated else 1)), nn.Linear(width, width)
        self.gated, self.conv = gated, LightConv(width, heads, kernel, own)

    def forward(self, x, mask):
        x = self.linear1(x)
        return self.linear2(self.conv(F.glu(x) if self.gated else x, mask))


class LongShort(nn.Module):
    """Half of the channels through attention, half through a convolution."""

    def __init__(self, width, heads, kernel, gated, own):
        super().__init__()
        half = width // 2
        self.branches = nn.ModuleList([FarBranch(half, heads), NearBranch(half, heads, kernel, gated, own)])

    def forward(self, x, mask):
        return torch.cat([branch(part, mask) for branch, part in zip(self.branches, x.chunk(2, -1))], -1)


class LiteLayer(nn.Module):
    def __init__(self, width, kernel, gated, own):
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = LongShort(width, 4, kernel, gated, own), nn.LayerNorm(width)
        self.fc1, self.fc2, self.final_layer_norm = nn.Linear(width, width), nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x, mask):
        x = self.self_attn_layer_norm(x + self.self_attn(x, mask))
        return self.final_layer_norm(x + self.fc2(torch.relu(self.fc1(x))))


class LiteTransformer(nn.Module):
    """The encoder of Lite Transformer (Wu et al., 2020) from the paper's equations, the mean of its tokens, and a classifier."""

    def __init__(self, width, vocabulary, gated, own=False, classes=2):
        super().__init__()
        self.encoder, self.classifier = nn.Module(), nn.Linear(width, classes)
        self.encoder.embed_tokens, self.encoder.embed_positions = nn.Embedding(vocabulary, width), nn.Embedding(1024, width)
        self.encoder.layers = nn.ModuleList([LiteLayer(width, kernel, gated, own) for kernel in (3, 7, 15, 31, 31, 31)])

    def forward(self, ids, mask):
        x = self.encoder.embed_tokens(ids) * self.classifier.in_features ** 0.5
        x = x + self.encoder.embed_positions.weight[:ids.shape[1]]
        for layer in self.encoder.layers:
            x = layer(x, mask)
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.classifier(mean)
