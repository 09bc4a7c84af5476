"""What the scripts that write tests/models/fixtures share: tiny random models, their directories as Hugging Face writes them, and what a
causal language model is expected to compute.

Weights are rounded to bf16 and stored so; expectations are computed from the rounded values with every parameter and activation in f64.
Transformers keeps f32 islands inside (softmax, RMSNorm, cos and sin of the rotary embedding), hence about 1e-6 of relative doubt.

expected.safetensors of a language model, N = 2 sequences, T = 12 places, V words:
  input_ids i32 (N,T)       right padded with 0
  lengths i32 (N)           only where the sequences differ in length: the attention mask
  labels i32 (N,T)          unshifted: labels[t] is predicted by logits[t-1]; -100 is ignored (prompt, padding, one place in the middle)
  logits f32 (N,T,V)        0 at padding
  loss f32 (1)              mean cross entropy over the labels that count, plus what the family adds
  grad/<name> f32           of every parameter of model.safetensors, for that loss
  losses f32 (4)            before each of three steps of torch.optim.AdamW(lr 1e-2, betas .9 .999, eps 1e-8, weight_decay 0), and after the last
  generated i32 (1,T+12)    the first 5 ids of sequence 0 continued greedily; the end-of-text token does not end it
"""
import copy
import json
import pathlib
import shutil
import tempfile

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
transformers.utils.logging.disable_progress_bar()

OUT = pathlib.Path(__file__).parent.parent / "models/fixtures"
N, T, PROMPT = 2, 12, 5
IS_V5 = int(transformers.__version__.split(".")[0]) >= 5
LIMIT = 120 * 1024  # bytes a directory may have


def randomise(model, seed, std=0.35):
    """Weights large enough that every path matters: matrices around 0, norms around 1, no bias at 0; all exact in bf16."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=g)
            is_norm = any(part in name for part in ("norm", "ln_")) and name.endswith("weight")
            p.copy_((1 + 0.2 * noise if is_norm else std * noise).bfloat16())
    return model


def save_tensors(tensors, path):
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, path, metadata={"format": "pt"})


def save_by_hand(directory, config, state):
    """config.json and model.safetensors of a family Transformers does not have."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_tensors({k: v.bfloat16() for k, v in state.items()}, directory / "model.safetensors")


def save_pretrained(model, directory):
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(directory)  # a copy: the cast also rounds the rotary frequencies


def edit_config(directory, **fields):
    config = json.loads((directory / "config.json").read_text()) | fields
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load_again(kind, directory):
    """The model of a directory in f64, and what it is expected to compute."""
    model = kind.from_pretrained(directory, attn_implementation="eager", dtype=torch.float64).eval()
    return model, load_file(directory / "expected.safetensors")


def write_v5_config(kind, directory):
    """Writes the config.json of a newer Transformers as config.v5.json; returns the tensor names by which its file differs from ours."""
    with tempfile.TemporaryDirectory() as scratch:
        kind.from_pretrained(directory, dtype=torch.bfloat16).save_pretrained(scratch)
        shutil.copy(scratch + "/config.json", directory / "config.v5.json")
        return sorted(set(load_file(scratch + "/model.safetensors")) ^ set(load_file(directory / "model.safetensors")))


def check_size(directory):
    size = sum(f.stat().st_size for f in directory.rglob("*") if f.is_file())
    assert size <= LIMIT, f"{directory.name}: {size} bytes, more than {LIMIT}"
    return size


def batch(vocabulary, seed, lengths):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, vocabulary, (N, T), generator=g)
    labels = ids.clone()
    labels[0, :3], labels[1, :1], labels[0, 7] = -100, -100, -100
    for n, length in enumerate(lengths):
        ids[n, length:], labels[n, length:] = 0, -100
    mask = (torch.arange(T) < torch.tensor(lengths)[:, None]).long()
    return ids, labels, mask


def cross_entropy(logits, labels):
    return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=-100)


def greedy(step, ids, count):
    """Continues ids (1,P) by `count` words; step(ids) are the logits (1,P,V) of the whole sequence."""
    margin = float("inf")
    with torch.no_grad():
        for _ in range(count):
            last = step(ids)[0, -1]
            first, second = last.topk(2).values.tolist()
            margin = min(margin, first - second)
            ids = torch.cat([ids, last.argmax().view(1, 1)], 1)
    return ids, margin


def generation_ok(generated, margin):
    """A greedy text a wrong model would not produce: it does not end in a loop of one or two words, and no choice is close."""
    return margin > 1e-2 and len(set(generated[0, PROMPT:].tolist())) >= 8


def three_steps(parameters, loss):
    """Loss before each of three AdamW steps and after the last."""
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    with torch.no_grad():
        losses.append(loss().item())
    return torch.tensor(losses)


def save_expected(directory, tensors):
    as_stored = lambda v: v.int() if v.dtype == torch.int64 else v.float()
    save_tensors({k: as_stored(v) for k, v in tensors.items()}, directory / "expected.safetensors")
    return check_size(directory)
