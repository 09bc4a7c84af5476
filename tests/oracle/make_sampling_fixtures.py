#!/usr/bin/env python3
"""Writes tests/models/fixtures/sampling.json: which tokens Hugging Face's processors keep of some logits, and with which probability, in f64.
Needs `pip install torch transformers`. Usage: tests/oracle/make_sampling_fixtures.py"""
import itertools
import json
import pathlib

import torch
from transformers import RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

OUT = pathlib.Path(__file__).parent.parent / "models/fixtures/sampling.json"

g = torch.Generator().manual_seed(5)
LOGITS = {
    "random": (torch.randn(12, generator=g) * 3).tolist(),
    "flat": (torch.randn(16, generator=g) * 0.1).tolist(),
    "peaked": [12.0] + (torch.randn(9, generator=g)).tolist(),
    "equal": [0.0] * 8,
    "ties": [1.0, 3.0, 3.0, 2.0, 3.0, 2.0, 2.0, -1.0, 1.0, -1.0],
    "impossible": [1.0, float("-inf"), 2.0, float("-inf"), 0.5],
}
CONTEXT = [0, 3, 3, 1, 5]  # inside every vocabulary but one; ids outside are Pumice's own matter
rows = []
for name, logits in LOGITS.items():
    context = [i for i in CONTEXT if i < len(logits)]
    for temperature, top_k, top_p, penalty in itertools.product([1.0, 0.2, 1.7], [0, 1, 3, 50], [1.0, 0.93, 0.5, 0.0], [1.0, 1.3]):
        scores = torch.tensor([logits], dtype=torch.float32).double()
        ids = torch.tensor([context])
        if penalty != 1.0:
            scores = RepetitionPenaltyLogitsProcessor(penalty)(ids, scores)
        scores = TemperatureLogitsWarper(temperature)(ids, scores) if temperature != 1.0 else scores
        scores = TopKLogitsWarper(top_k)(ids, scores) if top_k else scores
        scores = TopPLogitsWarper(top_p)(ids, scores) if top_p < 1.0 else scores
        p = torch.softmax(scores, -1)[0]
        kept = [[i, float(f"{p[i].item():.12g}")] for i in range(len(logits)) if p[i] > 0]
        rows.append({"logits": name, "context": context, "options": [temperature, top_k, top_p, penalty], "kept": kept})
text = json.dumps({"logits": {n: [None if x == float("-inf") else x for x in v] for n, v in LOGITS.items()}, "rows": rows}, separators=(",", ":"))
OUT.parent.mkdir(exist_ok=True)
OUT.write_text(text.replace('{"logits":"', '\n{"logits":"') + "\n")
