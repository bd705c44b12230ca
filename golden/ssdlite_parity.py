"""SSDLite320 on MobileNetV3-large against torchvision: raw outputs, and the objects that are made of them on photos.

    python golden/ssdlite_parity.py target/release/squeeze ../shared/data [--images 100]
    python golden/ssdlite_parity.py --golden

needs torch, torchvision, safetensors and Pillow; the first, a folder with imagenet-samples-256px.tar. No weights that were trained to detect are
at hand, so they are random (the norms as in `zoo_parity.py`), the last layers' made larger, so that scores and boxes differ. Three comparisons:

- the raw outputs on each photo, which must differ by less than 1e-4 of the largest;
- on photos of 320 x 320 the objects that `squeeze run` finds with those that torchvision's `postprocess_detections` makes of the raw outputs
  of `squeeze worker`, which are the same numbers: classes and their order must be the same (scores that are closer than the last bits of a
  softmax may change places), scores within 1e-5, boxes within 0.01 pixels;
- on photos as they are, all of Squeeze with all of torchvision, resizing included: each object of one side must be one of the other, scores
  within 1e-3 and boxes within 0.5 pixels, on 99 % of them.

The second writes detection.json, a few numbers of torchvision's classes for the tests of squeeze-data.
"""
import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

LIMIT = 1e-4
# Scores this close are in any order: sides add the powers of a softmax in different orders.
EQUAL = 5e-7
NAME = "ssdlite320_mobilenet_v3_large"


def detector(**more):
    return getattr(torchvision.models.detection, NAME)(weights=None, weights_backbone=None, **more).eval()


def default_boxes(network, size):
    """torchvision's default boxes of an image of a height and a width."""
    grids = [[-(-side // stride) for side in size] for stride in (16, 32, 64, 128, 256, 512)]
    maps = [torch.zeros(1, 1, *grid) for grid in grids]
    images = torchvision.models.detection.image_list.ImageList(torch.zeros(1, 3, *size), [tuple(size)])
    return network.anchor_generator(images, maps)[0]


def objects(network, scores, offsets, size):
    """What torchvision makes of raw outputs of one image."""
    raw = {"cls_logits": scores[None], "bbox_regression": offsets[None]}
    return network.postprocess_detections(raw, [default_boxes(network, size)], [tuple(size)])[0]


def golden():
    network = detector(num_classes=5)
    rows = []
    for size, every in (([320, 320], 37), ([96, 160], 11)):
        boxes = default_boxes(network, size)
        rows.append({"size": size, "count": len(boxes), "every": every, "boxes": single(boxes[::every])})
    images = []
    torch.manual_seed(0)
    for size, candidates, most in (([32, 64], 300, 300), ([48, 96], 30, 25)):
        count = len(default_boxes(network, size))
        scores, offsets = (3 * torch.randn(count, 5)).round(decimals=2), (4 * torch.randn(count, 4)).round(decimals=2)
        network.topk_candidates, network.detections_per_img = candidates, most
        found = objects(network, scores, offsets, size)
        images.append({"size": size, "candidates": candidates, "most": most, "scores": short(scores), "offsets": short(offsets),
                       "classes": found["labels"].tolist(), "found": single(found["scores"]), "boxes": single(found["boxes"])})
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "detection.json")
    with open(path, "w") as to:
        json.dump({"default_boxes": rows, "images": images}, to, separators=(",", ":"))
        to.write("\n")
    print("%s: %d bytes, %s objects" % (path, os.path.getsize(path), [len(image["found"]) for image in images]))


def single(values):
    """Numbers of single precision in as many digits as they have."""
    return [single(value) for value in values] if values.ndim else float(str(values.numpy()))


def short(values):
    return [round(value, 2) for value in values.flatten().tolist()]


def random_weights(network):
    """Norms that are not what they start as; scores and offsets that differ from box to box."""
    import zoo_parity

    torch.manual_seed(0)
    zoo_parity.randomize(zoo_parity.Heads(network), [320, 320])
    with torch.no_grad():
        for head, spread in ((network.head.classification_head, 3.0), (network.head.regression_head, 1.5)):
            for part in head.module_list:
                part[1].weight *= spread / (0.03 * part[1].in_channels ** 0.5)
                part[1].bias.normal_(0, 0.5)
    return network.eval()


def photos(archive, count):
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda member: member.name)[:count]:
            yield Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def run(squeeze, model, files):
    """The objects that `squeeze run` finds: classes, scores and boxes of each file."""
    call = [squeeze, "run", model, "--json", "--min-score", "0", "--threads", "1", "--image", *files]
    lines = subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()
    for line in lines:
        rows = json.loads(line)["objects"]
        boxes = [[row[key] for key in ("x0", "y0", "x1", "y1")] for row in rows]
        yield [np.array([row["class"] for row in rows]), np.array([row["score"] for row in rows]), np.array(boxes).reshape(-1, 4)]


def theirs(found):
    return [found[key].numpy() for key in ("labels", "scores", "boxes")]


def off(a, b):
    return float(np.abs(a - b).max()) if len(a) else 0.0


def same(ours, wanted):
    """Whether objects are the same in the same order but for scores that are as good as equal; how far scores and boxes are off, and how
    many are at another place."""
    if len(ours[0]) != len(wanted[0]):
        return False, 0.0, 0.0, 0
    left, score_off, box_off, moved = set(range(len(ours[0]))), 0.0, 0.0, 0
    for at, (label, score, box) in enumerate(zip(*ours)):
        near = [to for to in left if wanted[0][to] == label and off(wanted[2][to], box) < 0.01 and abs(wanted[1][to] - wanted[1][at]) <= EQUAL]
        if not near:
            return False, 0.0, 0.0, 0
        to = min(near, key=lambda to: abs(to - at))
        left.remove(to)
        score_off, box_off, moved = max(score_off, abs(wanted[1][to] - score)), max(box_off, off(wanted[2][to], box)), moved + (to != at)
    return True, score_off, box_off, moved


def missing(ours, wanted):
    """How many of the wanted objects are not ours, in any order."""
    left, count = set(range(len(ours[0]))), 0
    for label, score, box in zip(*wanted):
        fits = [at for at in left if ours[0][at] == label and abs(ours[1][at] - score) < 1e-3 and off(ours[2][at], box) < 0.5]
        if fits:
            left.remove(fits[0])
        else:
            count += 1
    return count + len(left)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("squeeze", nargs="?")
    parser.add_argument("data", nargs="?")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--golden", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.golden:
        return golden()
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import zoo_parity

    network = random_weights(detector())
    good = True
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = lambda name: os.path.join(folder, name)
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path("weights.safetensors"))
        call = [given.squeeze, "import", path("weights.safetensors"), "--model", NAME, "-o", path("model.squeeze")]
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        images = list(photos(os.path.join(given.data, "imagenet-samples-256px.tar"), given.images))
        files, squares, sizes = [], [], set()
        for at, image in enumerate(images):
            files.append(path("%d.png" % at))
            image.save(files[-1])
            squares.append(path("%d-square.png" % at))
            image.resize((320, 320), Image.BILINEAR).save(squares[-1])
            sizes.add(image.size)

        errors, alike, scores_off, boxes_off, count, moved = [], 0, 0.0, 0.0, 0, 0
        for square, ours in zip(squares, run(given.squeeze, path("model.squeeze"), squares)):
            x = (tensor(Image.open(square)) - 0.5)[None] / 0.5
            raw = [torch.from_numpy(part) for part in zoo_parity.worker(given.squeeze, folder, {"x": x}, 2, "1", "f32")]
            for found, wanted in zip(raw, zoo_parity.Heads(network)(x)):
                errors.append(float((found - wanted).abs().max() / wanted.abs().max()))
            equal, score, box, places = same(ours, theirs(objects(network, raw[0][0], raw[1][0], [320, 320])))
            alike, scores_off, boxes_off, count = alike + equal, max(scores_off, score), max(boxes_off, box), count + len(ours[0])
            moved += places
        fine = max(errors) < LIMIT and alike == len(squares) and scores_off < 1e-5 and boxes_off < 0.01
        print("raw outputs: %d photos, error %.1e of the largest output at most" % (len(squares), max(errors)))
        print("objects of the same raw outputs: %d of %d photos alike (%d objects, of which %d are beside one with a score within %.0e), scores off "
              "by at most %.1e, boxes by %.1e pixels%s"
              % (alike, len(squares), count, moved, EQUAL, scores_off, boxes_off, "" if fine else "  FAILED"))
        good &= fine

        lacks = count = alike = 0
        for image, ours in zip(images, run(given.squeeze, path("model.squeeze"), files)):
            wanted = theirs(network([tensor(image)])[0])
            lack = missing(ours, wanted)
            lacks, count, alike = lacks + lack, count + len(wanted[0]), alike + (lack == 0)
        fine = count > 0 and lacks <= 0.01 * count
        print("photos of %d sizes, all of it: %d of %d alike; %d objects of %d differ%s"
              % (len(sizes), alike, len(images), lacks, count, "" if fine else "  FAILED"))
        good &= fine
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
