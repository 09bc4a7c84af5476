#!/usr/bin/env python3
"""Generation beside Transformers: tokens per second of a small Qwen2-shaped model with random weights, greedy, one sequence, the first token apart.
Both programs read the same directory; rounds alternate between them, and medians are printed with the spread of each.

    bench/generate_speed.py [--program build/pumice] [--threads 2] [--tokens 64] [--rounds 3] [--width 768] [--layers 12]

Needs `pip install torch transformers`. The rival runs in f32 and in bf16, and its faster one counts; ours in bf16, with f32 beside it. The last
line is the share of the memory bandwidth that our bf16 weights take: bytes of weights times tokens per second, over the rate at which NumPy looks for
the largest number of a gigabyte in as many threads."""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

ROOT = pathlib.Path(__file__).resolve().parent.parent


def make_model(program, directory, width, layers):
    config = dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"], vocab_size=32000, hidden_size=width, intermediate_size=width * 11 // 4,
                  num_hidden_layers=layers, num_attention_heads=width // 64, num_key_value_heads=width // 64, max_position_embeddings=2048,
                  rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False, eos_token_id=None, bos_token_id=None)
    (directory / "captions.txt").write_text("a red cat on a mat\na blue dog\n" * 20)
    (directory / "source.json").write_text(json.dumps(config))
    run = lambda *words: subprocess.run([program, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    run("tokenizer", "train", directory / "captions.txt", "--vocab-size", 280, "--out", directory / "tokenizer")
    run("model", "init", "--model-config", directory / "source.json", "--tokenizer", directory / "tokenizer", "--out", directory / "model")
    return directory / "model"


def ours(program, model, precision, tokens, threads):
    out = subprocess.run([program, "generate", "--model", model, "--raw", "--prompt", "a red cat", "--temperature", "0", "--max-new-tokens", str(tokens),
                          "--precision", precision, "--stats"], check=True, capture_output=True, env=os.environ | {"PUMICE_THREADS": str(threads)})
    text = out.stderr.decode()
    made = int(re.search(r"; (\d+) new tokens", text)[1])
    assert made == tokens, f"the text ended after {made} of {tokens} tokens: try another seed"
    return float(re.search(r"([\d.]+) per second", text)[1])


def rival(model, tokens):
    import torch
    ids = torch.tensor([[1, 5, 9]])
    times = []
    with torch.no_grad():
        past, step = None, ids
        for _ in range(tokens):
            out = model(input_ids=step, past_key_values=past, use_cache=True)
            past, step = out.past_key_values, out.logits[:, -1:].argmax(-1)
            times.append(time.perf_counter())
    return (tokens - 1) / (times[-1] - times[0])


def bandwidth(threads):
    import numpy
    parts = [numpy.ones(1 << 27, numpy.uint8).view(numpy.uint64) for _ in range(8)]
    with ThreadPoolExecutor(threads) as pool:
        best = 0
        for _ in range(4):
            start = time.perf_counter()
            list(pool.map(numpy.max, parts))
            best = max(best, 8 * (1 << 27) / (time.perf_counter() - start))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build" / "pumice"))
    for flag, value in (("threads", 2), ("tokens", 64), ("rounds", 3), ("width", 768), ("layers", 12)):
        parser.add_argument(f"--{flag}", type=int, default=value)
    a = parser.parse_args()
    import torch
    import transformers
    torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as scratch:
        directory = make_model(a.program, pathlib.Path(scratch), a.width, a.layers)
        rivals = {d: transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=t).eval() for d, t in
                  (("f32", torch.float32), ("bf16", torch.bfloat16))}
        results = {}
        for _ in range(a.rounds):
            for precision in ("bf16", "f32"):
                results.setdefault(f"Pumice {precision}", []).append(ours(a.program, directory, precision, a.tokens, a.threads))
                results.setdefault(f"Transformers {precision}", []).append(rival(rivals[precision], a.tokens))
        weights = sum(f.stat().st_size for f in directory.glob("*.safetensors"))
        embedding = 32000 * a.width * 2  # of which a token reads one row
    parameters = sum(p.numel() for p in rivals["f32"].parameters())
    print(f"{parameters / 1e6:.0f}M parameters, {a.threads} threads, torch {torch.__version__}, transformers {transformers.__version__}\n")
    print("| | tokens/s, median | lowest to highest |\n|---|---|---|")
    medians = {name: statistics.median(values) for name, values in results.items()}
    for name, values in results.items():
        print(f"| {name} | {medians[name]:.1f} | {min(values):.1f} to {max(values):.1f} |")
    best = max(medians["Transformers f32"], medians["Transformers bf16"])
    print(f"\nPumice bf16 / the better Transformers: {medians['Pumice bf16'] / best:.2f}")
    roof = bandwidth(a.threads)
    print(f"weights read: {(weights - embedding) * medians['Pumice bf16'] / 1e9:.1f} GB/s of {roof / 1e9:.1f} GB/s")


if __name__ == "__main__":
    main()
