#!/usr/bin/env python3
"""Sparse beside dense, one tower beside two: trains LIMoE, its dense twin (the same FLOPs per token) and a dense CLIP of two towers for
the same steps on the same data, several seeds each, and prints zero-shot accuracy as mean and spread.

    bench/rivals.py --train-data 'train-{000000..000004}.tar' --eval-data test-000000.tar [--steps 400] [--seeds 3] [--out DIR] [-- FLAGS]

Flags after -- go to every training, such as --image-size 32 --patch 4. Needs build/pumice. Runs that are finished in --out are not repeated."""
import argparse
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = [("LIMoE, 8 experts", "limoe", []), ("its dense twin", "limoe", ["--dense-twin"]), ("two dense towers", "clip", [])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-data", required=True)
    parser.add_argument("--eval-data", required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "rivals")
    parser.add_argument("--program", default=str(ROOT / "build" / "pumice"))
    parser.add_argument("flags", nargs="*")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)

    def measure(name, command, flags, seed):
        run = a.out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
        result = run / "zeroshot.json"
        if not result.exists():
            subprocess.run([a.program, "train", command, "--preset", "tiny", "--train-data", a.train_data, "--out", run, "--overwrite", "--steps",
                            str(a.steps), "--seed", str(seed), *flags, *a.flags], check=True, stdout=subprocess.DEVNULL)
            subprocess.run([a.program, "eval", "zeroshot", "--model", run, "--data", a.eval_data, "--no-baselines", "--output", result], check=True,
                           stdout=subprocess.DEVNULL)
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
        return json.loads(result.read_text())["metrics"]["acc1"], last["contrastive"]

    print("| model | zero-shot top-1, mean | lowest to highest | last contrastive loss, mean |\n|---|---|---|---|", flush=True)
    for name, command, flags in MODELS:
        results = [measure(name, command, flags, seed) for seed in range(1, a.seeds + 1)]
        top1 = [100 * r[0] for r in results]
        accuracy = statistics.mean(r[1] for r in results)
        print(f"| {name} | {statistics.mean(top1):.1f} % | {min(top1):.1f} to {max(top1):.1f} % | {accuracy:.3f} |", flush=True)


if __name__ == "__main__":
    main()
