#!/usr/bin/env python3
"""Writes tests/models/fixtures/rotary_scaling.json: what Transformers' modeling_rope_utils.py makes of settings of rotary embeddings, one
object each: config (fields of a llama's config.json), length (of the text, for "dynamic"), frequencies (f32), scale (of cosines and sines).

Needs `pip install torch 'transformers<5'`.
Usage: tests/oracle/make_rotary_fixtures.py"""
import json

import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from model_fixtures import OUT

LLAMA31 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
# head_dim, rope_theta, max_position_embeddings, rope_scaling, length
SETTINGS = [
    (64, 1e4, 2048, None, 100),
    (64, 1e4, 2048, dict(rope_type="linear", factor=2.5), 100),
    (128, 1e6, 4096, dict(rope_type="dynamic", factor=2.0), 4096),
    (128, 1e6, 4096, dict(rope_type="dynamic", factor=2.0), 9000),
    (128, 5e5, 131072, LLAMA31, 100),
    (64, 5e5, 131072, LLAMA31 | dict(factor=32.0), 100),
    (48, 1e4, 4096, LLAMA31 | dict(factor=3.0, low_freq_factor=0.7, high_freq_factor=9.5, original_max_position_embeddings=500), 100),
    (128, 1e6, 131072, dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32768), 100),
    (128, 1e4, 4096, dict(rope_type="yarn", factor=16.0), 100),
    (64, 1e4, 163840, dict(rope_type="yarn", factor=40.0, original_max_position_embeddings=4096, beta_fast=32, beta_slow=1, mscale=0.707,
                           mscale_all_dim=1.0), 100),
    (64, 1.5e5, 131072, dict(rope_type="yarn", factor=32.0, original_max_position_embeddings=4096, truncate=False), 100),
    (80, 1e4, 8192, dict(rope_type="yarn", factor=2.0, original_max_position_embeddings=4096, attention_factor=1.5, beta_fast=20.0, beta_slow=3.0), 100),
    (8, 1e4, 64, dict(rope_type="yarn", factor=8.0, original_max_position_embeddings=8), 100),
]

found = []
for head_dim, theta, positions, scaling, length in SETTINGS:
    fields = dict(head_dim=head_dim, rope_theta=theta, max_position_embeddings=positions, rope_scaling=scaling)
    config = transformers.LlamaConfig(**fields, hidden_size=head_dim, num_attention_heads=1, num_key_value_heads=1)
    frequencies, scale = ROPE_INIT_FUNCTIONS[scaling["rope_type"] if scaling else "default"](config, torch.device("cpu"), seq_len=length)
    found.append(dict(config={k: v for k, v in fields.items() if v is not None}, length=length, frequencies=[float(f) for f in frequencies], scale=scale))
(OUT / "rotary_scaling.json").write_text("[\n" + ",\n".join(json.dumps(f) for f in found) + "\n]\n")
print(len(found), "settings")
