"""PEFT's side of run.mjs, for each folder given: loads the adapter that Prospect trained and compares logits and merged weights with what Prospect
computed; then trains an adapter of the same configuration, and writes it with what PEFT computes into `peft/` below. Prints a JSON list."""

import json
import os
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

STEPS = int(os.environ["STEPS"])


def load(base: str):
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a.float() - b.float()).abs().max().item()


@torch.no_grad()
def logits_of(model, tokens: torch.Tensor) -> torch.Tensor:
    return model(tokens.unsqueeze(0)).logits[0].contiguous()


def into_peft(folder: Path, base: str) -> dict:
    prospect = load_file(folder / "prospect.safetensors")
    adapted = PeftModel.from_pretrained(load(base), folder).eval()
    logits = logits_of(adapted, prospect["tokens"].long()).flatten()
    merged = adapted.merge_and_unload().state_dict()
    ours = {name.removeprefix("merged/"): value for name, value in prospect.items() if "/" in name}
    tied = {"lm_head.weight"} if adapted.config.tie_word_embeddings else set()
    assert ours.keys() == merged.keys() - tied, ours.keys() ^ merged.keys()
    return {
        "logits": apart(logits, prospect["logits"]),
        "merged": max(apart(value, merged[name]) for name, value in ours.items()),
    }


def from_peft(folder: Path, base: str) -> dict:
    settings = LoraConfig.from_pretrained(folder).to_dict() | {
        "inference_mode": False,
        "target_modules": json.loads((folder / "targets.json").read_text()),
    }
    tokens = load_file(folder / "prospect.safetensors")["tokens"].long()
    torch.manual_seed(3)
    model = get_peft_model(load(base), LoraConfig(**settings))
    rows = torch.randint(3, model.config.vocab_size, (6, 20))
    before = logits_of(model, tokens)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    fresh = {name: p.detach().clone() for name, p in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        model(rows, labels=rows).loss.backward()
        optimizer.step()
    assert all(not torch.equal(p, fresh[name]) for name, p in trained.items()), "a part was never trained"
    model.save_pretrained(folder / "peft", save_embedding_layers=False)
    loaded = PeftModel.from_pretrained(load(base), folder / "peft").eval()
    logits = logits_of(loaded, tokens)
    merged = {f"merged/{name}": value.clone() for name, value in loaded.merge_and_unload().state_dict().items()}
    save_file({"logits": logits, **merged}, folder / "peft" / "peft.safetensors")
    return {"moved": apart(logits, before)}


torch.set_num_threads(1)
results = []
for folder in map(Path, sys.argv[1:]):
    base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    results.append(into_peft(folder, base) | from_peft(folder, base))
print(json.dumps(results))
