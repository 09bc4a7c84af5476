#!/usr/bin/env python3
"""Writes tests/tensor/fixtures/torch/: files as torch.save makes them, in both of its formats, and the seeds of the fuzz targets that read
them. Needs `pip install torch numpy`. Usage: tests/oracle/make_torch_fixtures.py"""
import argparse
import collections
import json
import pathlib
import pickle
import shutil

import torch

TESTS = pathlib.Path(__file__).parent.parent
OUT = TESTS / "tensor/fixtures/torch"
SEEDS = TESTS / "fuzz/corpus"


def counted(shape, dtype, start=0):
    n = 1
    for s in shape:
        n *= s
    return (torch.arange(n) + start).to(dtype).reshape(shape)


def state_dict():
    """Every dtype, and the layouts that a state dict has: strided, a part of a storage, tied, empty, scalar, a parameter."""
    base = counted((4, 6), torch.float32)
    d = collections.OrderedDict()
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        d[str(dtype)[6:]] = counted((2, 3), dtype)
    d["bool"] = torch.tensor([True, False, True])
    d["base"] = base
    d["transposed"] = base.t()
    d["part"] = base[1:3, 2:5]
    d["tied"] = base
    d["column"] = base[:, 3]
    d["expanded"] = torch.tensor([7.0]).expand(1, 3)
    d["empty"] = torch.zeros(0, 4)
    d["scalar"] = torch.tensor(2.5)
    d["parameter"] = torch.nn.Parameter(counted((3,), torch.float32, 10))
    return d


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    torch.manual_seed(0)
    d = state_dict()
    torch.save(d, OUT / "state_dict.bin")
    torch.save(d, OUT / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save(d, OUT / "protocol4.bin", pickle_protocol=4)
    small = {"weight": counted((2, 2), torch.float32), "bias": counted((2,), torch.bfloat16)}
    torch.save(torch.nn.Linear(2, 2).state_dict(), OUT / "linear.bin")  # an OrderedDict with the attribute _metadata
    torch.save({"epoch": 3, "model": {"state_dict": small}, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}, OUT / "nested.pt")
    torch.save({"epoch": 3, "student": small}, OUT / "other_key.pt")
    torch.save({"student": small, "teacher": small}, OUT / "two_models.pt")
    torch.save(small["weight"], OUT / "one_tensor.pt")
    torch.save({"model": small, "args": argparse.Namespace(lr=0.1)}, OUT / "namespace.pt")
    torch.save(torch.nn.Linear(2, 2), OUT / "module.pt")
    torch.save({"weight": torch.zeros(1).expand(1 << 20, 1 << 20)}, OUT / "huge_expanded.pt")
    torch.save(small, OUT / "small.bin")
    torch.save(small, OUT / "small_legacy.bin", _use_new_zipfile_serialization=False)
    expected = {n: {"shape": list(t.shape), "values": t.detach().double().flatten().tolist()} for n, t in d.items()}
    (OUT / "expected.json").write_text(json.dumps(expected))

    seeds = SEEDS / "torch_file"
    shutil.rmtree(seeds, ignore_errors=True)
    seeds.mkdir(parents=True)
    for name in ("state_dict.bin", "legacy.bin", "protocol4.bin", "linear.bin", "nested.pt", "small.bin", "small_legacy.bin"):
        shutil.copy(OUT / name, seeds / name)
    (seeds / "pickle2").write_bytes(pickle.dumps({"a": [1, 2.5, (None, True, -7)], "b": b"c" * 3, "d": 1 << 70}, protocol=2))
    print(sum(f.stat().st_size for f in OUT.iterdir()), "bytes in", OUT)


if __name__ == "__main__":
    main()
