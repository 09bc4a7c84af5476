#!/usr/bin/env python3
"""Writes tests/data/fixtures/tokenizer/: small tokenizer.json files made with Hugging Face tokenizers and the ids it gives for hard
strings. Needs `pip install tokenizers`. Usage: tests/oracle/make_tokenizer_fixtures.py"""
import json
import pathlib

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

OUT = pathlib.Path(__file__).parent.parent / "data/fixtures/tokenizer"
TEXT = ["a red apple and an apple pie", "two red apples", "It's not what we've seen, they'll say: déjà vu", "emoji 🍎 and 日本語 text", "12 345 numbers"] * 3
HARD = ["two red apples", "It's a déjà-vu!", "  spaces   and\ttabs\n\nlines ", "emoji 🍎🍏 and 日本語", "1234 56 cafe\u0301", "<|endoftext|>x<|endoftext|>",
        "DON'T won't", "a\u00a0b", "🏳️‍🌈", "", "İstanbul ǅ ß"]
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def make(name, normalizer, split):
    t = Tokenizer(models.BPE())
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = split
    t.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False))
    t.save(str(OUT / f"{name}.json"), pretty=False)
    (OUT / f"{name}.ids.json").write_text(json.dumps([{"text": s, "ids": t.encode(s).ids} for s in HARD], ensure_ascii=True, indent=0))


OUT.mkdir(parents=True, exist_ok=True)
make("gpt2", None, pre_tokenizers.ByteLevel(add_prefix_space=False))
make("lower", normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]), pre_tokenizers.ByteLevel(add_prefix_space=True))
make("qwen", normalizers.NFC(), pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))
