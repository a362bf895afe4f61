"""A model folder with fresh bfloat16 weights, drawn on the GPU: make_model.py <folder with config.json> (sizes as of transformers' Llama)."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

folder = Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text())
device = "cuda" if torch.cuda.is_available() else "cpu"
generator = torch.Generator(device).manual_seed(0)
width, inner = config["hidden_size"], config["intermediate_size"]
head = width // config["num_attention_heads"]
groups = head * config["num_key_value_heads"]


def normal(*shape: int) -> torch.Tensor:
    values = torch.empty(shape, dtype=torch.bfloat16, device=device)
    return values.normal_(0, config["initializer_range"], generator=generator).cpu()


def layer(i: int) -> dict[str, torch.Tensor]:
    name = f"model.layers.{i}"
    ones = torch.ones(width, dtype=torch.bfloat16)
    return {
        f"{name}.input_layernorm.weight": ones,
        f"{name}.self_attn.q_proj.weight": normal(width, width),
        f"{name}.self_attn.k_proj.weight": normal(groups, width),
        f"{name}.self_attn.v_proj.weight": normal(groups, width),
        f"{name}.self_attn.o_proj.weight": normal(width, width),
        f"{name}.post_attention_layernorm.weight": ones.clone(),
        f"{name}.mlp.gate_proj.weight": normal(inner, width),
        f"{name}.mlp.up_proj.weight": normal(inner, width),
        f"{name}.mlp.down_proj.weight": normal(width, inner),
    }


tensors = {"model.embed_tokens.weight": normal(config["vocab_size"], width)}
for i in range(config["num_hidden_layers"]):
    tensors |= layer(i)
tensors["model.norm.weight"] = torch.ones(width, dtype=torch.bfloat16)
if not config["tie_word_embeddings"]:
    tensors["lm_head.weight"] = normal(config["vocab_size"], width)
partial = folder / "model.safetensors.partial"
save_file(tensors, partial, metadata={"format": "pt"})
partial.rename(folder / "model.safetensors")
