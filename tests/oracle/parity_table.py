#!/usr/bin/env python3
"""Prints the worst error of every quantity that the suite compares with Transformers and PyTorch, model by model, as a Markdown table.

Usage: build/tests/test_train --gtest_filter='*Parity*' --gtest_output=json:parity.json && tests/oracle/parity_table.py parity.json"""
import json
import re
import sys

QUANTITIES = {"hidden": "hidden states, image features", "logits": "logits", "loss": "loss", "gradients": "gradients", "loss_of_steps": "losses of 3 steps"}
worst, suites = {}, json.load(open(sys.argv[1]))["testsuites"]
for test in (t for suite in suites for t in suite["testsuite"]):
    name = test.get("value_param", "").strip('"') or re.sub(r"/.*", "", test["name"])
    name = re.sub(r'^0x[0-9a-f]+ pointing to "|"$', "", name)
    for quantity in QUANTITIES:
        if quantity in test:
            row = worst.setdefault(name, {})
            row[quantity] = max(row.get(quantity, 0), float(test[quantity]))
print("| model |", *(f" {title} |" for title in QUANTITIES.values()), sep="")
print("|---|" + "---|" * len(QUANTITIES))
for name, row in worst.items():
    print(f"| `{name}` |", *(f" {row[q]:.1e} |" if q in row else " |" for q in QUANTITIES), sep="")
