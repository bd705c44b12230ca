"""Models of the Hub's form against transformers: small random ones of each family, served here, imported by name, asked the same texts.

    python golden/hub_parity.py target/release/squeeze

needs torch, transformers, tokenizers and safetensors; no network. For each family transformers makes a model and a tokenizer and saves them; a server on
this machine answers as the Hub does; `squeeze import hf:org/FAMILY` reads them, and `squeeze run` answers to texts and pairs; of GPT-2 it shows the tokens
that may follow, and goes on. Exits with 1 when a probability differs by more than 1e-5, or a token at all.
"""
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

TEXTS = ["a fine day at the lake", "an awful day, one that I'd like to forget!", "Fine", "the lake is fine " * 9]
PAIRS = [("a fine day", "the lake is awful"), ("one day", "like the lake at a fine day " * 5)]
SMALL = dict(vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, max_position_embeddings=40, num_labels=3)
FAMILIES = {
    "bert": ("Bert", SMALL),
    "bert-tanh": ("Bert", {**SMALL, "hidden_act": "gelu_new", "layer_norm_eps": 1e-6}),
    "roberta": ("Roberta", {**SMALL, "max_position_embeddings": 42, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}),
    "electra": ("Electra", {**SMALL, "embedding_size": 16}),
    "distilbert": ("DistilBert", dict(vocab_size=300, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=40, num_labels=3)),
    "squeezebert": ("SqueezeBert", {**SMALL, "embedding_size": 32}),
    "albert": ("Albert", {**SMALL, "embedding_size": 16, "hidden_act": "gelu_new"}),
    "mobilebert": ("MobileBert", dict(num_labels=3, classifier_activation=False)),
}


def tokenizer(family, folder):
    """Words and pieces of the texts; RoBERTa's is of bytes."""
    texts = TEXTS + [part for pair in PAIRS for part in pair]
    if family == "roberta":
        trained = ByteLevelBPETokenizer()
        specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        trained.train_from_iterator(texts, vocab_size=299, special_tokens=specials, show_progress=False)
        path = os.path.join(folder, "bpe.json")
        trained.save(path)
        return transformers.RobertaTokenizerFast(tokenizer_file=path)
    words = sorted({word for text in texts for word in text.lower().replace(",", " ").replace("!", " ").replace("'", " ").split()})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", "!", "'"] + words
    whole = Tokenizer(models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]"))
    whole.normalizer, whole.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    from tokenizers.processors import TemplateProcessing
    whole.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=whole, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
                                   model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def serve(folder):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            # /org/FAMILY/resolve/main/FILE
            parts = self.path.strip("/").split("/")
            path = os.path.join(folder, parts[1], *parts[4:])
            if not os.path.isfile(path):
                self.send_error(404)
                return
            data = open(path, "rb").read()
            start, end = self.headers["Range"].removeprefix("bytes=").split("-")
            start, end = int(start), min(int(end or len(data) - 1), len(data) - 1)
            self.send_response(206)
            for key, value in [("ETag", f'"{abs(hash(path))}"'), ("X-Repo-Commit", "c" * 40), ("Content-Range", f"bytes {start}-{end}/{len(data)}"),
                               ("Content-Length", str(end + 1 - start))]:
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(data[start:end + 1])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def language(squeeze, folder, env):
    """GPT-2: the likeliest next tokens, and texts that go on."""
    torch.manual_seed(0)
    place, path = os.path.join(folder, "gpt2"), os.path.join(folder, "model.squeeze")
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(TEXTS, vocab_size=299, special_tokens=["<|endoftext|>"], show_progress=False)
    trained.save(os.path.join(folder, "bpe.json"))
    words = transformers.GPT2TokenizerFast(tokenizer_file=os.path.join(folder, "bpe.json"))
    config = transformers.GPT2Config(vocab_size=300, n_positions=80, n_embd=32, n_layer=2, n_head=4, eos_token_id=0, bos_token_id=0)
    model = transformers.GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(place)
    words.save_pretrained(place)
    subprocess.run([squeeze, "import", "hf:org/gpt2", "-o", path], check=True, env=env, stdout=subprocess.DEVNULL)
    answer = lambda *more: json.loads(subprocess.run([squeeze, "run", path, "--json", *more], check=True, capture_output=True, text=True).stdout)
    worst, same = 0.0, True
    for text in TEXTS[:3] + ["L'\u00e9t\u00e9 \u2014 a lake"]:
        ids = torch.tensor([words(text)["input_ids"]])
        with torch.no_grad():
            theirs = model(input_ids=ids).logits[0, -1].softmax(-1)
            behind = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)[0, ids.shape[1]:]
        ours = answer("--text", text)["next"]
        same &= [row["id"] for row in ours] == theirs.topk(5).indices.tolist()
        same &= answer("--text", text, "--tokens", "12")["continuation"] == words.decode(behind, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        worst = max(worst, max(abs(row["probability"] - theirs[row["id"]].item()) for row in ours))
    print(f"gpt2: 4 texts, tokens {'the same' if same else 'OTHERS'}, probabilities off by at most {worst:.1e}")
    return same and worst <= 1e-5


def main():
    squeeze, failed = sys.argv[1], False
    with tempfile.TemporaryDirectory() as folder:
        endpoint = serve(folder)
        env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": os.path.join(folder, "home"), "HF_HUB_OFFLINE": "0"}
        for family, (kind, sizes) in FAMILIES.items():
            torch.manual_seed(0)
            place = os.path.join(folder, family)
            model = getattr(transformers, kind + "ForSequenceClassification")(getattr(transformers, kind + "Config")(**sizes)).eval()
            for name, parameter in model.named_parameters():
                # Norms and biases away from what they start as.
                parameter.data += 0.1 * torch.randn_like(parameter) if family != "mobilebert" else 0
            model.save_pretrained(place)
            words = tokenizer(family.split("-")[0], folder)
            words.save_pretrained(place)
            worst = 0.0
            for pair in (False, True):
                path = os.path.join(folder, "model.squeeze")
                call = [squeeze, "import", f"hf:org/{family}", *(["--pair"] if pair else []), "-o", path]
                subprocess.run(call, check=True, env=env, stdout=subprocess.DEVNULL)
                for text, other in PAIRS if pair else [(text, None) for text in TEXTS]:
                    longest = model.config.max_position_embeddings - (2 if family == "roberta" else 0)
                    cut = words(text, other, truncation=True, max_length=longest, return_tensors="pt")
                    cut = {key: value for key, value in cut.items() if key != "token_type_ids" or family not in ("roberta", "distilbert")}
                    with torch.no_grad():
                        theirs = model(**cut).logits.softmax(-1)[0]
                    call = [squeeze, "run", path, "--json", "--text", text, *(["--pair", other] if pair else [])]
                    line = json.loads(subprocess.run(call, check=True, capture_output=True, text=True).stdout)
                    ours = [line["classes"][f"LABEL_{at}"] for at in range(3)]
                    worst = max(worst, (torch.tensor(ours) - theirs).abs().max().item())
            print(f"{family}: {len(TEXTS)} texts and {len(PAIRS)} pairs, probabilities off by at most {worst:.1e}")
            failed |= not worst <= 1e-5
        failed |= not language(squeeze, folder, env)
    sys.exit(failed)


if __name__ == "__main__":
    main()
