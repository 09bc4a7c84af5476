#!/usr/bin/env python3
"""Writes tests/data/fixtures/tokenizer/: a small tokenizer.json of each family, with the components its published files have, made with
Hugging Face tokenizers; the ids it gives for hard strings (FAMILY.ids.json) and the texts it decodes them to. Likewise for tiktoken,
OpenAI's CLIP and SentencePiece. Needs `pip install tokenizers tiktoken sentencepiece regex transformers
protobuf`. Usage: tests/oracle/make_tokenizer_fixtures.py"""
import json
import pathlib
import random

from tokenizers import Tokenizer

OUT = pathlib.Path(__file__).parent.parent / "data/fixtures/tokenizer"
LEARN = ["a red apple and an apple pie", "two red apples  and   three", "It's not what we've seen, they'll say: déjà vu",
         "emoji 🍎 and 日本語 text",
         "12 345 numbers 2024", "def main():\n    return 0\n\n", "Привет мир, привет", "the photo of the fox and the kite",
         "IT'S WE'RE don't"] * 4


def strings():
    pieces = ["two red apples", "It's a déjà-vu!", "  spaces   and\ttabs\n\nlines ", "1234 56", "cafe\u0301", "DON'T won't I'LL they'Re",
              "a\u00a0b", "\u200bzero\u200dwidth", "日本語テキスト", "한국어 문장", "中文，标点。", "שלום עולם",
              "مرحبا بالعالم", "ไทยภาษา", "नमस्ते", "Привет, мир!", "Ελληνικά ΣΑΣ",
              "İstanbul ǅ ß ﬁ", "Å Å Å", "🏳️‍🌈", "👩‍👩‍👧‍👦", "👍🏽", "🇩🇪🇫🇷", "🍎🍏",
              "e\u0301\u0323o\u0308", "\u1100\u1161\u11a8", "\ufeffBOM", "\u0000nul", "\u0001\u0007\u001b[0m", "\r\n\r\n", "\r", "\n", "\t\t",
              "\u2028line\u2029", "\u3000wide\u2003em", "x\u0085y", "1.5e-10", "٣٤٥ ४५", "½ Ⅷ ²", "$5,000.00", "a_b-c.d",
              "https://example.org/?q=1&r=%20", "C++ && !=", "'s 't 're", "’s it’s", "''''", "\"quoted\"", "<|endoftext|>", "a<|endoftext|>b",
              "<|endoftext|><|endoftext|>", "  <|endoftext|>  ", "<|endoftext", "<s>", "</s> <unk>", "<|im_start|>user\nhi<|im_end|>",
              "<mask>word <mask> in <mask>", "x<mask> y", "KeyWord KeyWords aKeyWord _KeyWord KeyWord", "keyword KEYWORD", "<0x41>", "▁",
              "▁▁a ▁", "a▁b", "</w>", "Ġ", "aĠb", "    def f(x):", "\t\treturn x  # note", "x" * 3, "ab" * 40, "apple" * 300, "а" * 100,
              "1" * 50, " " * 30, "\n" * 9, " \n \n ", "a ", " a", "a  ", "  a", "", " ", "  ", ".", "...", "!?!?", "-", "--", "é", "e", "\u0301",
              "\u0301\u0301a", "a\u0301\u0301", "𝔘𝔫𝔦", "ﷺ", "①②", "㍿", "ｆｕｌｌ", "𐍈", "\U0001f9ff", "\U000e0041",
              "ᏣᎳᎩ", "ǆ Ǆ", "ẞ", "ŉ", "ΐ", "a\u2019b", "a\u00adb", "n't", "I'm I'M", "'S", "'ſ", "we've", "o'clock", "rock'n'roll",
              "x'll", "@user #tag", "(a)", "[b]{c}", "a/b\\c", "`code`", "~^|", "µ μ", "№5", "°C", "€ £ ¥", "—–-", "…"]
    rng = random.Random(7)
    glue = ["", " ", "  ", "\n", "", " "]
    while len(pieces) < 190:
        pieces.append("".join(rng.choice(pieces[:66]) + rng.choice(glue) for _ in range(rng.randint(2, 3))))
    return pieces


def train(normalizer, pre_tokenizer, size=420, alphabet=None, suffix=None, special=()):
    """vocab and merges of a BPE that is learned through the given parts."""
    from tokenizers import models, pre_tokenizers, trainers
    t = Tokenizer.from_str(json.dumps(document(None, {"type": "BPE", "vocab": {}, "merges": []}, normalizer, pre_tokenizer)))
    args = {"end_of_word_suffix": suffix} if suffix else {}
    t.model = models.BPE(**args)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if alphabet is None else alphabet
    t.train_from_iterator(LEARN,
                          trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False, **args))
    return json.loads(t.to_str())["model"]


def document(added, model, normalizer=None, pre_tokenizer=None, post=None, decoder=None):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added or [], "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": post, "decoder": decoder, "model": model}


def token(id, content, special=True, **flags):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special, **flags}


def seq(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


def bytes_of(regex=True, space=False):
    return {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": True, "use_regex": regex}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern if isinstance(pattern, dict) else {"Regex": pattern}, "behavior": behavior, "invert": invert}


QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
BYTES = bytes_of()
NFC = {"type": "NFC"}


def template(before, after=()):
    tokens = {name: {"id": name, "ids": [id], "tokens": [name]} for name, id in [*before, *after]}
    one = lambda names: [{"SpecialToken": {"id": n, "type_id": 0}} for n, _ in names]
    single = [*one(before), {"Sequence": {"id": "A", "type_id": 0}}, *one(after)]
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": tokens}


def sentencepiece_model(fuse=True):
    """Llama's and Mistral's vocabulary: <unk> <s> </s>, 256 bytes, pieces with U+2581."""
    learned = train({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, split({"String": "▁"}, "MergedWithNext"), 180, [])
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + list(learned["vocab"])
    return {**learned, "vocab": {n: i for i, n in enumerate(names)}, "unk_token": "<unk>", "fuse_unk": fuse, "byte_fallback": True}


def llama(normalizer, pre):
    added = [token(0, "<unk>"), token(1, "<s>"), token(2, "</s>")]
    decoder = seq("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                  {"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return document(added, sentencepiece_model(), normalizer, pre, template([("<s>", 1)]), decoder)


def families():
    gpt2 = train(None, BYTES)
    end = len(gpt2["vocab"])
    yield "gpt2", document([token(end, "<|endoftext|>", normalized=True)], gpt2, None, BYTES, bytes_of(), bytes_of())
    # Phi-2: runs of white space are added tokens.
    runs = [token(end + 1 + i, " " * (9 - i), False, normalized=True) for i in range(8)]
    runs += [token(end + 9 + i, "\t" * (4 - i), False, normalized=True) for i in range(3)]
    yield "phi", document([token(end, "<|endoftext|>")] + runs, gpt2, None, BYTES, bytes_of(), bytes_of())
    qwen_words = seq("pretokenizers", split(QWEN), bytes_of(False))
    qwen = train(NFC, qwen_words)
    chat = [token(len(qwen["vocab"]) + i, n) for i, n in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])]
    yield "qwen", document(chat, qwen, NFC, qwen_words, bytes_of(False), bytes_of(False))
    yield "stablelm", document(chat, qwen, None, qwen_words, None, bytes_of(True, True))
    neox = [token(0, "<|endoftext|>"), token(1, "<|padding|>")]
    base = train(NFC, BYTES, special=["<|endoftext|>", "<|padding|>"])
    neox += [token(len(base["vocab"]) + i, " " * (5 - i), False, normalized=True) for i in range(4)]
    yield "neox", document(neox, base, NFC, BYTES, bytes_of(), bytes_of())
    words3 = seq("pretokenizers", split(LLAMA3), bytes_of(False))
    llama3 = {**train(None, words3), "ignore_merges": True}
    llama3["vocab"]["Ġnumbers!"] = len(llama3["vocab"])
    start = len(llama3["vocab"])
    yield "llama3", document([token(start, "<|begin_of_text|>"), token(start + 1, "<|end_of_text|>")], llama3, None, words3,
                             seq("processors", bytes_of(), template([("<|begin_of_text|>", start)])), bytes_of())
    yield "llama", llama(seq("normalizers", {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
                         None)
    yield "mistral", llama(None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False})
    clip_norm = seq("normalizers", NFC, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}, {"type": "Lowercase"})
    clip_words = seq("pretokenizers", split(CLIP, "Removed", True), bytes_of())
    clip = train(clip_norm, clip_words, 700, suffix="</w>")
    for piece in [p for p in clip["vocab"] if len(p) == 1]:
        clip["vocab"].setdefault(piece + "</w>", len(clip["vocab"]))
    start = len(clip["vocab"])
    clip["vocab"].update({"<|startoftext|>": start, "<|endoftext|>": start + 1})
    clip["unk_token"] = "<|endoftext|>"
    yield "clip", document([token(start, "<|startoftext|>", normalized=True), token(start + 1, "<|endoftext|>", normalized=True)], clip, clip_norm,
                           clip_words, {"type": "RobertaProcessing", "sep": ["<|endoftext|>", start + 1], "cls": ["<|startoftext|>", start],
                            "trim_offsets": False, "add_prefix_space": False}, BYTES)
    # StarCoder and Falcon: digits by themselves.
    digits = seq("pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": True}, bytes_of())
    star = train(None, digits)
    yield "digits", document([token(len(star["vocab"]), "<|endoftext|>")], star, None, digits, None, bytes_of())
    # Every flag of added tokens, and the rest of the parts.
    lower = seq("normalizers", {"type": "NFKC"}, {"type": "Strip", "strip_left": True, "strip_right": False}, {"type": "Lowercase"},
                {"type": "StripAccents"})
    words = seq("pretokenizers", {"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": False},
                {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True})
    odd = {**train(lower, words, 200, []), "unk_token": "[UNK]", "fuse_unk": True}
    odd["vocab"]["[UNK]"] = n = len(odd["vocab"])
    flags = [token(n, "[UNK]"), token(n + 1, "<mask>", lstrip=True), token(n + 2, "<|endoftext|>", rstrip=True),
             token(n + 3, "keyword", False, single_word=True, normalized=True),
             token(n + 4, "</s>", lstrip=True, rstrip=True)]
    yield "odd", document(flags, odd, lower, words, {"type": "BertProcessing", "sep": ["</s>", n + 4], "cls": ["<|endoftext|>", n + 2]},
                          {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True})
    plain = {**train(None, {"type": "Whitespace"}, 160, [], "</w>"), "unk_token": None}
    yield "words", document([], plain, None, seq("pretokenizers", {"type": "Whitespace"}, {"type": "CharDelimiterSplit", "delimiter": "-"}), None,
                            {"type": "BPEDecoder", "suffix": "</w>"})


def unspelled(piece):
    """The bytes of a piece in GPT-2's alphabet."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    back = {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(b for b in range(256) if b not in printable)}
    return bytes(back[c] for c in piece)


def write_tiktoken(texts):
    """Ranks of the qwen family, and the ids of OpenAI's tiktoken for them."""
    import base64
    import unicodedata
    import tiktoken
    model = train(NFC, seq("pretokenizers", split(QWEN), bytes_of(False)))
    ranks = {unspelled(p): i for p, i in model["vocab"].items()}
    (OUT / "small-qwen.tiktoken").write_bytes(b"".join(base64.b64encode(p) + b" %d\n" % r for p, r in sorted(ranks.items(), key=lambda x: x[1])))
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]
    t = tiktoken.Encoding("small", pat_str=QWEN, mergeable_ranks=ranks, special_tokens={n: len(ranks) + i for i, n in enumerate(names)})
    rows = []
    for s in texts:
        ids = t.encode(unicodedata.normalize("NFC", s), allowed_special="all")
        rows.append({"ids": ids, "text": t.decode(ids)})
    (OUT / "small-qwen.ids.json").write_text(json.dumps({"prefix": [], "suffix": [], "rows": rows}, separators=(",", ":")))


def write_openai_clip(texts):
    """Merges in the layout of bpe_simple_vocab_16e6.txt.gz, and ids by the algorithm of OpenAI's simple_tokenizer.py, written anew."""
    import gzip
    import html
    import unicodedata
    import regex
    clip = json.loads((OUT / "clip.json").read_text())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in clip["merges"]]
    (OUT / "small-clip.txt.gz").write_bytes(gzip.compress(("#version: small\n" + "".join(f"{a} {b}\n" for a, b in merges)).encode(), mtime=0))
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letter = {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(b for b in range(256) if b not in printable)}
    letters = [letter[b] for b in printable + [b for b in range(256) if b not in printable]]
    pieces = letters + [c + "</w>" for c in letters] + [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    ids, rank = {p: i for i, p in enumerate(pieces)}, {m: i for i, m in enumerate(merges)}
    words = regex.compile(r"<\|startoftext\|>|<\|endoftext\|>|" + CLIP, regex.IGNORECASE)

    def spell(word):
        if word in ("<|startoftext|>", "<|endoftext|>"):
            return [word]
        parts = [letter[b] for b in word.encode()]
        parts[-1] += "</w>"
        while True:
            pairs = [(rank[p], i) for i, p in enumerate(zip(parts, parts[1:])) if p in rank]
            if not pairs:
                return parts
            _, i = min(pairs)
            parts[i:i + 2] = [parts[i] + parts[i + 1]]

    rows = []
    for s in texts + ["Tom &amp; Jerry &lt;3", "&amp;amp; &#39;x&#39; &quot;q&quot;"]:
        clean = regex.sub(r"\s+", " ", html.unescape(html.unescape(unicodedata.normalize("NFC", s)))).strip()
        clean = "".join(c.lower() for c in clean)  # Python would write a final sigma at the end of a word
        apart = regex.split(r"(<\|startoftext\|>|<\|endoftext\|>)", clean)  # OpenAI's pattern would see "><|" as one run of signs
        parts = [p for part in apart for w in words.findall(part) for p in spell(w)]
        text = b"".join(p.encode() if p.startswith("<|") else unspelled(p.replace("</w>", "")) + (b" " if p.endswith("</w>") else b"") for p in parts)
        rows.append({"ids": [ids[p] for p in parts], "text": text.decode().removesuffix(" ")})
    (OUT / "small-clip.ids.json").write_text(json.dumps({"prefix": [len(pieces) - 2], "suffix": [len(pieces) - 1], "rows": rows},
                                                        separators=(",", ":")))


def write_sentencepiece(texts):
    import io
    import sentencepiece
    for kind in ["bpe", "unigram"]:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(LEARN), model_writer=model, vocab_size=330, model_type=kind,
                                                 byte_fallback=True,
                                                 normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2)
        (OUT / f"{kind}.model").write_bytes(model.getvalue())
        t = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        rows = []
        for s in texts:
            ids = t.encode(s)
            rows.append({"ids": ids, "text": t.decode(ids)})
        (OUT / f"sentencepiece-{kind}.ids.json").write_text(json.dumps({"prefix": [], "suffix": [], "rows": rows}, separators=(",", ":")))


def write_bare_sentencepiece():
    """Added tokens with Transformers' "legacy": false. Texts begin with ordinary signs: before a token at the beginning it encodes a lone space."""
    import transformers
    t = transformers.LlamaTokenizer(str(OUT / "bpe.model"), legacy=False, add_bos_token=False)
    t.add_tokens(["<|end_of_turn|>", "<tool>"], special_tokens=True)
    texts = ["two red<|end_of_turn|>apples <tool>", "a<tool> b<tool>  c", "a <tool>\u00e9t\u00e9<tool>\n", "<", "a<tool><tool>b", " a<tool>b ", "red"]
    rows = [{"text": s, "ids": t.encode(s, add_special_tokens=False)} for s in texts]
    (OUT / "sentencepiece-bare.ids.json").write_text(json.dumps({"rows": rows}, separators=(",", ":")))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    texts = strings()
    (OUT / "strings.json").write_text(json.dumps(texts, ensure_ascii=True, indent=0))
    for name, content in families():
        t = Tokenizer.from_str(json.dumps(content))
        (OUT / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")))
        rows = []
        for s in texts:
            e, whole = t.encode(s, add_special_tokens=False).ids, t.encode(s).ids
            at = next(i for i in range(len(whole) + 1) if whole[i:i + len(e)] == e)
            text = t.decode(e, skip_special_tokens=False)
            if name == "clip":  # as CLIP's tokenizers do
                text = text.replace("</w>", " ").removesuffix(" ")
            rows.append({"ids": e, "text": text})
        (OUT / f"{name}.ids.json").write_text(json.dumps({"prefix": whole[:at], "suffix": whole[at + len(e):], "rows": rows}, ensure_ascii=True,
                                                         separators=(",", ":")))

    write_tiktoken(texts)
    write_openai_clip(texts)
    write_sentencepiece(texts)
    write_bare_sentencepiece()


main()
