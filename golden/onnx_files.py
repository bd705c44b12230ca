"""Writes the small ONNX files, each with its inputs and PyTorch's answer, that the import is held against.

onnx_squeezebert  as torch.onnx.export writes it (GELU, LayerNormalization, Conv over [n, c, s])
onnx_bert         with a real mask, through the older exporter (GELU and attention written out)
onnx_image        a network of convolutions with a gate, a Fire-like concatenation and batch norms
onnx_mobilebert   neighbouring tokens side by side, bottlenecks, scales without a norm
onnx_segment      a head with a gate at low resolution, made larger twice
onnx_gpt2         a causal mask, layers over the tokens of all texts as one matrix
onnx_marian       two texts of different lengths, the first one padded
onnx_vit          a class token before patches, query, key and value in one layer (torchvision)
onnx_deit         two class tokens, two heads, through the older exporter (transformers)
"""
import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"
import onnx
import torch
import torchvision
import transformers
from torch import nn

torch.manual_seed(0)
SMALL = dict(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
             max_position_embeddings=12, num_labels=3, attn_implementation="eager")


class Logits(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.m(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.filter = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.narrow, self.wide = nn.Conv2d(8, 6, 1, groups=2), nn.Conv2d(8, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = nn.functional.relu6(self.norm(self.stem(x)))
        x = x + nn.functional.hardswish(self.filter(x))
        gate = torch.sigmoid(self.up(torch.relu(self.down(nn.functional.adaptive_avg_pool2d(x, 1)))))
        x = self.pool(x * gate)
        x = torch.cat([torch.relu(self.narrow(x)), nn.functional.silu(self.wide(x))], 1)
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


class Segment(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Conv2d(6, 10, 3, stride=2, padding=1)
        self.branch, self.gate = nn.Conv2d(10, 4, 1), nn.Conv2d(10, 4, 1, bias=False)
        self.classify = nn.ModuleList([nn.Conv2d(6, 3, 1), nn.Conv2d(4, 3, 1)])

    def forward(self, x):
        larger = lambda y, size: nn.functional.interpolate(y, size=size, mode="bilinear", align_corners=False)
        low = torch.relu(self.low(x))
        high = torch.relu(self.high(low))
        gate = torch.sigmoid(self.gate(nn.functional.adaptive_avg_pool2d(high, 1)))
        y = larger(torch.relu(self.branch(high)) * gate, low.shape[-2:])
        return larger(self.classify[0](low) + self.classify[1](y), x.shape[-2:])


def randomize(m):
    with torch.no_grad():
        for p in m.parameters():
            p.add_(torch.randn_like(p) * 0.2)
        for b in m.modules():
            if isinstance(b, nn.BatchNorm2d):
                b.running_mean.normal_()
                b.running_var.uniform_(0.5, 2.0)
    return m.eval()


def write(name, m, args, names, **options):
    m = randomize(m)
    with torch.no_grad():
        answer = m(*args)
        torch.onnx.export(m, args, name + ".onnx", input_names=names, output_names=["out"], **options)
    model = onnx.load(name + ".onnx")
    for part in [*model.graph.node, *model.graph.value_info, model.graph, model]:  # stack traces, four fifths of the file
        del part.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    onnx.save(model, name + ".onnx")
    facts = {n: a.flatten().tolist() for n, a in zip(names, args)}
    json.dump({**facts, "out": [round(v, 7) for v in answer.flatten().tolist()]}, open(name + ".json", "w"))
    print(name, os.path.getsize(name + ".onnx"))


def text(length, seen):
    ids = torch.randint(0, 40, (1, length))
    mask = (torch.arange(length) < seen).long()[None]
    types = (torch.arange(length) > 3).long()[None]
    return ids, mask, types


TEXT = ["input_ids", "attention_mask", "token_type_ids"]
config = transformers.SqueezeBertConfig(embedding_size=16, **SMALL)
write("onnx_squeezebert", Logits(transformers.SqueezeBertForSequenceClassification(config)), text(8, 8), TEXT,
      dynamo=True, external_data=False)
config = transformers.BertConfig(**SMALL)
write("onnx_bert", Logits(transformers.BertForSequenceClassification(config)), text(8, 5), TEXT,
      dynamo=False, opset_version=17)
torch.manual_seed(1)
write("onnx_image", Image(), (torch.randn(1, 3, 12, 12).mul(100).round().div(100),), ["x"], dynamo=True, external_data=False, optimize=False)
torch.manual_seed(2)
config = transformers.MobileBertConfig(**{**SMALL, "num_hidden_layers": 1}, embedding_size=8, intra_bottleneck_size=8, num_feedforward_networks=2)
write("onnx_mobilebert", Logits(transformers.MobileBertForSequenceClassification(config)), text(8, 8), TEXT,
      dynamo=True, external_data=False)
torch.manual_seed(3)
write("onnx_segment", Segment(), (torch.randn(1, 3, 11, 14).mul(100).round().div(100),), ["x"], dynamo=True, external_data=False)


class Language(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, input_ids, attention_mask):
        return self.m(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits


class Translation(Language):
    def forward(self, input_ids, attention_mask, decoder_input_ids):
        return self.m(input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids, use_cache=False).logits


torch.manual_seed(4)
config = transformers.GPT2Config(vocab_size=40, n_positions=12, n_embd=16, n_layer=1, n_head=2)
write("onnx_gpt2", Language(transformers.GPT2LMHeadModel(config)), text(8, 8)[:2], TEXT[:2], dynamo=True, external_data=False)
torch.manual_seed(5)
sides = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in [("layers", 1), ("attention_heads", 2), ("ffn_dim", 24)]}
config = transformers.MarianConfig(vocab_size=40, d_model=16, max_position_embeddings=12, scale_embedding=True, activation_function="swish",
                                   pad_token_id=39, decoder_start_token_id=39, **sides)
write("onnx_marian", Translation(transformers.MarianMTModel(config)), (*text(8, 5)[:2], torch.randint(0, 39, (1, 6))),
      [*TEXT[:2], "decoder_input_ids"], dynamo=True, external_data=False)


class Scores(nn.Module):
    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self, x):
        return self.m(pixel_values=x).logits


torch.manual_seed(6)
patches = (torch.randn(1, 3, 12, 12).mul(100).round().div(100),)
write("onnx_vit", torchvision.models.VisionTransformer(12, 4, 2, 2, 16, 32, num_classes=3), patches, ["x"], dynamo=True, external_data=False)
torch.manual_seed(7)
config = transformers.DeiTConfig(image_size=12, patch_size=4, **{**SMALL, "num_hidden_layers": 1})
write("onnx_deit", Scores(transformers.DeiTForImageClassificationWithTeacher(config)), patches, ["x"], dynamo=False, opset_version=17)
