#!/usr/bin/env python3
"""What keeps text tokens from being dropped: trains the quickstart's model with and without LIMoE's entropy losses and batch priority,
at two capacities, and prints for each the share of tokens that found a place, per modality and sparse block, and the accuracy.

    bench/routing.py [--steps 800] [--jobs 2] [--out DIR]

Needs build/pumice; draws the quickstart's pictures if datasets/quickstart is not there. With --jobs 2 two models train at once, on one
thread each (results do not depend on that). Runs that are finished in --out are not repeated."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLASSIC = ["--aux-losses", "importance,load,z"]
POSITION = ["--routing-order", "position"]
RECIPES = [("LIMoE", []), ("without entropy losses", CLASSIC), ("without batch priority", POSITION), ("without both", CLASSIC + POSITION)]
CAPACITIES = ["1.25", "1.05"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "routing")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "datasets" / "quickstart")
    parser.add_argument("--program", default=str(ROOT / "build" / "pumice"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if not (a.data / "dataset.json").exists():
        subprocess.run([a.program, "data", "scenes", "--out", a.data, "--train", "20000", "--val", "1000", "--size", "64", "--seed", "1"], check=True)
    environment = dict(os.environ, **({"PUMICE_THREADS": "1"} if a.jobs > 1 else {}))

    def measure(job):
        capacity, (name, flags) = job
        run = a.out / f"{name.replace(' ', '-')}-{capacity}"
        result = run / "zeroshot.json"
        if not result.exists():
            subprocess.run([a.program, "train", "limoe", "--preset", "tiny", "--train-data", f"{a.data}/train/train-{{000000..000019}}.tar", "--out",
                            run, "--overwrite", "--steps", str(a.steps), "--capacity-factor", capacity, *flags],
                           check=True, stdout=subprocess.DEVNULL, env=environment)
            subprocess.run([a.program, "eval", "zeroshot", "--model", run, "--data", a.data / "eval-objects", "--output", result], check=True,
                           stdout=subprocess.DEVNULL, env=environment)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        lines = [line for line in lines if line["step"] > 3 * a.steps / 4]
        kept = [sum(line[f"block{b}/{m}/success_rate"] for line in lines) / len(lines) for m in ("image", "text") for b in (1, 3)]
        worst = min(line[f"block{b}/text/success_rate"] for line in lines for b in (1, 3))
        top1 = json.loads(result.read_text())["metrics"]["acc1"]
        return f"| {capacity} | {name} | " + " | ".join(f"{100 * x:.1f} %" for x in kept + [worst, top1]) + " |"

    jobs = [(capacity, recipe) for capacity in CAPACITIES for recipe in RECIPES]
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        rows = list(pool.map(measure, jobs))
    print("| capacity | recipe | image, block 1 | image, block 3 | text, block 1 | text, block 3 | text, worst step | zero-shot top-1 |\n"
          + "|---" * 8 + "|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
