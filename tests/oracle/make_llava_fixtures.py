#!/usr/bin/env python3
"""Writes tests/models/fixtures/{llava,llava-original,moe-llava-phi}: tiny models that see, in the three layouts such checkpoints come in.

llava            Transformers' LlavaForConditionalGeneration: CLIP tower, two-layer projector, Llama. In input_ids every image is
                 image_token_index as often as it has patches (4), as the processor writes it.
llava-original   the same weights under the names and config.json of LLaVA-1.5's own repository. That config.json does not describe the
                 tower: mm_vision_tower names a directory, here the one inside. input_ids hold one -200 per image.
moe-llava-phi    MoE-LLaVA's last stage: the trunk of make_moe_fixtures.py, model.image_tower, model.mm_projector.image_spatial_proj;
                 nothing is dropped, the second expert is the one with the second largest logit. Also its own tower in a directory inside.

Sequence 0 shows one picture, sequence 1 two; expected.safetensors as in model_fixtures.py with
  pixel_values f32 (3,3,8,8)      in the order in which they are mentioned
  image_features f32 (3,4,W)      what the projector gives (llava)
  lengths i32 (2)                 of input_ids
  logits f32 (2,T,V), spliced_lengths i32 (2)   counted with 4 places per image, 0 behind them
  spliced_labels i32 (2,T)        labels where images take their places (where input_ids hold -200)
  grad/*, losses                  of the projector and the language model; the tower is frozen. moe-llava-phi: of projector and routers, no losses
  generated i32 (1,P+12)          the first P places of sequence 0, up to two words after its picture, and 12 greedy words (llava)
  l_aux f32 (2), loss             moe-llava-phi routes sequence 1 only, (1,T): DeepSpeed would route the padding of a batch too

Needs `pip install torch 'transformers<5' safetensors`. Under Transformers 5 it checks `llava` and writes config.v5.json, as
make_decoder_fixtures.py. Usage: tests/oracle/make_llava_fixtures.py"""
import shutil

import torch
import torch.nn as nn
import transformers as HF

import make_moe_fixtures as moe
import model_fixtures as mf
from model_fixtures import OUT

V, W, SIDE, PATCH, PLACES, IMAGE = 48, 16, 8, 4, 4, 45
VISION = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, image_size=SIDE, patch_size=PATCH,
              hidden_act="quick_gelu", projection_dim=12)
TEXT = dict(vocab_size=V, hidden_size=W, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64, bos_token_id=1, eos_token_id=2)
SHOWN = [[1, 7, 12, -200, 30, 5, 21, 9], [1, -200, 17, 33, -200, 8, 40, 3, 26]]  # -200: a picture
PROMPT_PLACES = 3 + PLACES + 2


def padded(rows, fill):
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def sequences():
    """-> ids and labels with one -200 per picture, and ids (the picture's id repeated), labels and mask with a place per patch."""
    spread = lambda row, value: [v for i in row for v in ([value] * PLACES if i == -200 else [i])]
    answers = [[-100] * (len(row) - 3) + row[-3:] for row in SHOWN]
    marked = [[-200 if i == -200 else a for i, a in zip(row, answer)] for row, answer in zip(SHOWN, answers)]
    spliced = padded([spread(row, IMAGE) for row in SHOWN], 0)
    mask = padded([[1] * len(spread(row, 0)) for row in SHOWN], 0)
    return padded(SHOWN, 0), padded(answers, -100), spliced, padded([spread(row, -100) for row in marked], -100), mask


def pictures(seed):
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def make_llava():
    config = HF.LlavaConfig(vision_config=HF.CLIPVisionConfig(**VISION), text_config=HF.LlamaConfig(**TEXT), image_token_index=IMAGE,
                            projector_hidden_act="gelu", vision_feature_select_strategy="default", vision_feature_layer=-2,
                            image_seq_length=PLACES)
    _, _, ids, labels, mask = sequences()
    for seed in range(200):
        model = mf.randomise(HF.LlavaForConditionalGeneration._from_config(config, attn_implementation="eager"), seed).double().eval()
        pixels = pictures(seed + 1000)
        prompt = ids[:1, :PROMPT_PLACES]
        step = lambda i: model(input_ids=i, pixel_values=pixels[:1].double(), use_cache=False).logits
        generated, margin = mf.greedy(step, prompt, 12)
        words = generated[0, PROMPT_PLACES:].tolist()
        if margin > 1e-2 and len(set(words)) >= 7 and IMAGE not in words:
            break
    else:
        raise SystemExit("llava: no seed gives a text worth comparing")
    shutil.rmtree(OUT / "llava", ignore_errors=True)
    mf.save_pretrained(model, OUT / "llava")
    logits_of = lambda: model(input_ids=ids, attention_mask=mask, pixel_values=pixels.double()).logits
    logits = logits_of()
    loss = mf.cross_entropy(logits, labels)
    trained = {n: p for n, p in model.named_parameters() if "vision_tower" not in n}
    for name, p in model.named_parameters():
        p.requires_grad_(name in trained)
    mf.cross_entropy(logits_of(), labels).backward()
    stored = mf.load_file(OUT / "llava/model.safetensors")
    tower = model.model.vision_tower(pixels.double(), output_hidden_states=True).hidden_states[-2][:, 1:]
    features = model.model.multi_modal_projector(tower).detach()
    assert_spliced(model, features, logits, mask)
    found = {"input_ids": ids, "lengths": mask.sum(1), "spliced_lengths": mask.sum(1), "labels": labels, "pixel_values": pixels,
             "image_features": features, "logits": logits.detach() * mask[..., None], "loss": loss.detach().view(1), "generated": generated}
    found |= {f"grad/{hub_name(n)}": p.grad.clone() for n, p in trained.items()}
    assert all(n.removeprefix("grad/") in stored for n in found if n.startswith("grad/")), sorted(stored)
    found["losses"] = mf.three_steps(trained.values(), lambda: mf.cross_entropy(logits_of(), labels))
    print(f"llava: seed {seed}, {mf.save_expected(OUT / 'llava', found)} bytes, losses {found['losses'].tolist()}, margin {margin:.3f}, {words}")
    return stored, found


def hub_name(name):
    """The name a parameter has in the file: the module tree was rearranged after the first checkpoints were published."""
    if name.startswith("model.language_model."):
        return name.replace("model.language_model.", "language_model.model.")
    return "language_model." + name if name.startswith("lm_head") else name.removeprefix("model.")


def assert_spliced(model, features, logits, mask):
    """The same logits from words and features put together by hand."""
    taken = 0
    for n, row in enumerate(SHOWN):
        parts = []
        for i in row:
            parts.append(features[taken] if i == -200 else model.get_input_embeddings()(torch.tensor([i])))
            taken += i == -200
        alone = model.lm_head(model.model.language_model(inputs_embeds=torch.cat(parts)[None]).last_hidden_state)
        assert (alone[0] - logits[n, :mask[n].sum()]).abs().max() < 1e-5


def original_name(name):
    names = {"language_model.model.": "model.", "language_model.lm_head": "lm_head", "multi_modal_projector.linear_1": "model.mm_projector.0",
             "multi_modal_projector.linear_2": "model.mm_projector.2", "vision_tower.": "model.vision_tower.vision_tower."}
    for theirs, ours in names.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    raise KeyError(name)


def save_tower(directory, weights):
    """The directory of a CLIPVisionModel inside another: weights by names that start with vision_model."""
    tower = HF.CLIPVisionModel(HF.CLIPVisionConfig(**VISION))
    tower.load_state_dict(weights, strict=True)
    mf.save_pretrained(tower, directory / "vision_tower")


# Fields that LLaVA-1.5 and MoE-LLaVA have in common.
MM_FIELDS = dict(freeze_mm_mlp_adapter=False, image_aspect_ratio="pad", mm_hidden_size=VISION["hidden_size"], mm_use_im_patch_token=False,
                 mm_use_im_start_end=False, mm_vision_select_feature="patch", mm_vision_select_layer=-2, tune_mm_mlp_adapter=False,
                 use_mm_proj=True)


def make_original(stored, found):
    ids, labels, _, spliced_labels, mask = sequences()
    config = dict(architectures=["LlavaLlamaForCausalLM"], model_type="llava_llama", hidden_act="silu", initializer_range=0.02, rms_norm_eps=1e-6,
                  pad_token_id=0, rope_scaling=None, tie_word_embeddings=False, use_cache=True, tokenizer_padding_side="right",
                  tokenizer_model_max_length=64, mm_vision_tower="vision_tower", mm_projector_type="mlp2x_gelu", mm_projector_lr=None,
                  torch_dtype="bfloat16", transformers_version="4.37.2") | TEXT | MM_FIELDS
    directory = OUT / "llava-original"
    shutil.rmtree(directory, ignore_errors=True)
    mf.save_by_hand(directory, config, {original_name(n): t for n, t in stored.items()})
    save_tower(directory, {n.removeprefix("vision_tower."): t for n, t in stored.items() if n.startswith("vision_tower.")})
    same = {n: found[n] for n in ("pixel_values", "logits", "loss", "spliced_lengths")}
    lengths = torch.tensor([len(row) for row in SHOWN])
    size = mf.save_expected(directory, same | {"input_ids": ids, "lengths": lengths, "labels": labels, "spliced_labels": spliced_labels})
    print(f"llava-original: {size} bytes")


def make_moe_llava():
    ids, labels, spliced_ids, spliced_labels, mask = (t[1:] for t in sequences())
    for seed in range(500):
        trunk, config = moe.phi()
        mixtures = moe.put_experts(trunk, (2.0, 2.0))
        tower = HF.CLIPVisionModel._from_config(HF.CLIPVisionConfig(**VISION), attn_implementation="eager")
        projector = nn.ModuleDict({"image_spatial_proj": nn.Sequential(nn.Linear(VISION["hidden_size"], W), nn.GELU(), nn.Linear(W, W))})
        for part, module in enumerate((trunk, tower, projector)):
            mf.randomise(module, 10 * seed + part).double().train()
        pixels = pictures(seed + 2000)[1:]
        features = projector["image_spatial_proj"](tower(pixels.double(), output_hidden_states=True).hidden_states[-2][:, 1:].detach())
        embedded = trunk.model.embed_tokens(spliced_ids).masked_scatter((spliced_ids == IMAGE)[..., None], features)
        logits = trunk(inputs_embeds=embedded, use_cache=False).logits
        if min(m.margin for m in mixtures) > 1e-2 and not any(m.dropped for m in mixtures):
            break
    else:
        raise SystemExit("moe-llava-phi: no seed gives decisions that are clear enough")
    l_aux = torch.stack([m.l_aux for m in mixtures])
    loss = mf.cross_entropy(logits, spliced_labels) + 0.01 * l_aux.sum()
    loss.backward()
    state = trunk.state_dict() | {"model.mm_projector." + n: t for n, t in projector.state_dict().items()}
    tower_state = {n: t for n, t in tower.state_dict().items() if "position_ids" not in n}
    state |= {"model.image_tower.image_tower." + n: t for n, t in tower_state.items()}
    fields = MM_FIELDS | dict(mm_image_tower="vision_tower", mm_video_tower=None, image_projector_type="mlp2x_gelu", video_projector_type="linear",
                              tokenizer_padding_side="right", pad_token_id=0, mm_projector_lr=None)
    directory = OUT / "moe-llava-phi"
    shutil.rmtree(directory, ignore_errors=True)
    mf.save_by_hand(directory, config | fields | moe.moe_fields(2.0, ["fc1", "fc2", "wg"]), state)
    save_tower(directory, tower_state)
    found = {"pixel_values": pixels, "input_ids": ids, "labels": labels, "spliced_labels": spliced_labels, "spliced_lengths": mask.sum(1),
             "lengths": torch.tensor([len(SHOWN[1])]), "logits": logits, "loss": loss.view(1), "l_aux": l_aux, "image_features": features}
    found |= {f"grad/model.mm_projector.{n}": p.grad for n, p in projector.named_parameters()}
    found |= {f"grad/{n}": p.grad for n, p in trunk.named_parameters() if n.endswith("gate.wg.weight")}
    print(f"moe-llava-phi: seed {seed}, {mf.save_expected(directory, found)} bytes, loss {loss.item():.6f}, l_aux {l_aux.tolist()}, closest "
          f"decision {min(m.margin for m in mixtures):.4f}")


def check_with_v5():
    model, expected = mf.load_again(HF.LlavaForConditionalGeneration, OUT / "llava")
    _, _, ids, _, mask = sequences()
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, pixel_values=expected["pixel_values"].double()).logits
    worst = ((logits - expected["logits"]) * mask[..., None]).abs().max().item()
    print(f"llava: logits differ by {worst:.2e} at most, names that differ: {mf.write_v5_config(type(model), OUT / 'llava')}")
    assert worst < 1e-4


if __name__ == "__main__":
    if mf.IS_V5:
        check_with_v5()
    else:
        make_original(*make_llava())
        make_moe_llava()
