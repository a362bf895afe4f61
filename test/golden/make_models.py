"""Writes models/: random Llama models as transformers saves them, with its own logits, greedy continuations and gradients."""

import json
from pathlib import Path

import torch
from make_architectures import PROMPT_LENGTH, completion, continuation
from random_llama import HERE, LLAMA3_ROPE, fresh_folder, random_llama, random_tokens
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
ROW_LENGTHS = (48, 17)
PROMPT_LENGTHS = (9, 17)


def main() -> None:
    torch.set_num_threads(1)
    write("llama2", random_llama(2, **SHAPE, num_key_value_heads=4, rms_norm_eps=1e-5))
    write(
        "llama3",
        random_llama(
            3,
            **SHAPE,
            num_key_value_heads=2,
            head_dim=16,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            rope_parameters=LLAMA3_ROPE,
        ),
    )
    write_old_style_config("llama3")
    write("llama1-sharded", random_llama(1, **SHAPE, attention_bias=True, rms_norm_eps=1e-6), max_shard_size="40KB")


def write(name: str, model: LlamaForCausalLM, **saving) -> None:
    folder = fresh_folder(f"models/{name}")
    model.save_pretrained(folder, **saving)
    loaded = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(0)
    rows = [random_tokens(length, generator) for length in ROW_LENGTHS]
    write_logits(folder, loaded, rows)
    write_greedy(folder, loaded, generator)
    gradient = {"prompt_length": PROMPT_LENGTH, **completion(loaded, rows[0])}
    (folder / "gradient.json").write_text(json.dumps(gradient, indent=1) + "\n")


def write_logits(folder: Path, model: LlamaForCausalLM, rows: list[list[int]]) -> None:
    tensors = {}
    for i, row in enumerate(rows):
        tensors[f"row{i}"] = torch.tensor(row)
        with torch.no_grad():
            tensors[f"logits{i}"] = model(torch.tensor([row])).logits[0].contiguous()
    save_file(tensors, folder / "logits.safetensors")


def write_greedy(folder: Path, model: LlamaForCausalLM, generator: torch.Generator) -> None:
    cases = []
    for length in PROMPT_LENGTHS:
        while (tokens := continuation(model, prompt := random_tokens(length, generator))) is None:
            pass  # a choice is too close, or it ends: another prompt
        cases.append({"prompt": prompt, "continuation": tokens})
    (folder / "greedy.json").write_text(json.dumps(cases) + "\n")


def write_old_style_config(name: str) -> None:
    """The same config in the spelling of transformers 4: rope_theta and rope_scaling at the top level."""
    folder = HERE / "models" / name
    config = json.loads((folder / "config.json").read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    (folder / "config.old-style.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
