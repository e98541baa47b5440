"""The packages `tokenizers` and `tiktoken` read our tokenizer files and must give our ids.

    compare_tokenizers.py FILIGREE

Compared are the whole validation split of the default corpus, and hostile Unicode. The packages have Unicode tables of their
own: a code point that one of them takes for a letter, number or space where we do not (or the other way) is an exception. All
exceptions are found by probing every code point, listed, and must be explained by the version of Unicode; texts without
exceptions must have equal ids.
"""

import array
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

os.environ["TIKTOKEN_CACHE_DIR"] = ""  # it would cache our files by path

import tiktoken  # noqa: E402
import tiktoken.load  # noqa: E402
import tokenizers  # noqa: E402

SEED = 20240520
UNICODE_OF_PCRE2 = "14.0.0"
# PCRE2 counts U+180E, which was a space until Unicode 6.3, among \s.
OLD_SPACES = {0x180E}


def run(*arguments):
    result = subprocess.run([str(a) for a in arguments], capture_output=True)
    if result.returncode != 0:
        sys.exit(f"{arguments} failed with {result.returncode}:\n{result.stderr.decode()}")
    return result.stdout


class Readers:
    """Our files in one folder, as both packages read them."""

    def __init__(self, folder):
        self.hugging_face = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.hugging_face.encode_special_tokens = True  # "<|endoftext|>" in a text is text
        description = json.loads((folder / "tokenizer.json").read_text())
        pattern = description["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
        ranks = tiktoken.load.data_gym_to_mergeable_bpe_ranks(str(folder / "vocab.bpe"), str(folder / "encoder.json"))
        self.tiktoken = tiktoken.Encoding(
            "filigree", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": len(ranks)})

    def both(self, text):
        return {"tokenizers": self.hugging_face.encode(text, add_special_tokens=False).ids,
                "tiktoken": self.tiktoken.encode_ordinary(text)}


def documents(folder, split):
    """(path, text, our ids) of every document of a split."""
    manifest = json.loads((folder / "manifest.json").read_text())
    stream = array.array("H")
    for shard in manifest[split]["shards"]:
        stream.frombytes((folder / shard["name"]).read_bytes()[1024:])
    assert len(stream) == manifest[split]["tokens"]
    end_of_text = manifest["tokenizer"]["end_of_text"]
    for line in (folder / "documents.jsonl").read_text().splitlines():
        document = json.loads(line)
        if document["split"] != split:
            continue
        ids = stream[document["begin"]:document["begin"] + document["tokens"]].tolist()
        assert ids.pop() == end_of_text, document
        yield document["path"], Path(document["path"]).read_bytes().decode(), ids


def write_probe(folder):
    """A vocabulary that shows where pre-tokens end: x, 1, '.' and tab merge with every byte that can begin a character
    beyond ASCII, so whether the merge happens tells whether the two are in one pre-token."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order = printing + [b for b in range(256) if b not in printing]
    printable = {b: chr(b) if i < len(printing) else chr(256 + i - len(printing)) for i, b in enumerate(order)}
    merges = [(printable[p], printable[lead]) for p in b"x1.\t" for lead in range(0xC2, 0xF5)]
    vocab = {printable[b]: i for i, b in enumerate(order)}
    for left, right in merges:
        vocab[left + right] = len(vocab)
    end_of_text = len(vocab)
    merged = {len(order) + i for i in range(len(merges))}
    (folder / "vocab.bpe").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    (folder / "encoder.json").write_text(json.dumps({**vocab, "<|endoftext|>": end_of_text}))
    return vocab, merges, merged


def write_probe_json(folder, template, vocab, merges):
    description = json.loads(template.read_text())
    description["model"]["vocab"] = {**vocab, "<|endoftext|>": len(vocab)}
    description["model"]["merges"] = [f"{a} {b}" for a, b in merges]
    description["added_tokens"][0]["id"] = len(vocab)
    (folder / "tokenizer.json").write_text(json.dumps(description))


def probed_code_points():
    """All of the planes that have characters; of the others, private or unassigned, one in 61."""
    for c in range(0x80, 0x110000):
        if not 0xD800 <= c < 0xE000 and (c < 0x40000 or 0xE0000 <= c < 0xE1000 or c % 61 == 0 or c % 0x10000 >= 0xFFFE):
            yield c


def bits_of(ids, merged, newline):
    """Per line of the probe text: whether a merge happened."""
    bits, seen = [], False
    for i in ids:
        if i in merged:
            seen = True
        elif i == newline:
            bits.append(seen)
            seen = False
    return bits


def find_exceptions(filigree, folder, template):
    """Code points that not all classify alike -> {who: class}."""
    vocab, merges, merged = write_probe(folder)
    write_probe_json(folder, template, vocab, merges)
    readers = Readers(folder)
    newline = vocab["\u010a"]
    # x merges with letters, 1 with numbers, '.' with letters and the rest, tab with letters and spaces.
    names = {(1, 0, 1, 1): "letter", (0, 1, 0, 0): "number", (0, 0, 1, 0): "other", (0, 0, 0, 1): "space"}
    points = list(probed_code_points())
    exceptions, block = {}, 1 << 14
    for first in range(0, len(points), block):
        some = points[first:first + block]
        text = "".join(f"x{chr(c)}\n1{chr(c)}\n.{chr(c)}\n\t{chr(c)}\n" for c in some)
        (folder / "probe.txt").write_bytes(text.encode())
        ours = json.loads(run(filigree, "encode", "--data", folder, folder / "probe.txt", "--json"))
        results = {"filigree": ours, **readers.both(text)}
        bits = {who: bits_of(ids, merged, newline) for who, ids in results.items()}
        for who in bits:
            assert len(bits[who]) == 4 * len(some), who
        if bits["filigree"] == bits["tokenizers"] == bits["tiktoken"]:
            continue
        for i, c in enumerate(some):
            classes = {who: names[tuple(int(b) for b in bits[who][4 * i:4 * i + 4])] for who in bits}
            if len(set(classes.values())) > 1:
                exceptions[c] = classes
    return len(points), exceptions


def list_exceptions(probed, exceptions):
    print(f"{probed} code points probed, {len(exceptions)} classified differently:")
    runs = []
    for c, classes in sorted(exceptions.items()):
        if runs and runs[-1][1] == c - 1 and runs[-1][2] == classes:
            runs[-1][1] = c
        else:
            runs.append([c, c, classes])
    for first, last, classes in runs:
        print(f"  U+{first:04X}..U+{last:04X}  " + ", ".join(f"{who} {what}" for who, what in classes.items()))
    if unicodedata.unidata_version != UNICODE_OF_PCRE2:
        print(f"(this Python knows Unicode {unicodedata.unidata_version}, PCRE2 {UNICODE_OF_PCRE2}: not explained further)")
        return
    unexplained = [c for c, classes in exceptions.items()
                   if not (c in OLD_SPACES and classes["filigree"] == "space")
                   and not (unicodedata.category(chr(c)) == "Cn" and classes["filigree"] == "other")]
    if unexplained:
        sys.exit("FAILED: these are no characters newer than Unicode 14: " + ", ".join(f"U+{c:04X}" for c in unexplained))
    print("  all of them assigned after Unicode 14, or U+180E, which PCRE2 still counts among spaces")


def compare(folder, split, readers, exceptions):
    count = tokens = excused = 0
    for path, text, ours in documents(folder, split):
        for who, theirs in readers.both(text).items():
            if theirs == ours:
                continue
            if not any(ord(c) in exceptions for c in text):
                at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
                sys.exit(f"FAILED: {path}: {who} differs at token {at}: ours {ours[at:at + 8]}, theirs {theirs[at:at + 8]}")
            excused += 1
        assert readers.tiktoken.decode_bytes(ours) == text.encode(), path
        count += 1
        tokens += len(ours)
    print(f"{folder.name} {split}: {count} documents, {tokens} tokens, the same ids ({excused} times excused by an exception in the text)")
    return count


def hostile_texts(exceptions):
    """Texts over the characters at which the pattern decides, and any others of Unicode; no zero byte, as such files are
    binary. One in ten ends with exceptions."""
    borders = [*" \t\n\r\v\f/._:'\"()=#aZ09", *map(chr, (
        0x1C, 0x1F, 0x7F, 0x80, 0x85, 0xA0, 0xAA, 0xB2, 0xBC, 0xD7, 0xE9, 0x2C2, 0x300, 0x660, 0x7FF, 0x800, 0x9BF,
        0x1680, 0x2000, 0x200B, 0x200D, 0x2028, 0x2029, 0x202F, 0x205F, 0x2160, 0x3000, 0x3042, 0x4E2D, 0xAC00,
        0xFB01, 0xFE0F, 0xFEFF, 0xFFFD, 0xFFFF, 0x10107, 0x1D400, 0x1D7CE, 0x1F600, 0x1F1E6, 0x20000, 0xE0001, 0x10FFFF))]
    pieces = ["<|endoftext|>", "    ", "\r\n", "\n\n", "'s", "def f(x):\n", "\u0915\u094d\u0937", "e\u0301", "123456", " //\n/"]
    draw = random.Random(SEED)
    for number in range(400):
        text, length = "", draw.randrange(1, 1500)
        while len(text) < length:
            kind = draw.randrange(10)
            if kind < 6:
                text += draw.choice(borders) * draw.choice((1, 1, 1, 2, 7))
            elif kind < 8:
                text += draw.choice(pieces)
            else:
                c = draw.randrange(1, 0x20000 if kind == 8 else 0x110000)
                if not 0xD800 <= c < 0xE000 and c not in exceptions:
                    text += chr(c)
        if number % 10 == 0:
            text += "x1" + "a".join(chr(c) for c in draw.sample(sorted(exceptions), min(5, len(exceptions))))
        yield text


def main():
    filigree = sys.argv[1]
    print(f"seed {SEED}, tokenizers {tokenizers.__version__}, tiktoken {tiktoken.__version__}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus, hostile, probe = folder / "corpus", folder / "hostile", folder / "probe"
        run(filigree, "prepare", "--out", corpus)
        probe.mkdir()
        probed, exceptions = find_exceptions(filigree, probe, corpus / "tokenizer.json")
        list_exceptions(probed, exceptions)

        readers = Readers(corpus)
        assert compare(corpus, "validation", readers, exceptions) > 0

        source = folder / "source"
        source.mkdir()
        for i, text in enumerate(hostile_texts(exceptions)):
            (source / f"{i:03}.txt").write_bytes(text.encode())
        # Their own vocabulary, with merges inside characters, and that of the corpus.
        run(filigree, "prepare", "--input", source, "--all-files", "--vocab", 1500, "--val-fraction", 0.5, "--out", hostile)
        hostile_readers = Readers(hostile)
        counts = [compare(hostile, split, hostile_readers, exceptions) for split in ("train", "validation")]
        assert sum(counts) > 390, counts
        text = "\0".join(t for i, t in enumerate(hostile_texts(exceptions)) if i % 10 != 0)
        (folder / "all.txt").write_bytes(text.encode())
        ours = json.loads(run(filigree, "encode", "--data", corpus, folder / "all.txt", "--json"))
        for who, theirs in readers.both(text).items():
            assert theirs == ours, f"{who} differs on the hostile texts in one"
        (folder / "ids.txt").write_text(" ".join(map(str, ours)))
        assert run(filigree, "decode", "--data", corpus, "--file", folder / "ids.txt") == text.encode()
        print(f"hostile texts in one: {len(ours)} tokens, the same ids, and back again")


if __name__ == "__main__":
    main()
