"""Loads an adapter that Prospect stored into PEFT and prints how far logits and merged weights are from Prospect's."""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

folder = Path(sys.argv[1])
base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
prospect = load_file(folder / "prospect.safetensors")
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
adapted = PeftModel.from_pretrained(model, folder).eval()
with torch.no_grad():
    logits = adapted(prospect["tokens"].long().unsqueeze(0)).logits[0]
merged = adapted.merge_and_unload().state_dict()
apart = max((value - merged[name.removeprefix("merged/")]).abs().max().item() for name, value in prospect.items() if "/" in name)
print(f"logits at most {(logits - prospect['logits']).abs().max().item():.1e} apart, merged weights {apart:.1e}")
