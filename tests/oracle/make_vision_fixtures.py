#!/usr/bin/env python3
"""Writes tests/models/fixtures/{clip-vision,siglip-vision,siglip-vision-headless,clip}: tiny random vision towers in the layout of their
Hugging Face directories and what Transformers computes from them (model_fixtures.py says in which precision).

expected.safetensors of a tower, B = 2 pictures of 8x8, patches of 2x2, L = 3 layers, P = 16 patches, and before them CLIP's class token:
  pixel_values f32 (B,3,8,8)
  hidden/0 ... hidden/L f32 (B,P,W)    hidden/0 is what enters layer 0 (after pre_layrnorm in CLIP), hidden/i what layer i-1 gives
  last_hidden_state f32 (B,P,W)        SigLIP's is after post_layernorm, CLIP's is hidden/L
  pooler_output f32 (B,W)              CLIP: post_layernorm of the class token; SigLIP: its attention head, absent without one
  cotangent f32 (B,P,W), grad/<name>   gradients of sum(hidden/(L-1) * cotangent); what lies behind that layer has none
of `clip`, both towers:
  pixel_values, input_ids i32 (B,8)    padded with the end-of-text id, the highest, as CLIP's tokenizer does
  image_embeds, text_embeds f32 (B,D)  of length 1
  logits_per_image f32 (B,B), loss f32 (1); all in f32, because the text tower's causal mask overflows in f64

Needs `pip install torch 'transformers<5' safetensors`. Under Transformers 5 it checks and writes config.v5.json, as make_decoder_fixtures.py.
Usage: tests/oracle/make_vision_fixtures.py"""
import shutil

import torch
import transformers as HF

import model_fixtures as mf
from model_fixtures import OUT

B, SIZE, PATCH, W, D, V, TEXT = 2, 8, 2, 16, 12, 48, 8
TOWER = dict(hidden_size=W, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4)
VISION = dict(**TOWER, image_size=SIZE, patch_size=PATCH)
TOWERS = {
    "clip-vision": (HF.CLIPVisionModel, HF.CLIPVisionConfig, dict(hidden_act="quick_gelu", projection_dim=D)),
    "siglip-vision": (HF.SiglipVisionModel, HF.SiglipVisionConfig, {}),
    "siglip-vision-headless": (HF.SiglipVisionModel, HF.SiglipVisionConfig, dict(vision_use_head=False)),
}


def pictures(seed):
    return torch.randn(B, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def outputs(model, pixels):
    """Everything but the gradients; the second value is the layer the gradients start from."""
    out = model(pixel_values=pixels.double(), output_hidden_states=True)
    found = {"pixel_values": pixels} | {f"hidden/{i}": h for i, h in enumerate(out.hidden_states)}
    found["last_hidden_state"] = out.last_hidden_state
    if out.pooler_output is not None:
        found["pooler_output"] = out.pooler_output
    return found, out.hidden_states[-2]


def make_tower(name):
    kind, config, fields = TOWERS[name]
    model = mf.randomise(kind._from_config(config(**VISION, **fields), attn_implementation="eager"), 1).double().eval()
    shutil.rmtree(OUT / name, ignore_errors=True)
    mf.save_pretrained(model, OUT / name)
    found, chosen = outputs(model, pictures(2))
    found["cotangent"] = torch.randn(chosen.shape, generator=torch.Generator().manual_seed(3))
    (chosen * found["cotangent"].double()).sum().backward()
    stored = mf.load_file(OUT / name / "model.safetensors")
    found |= {f"grad/{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert all(n.removeprefix("grad/") in stored for n in found if n.startswith("grad/"))
    print(f"{name}: {mf.save_expected(OUT / name, found)} bytes, {len(stored)} tensors, last {found['last_hidden_state'][0, 0, :3].tolist()}")


def make_clip():
    text = dict(**TOWER, vocab_size=V, max_position_embeddings=TEXT, hidden_act="quick_gelu", bos_token_id=V - 2, eos_token_id=V - 1, pad_token_id=1)
    config = HF.CLIPConfig(text_config=text, vision_config=VISION | dict(hidden_act="quick_gelu"), projection_dim=D)
    model = mf.randomise(HF.CLIPModel._from_config(config, attn_implementation="eager"), 4)
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
    model = model.eval()
    shutil.rmtree(OUT / "clip", ignore_errors=True)
    mf.save_pretrained(model, OUT / "clip")
    ids = torch.full((B, TEXT), V - 1)
    for row, length in enumerate((6, 3)):
        words = torch.randint(2, V - 2, (length,), generator=torch.Generator().manual_seed(5 + row))
        ids[row, :length + 1] = torch.cat([torch.tensor([V - 2]), words])
    found = clip_outputs(model, ids, pictures(7))
    print(f"clip: {mf.save_expected(OUT / 'clip', found)} bytes, logits {found['logits_per_image'].tolist()}")


def clip_outputs(model, ids, pixels):
    out = model.float()(input_ids=ids, pixel_values=pixels, return_loss=True)
    return {"input_ids": ids, "pixel_values": pixels, "image_embeds": out.image_embeds, "text_embeds": out.text_embeds,
            "logits_per_image": out.logits_per_image, "loss": out.loss.view(1)}


def check_with_v5(name):
    kind = HF.CLIPModel if name == "clip" else TOWERS[name][0]
    model, expected = mf.load_again(kind, OUT / name)
    with torch.no_grad():
        if name == "clip":
            found = clip_outputs(model, expected["input_ids"].long(), expected["pixel_values"])
        else:
            found, _ = outputs(model, expected["pixel_values"])
    worst = max((v - expected[n]).abs().max().item() for n, v in found.items())
    print(f"{name}: outputs differ by {worst:.2e} at most, names that differ: {mf.write_v5_config(kind, OUT / name)}")
    assert worst < 1e-4


if __name__ == "__main__":
    for name in TOWERS | {"clip": None}:
        if mf.IS_V5:
            check_with_v5(name)
        else:
            make_clip() if name == "clip" else make_tower(name)
