#!/usr/bin/env python3
"""Encoding speed beside Hugging Face tokenizers on one thread: megabytes of text per second, and that the ids are the same.

    bench/tokenizer_speed.py TEXT.txt TOKENIZER.json [...]

Both encode the file line by line, five times after a warm-up; the best counts. Needs `pip install tokenizers` and a build with
-DPUMICE_BENCH=ON (build/bench/bench_tokenizer)."""
import os
import pathlib
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent


def hugging_face(path, lines):
    t = Tokenizer.from_file(path)
    best = None
    for _ in range(6):
        start = time.perf_counter()
        ids = [t.encode(line, add_special_tokens=False).ids for line in lines]
        seconds = time.perf_counter() - start
        best = seconds if best is None else min(best, seconds)
    total = 0
    for row in ids:
        for i in row:
            total = (total * 1000003 + i) % (1 << 64)
    return best, total


def main():
    text, *files = sys.argv[1:]
    lines = pathlib.Path(text).read_text(encoding="utf-8").split("\n")
    size = sum(len(line.encode()) for line in lines) / 1e6
    print(f"{size:.1f} MB, {len(lines)} lines")
    print("| tokenizer | Pumice MB/s | Hugging Face MB/s | ratio | same ids |\n|---|---|---|---|---|")
    for path in files:
        ours = subprocess.run([ROOT / "build/bench/bench_tokenizer", path, text], check=True, capture_output=True, text=True).stdout.split()
        theirs, total = hugging_face(path, lines)
        seconds, equal = float(ours[0]), "yes" if int(ours[1]) == total else "NO"
        print(f"| {pathlib.Path(path).name} | {size / seconds:.1f} | {size / theirs:.1f} | {theirs / seconds:.1f} | {equal} |")


main()
