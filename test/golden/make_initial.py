"""Writes initial.json: what transformers' fresh weights are, for each config.json of architectures/: the value of weights that are all one value,
and the rows that are 0 and the standard deviation of the others for those that are random."""

import json

import torch
from random_llama import HERE
from transformers import AutoConfig, AutoModelForCausalLM


def main() -> None:
    torch.manual_seed(0)
    result = {}
    for folder in sorted((HERE / "architectures").iterdir()):
        config = AutoConfig.from_pretrained(folder)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        head = "embed_out" if config.model_type == "gpt_neox" else "lm_head"  # as it is called in files
        result[folder.name] = {name.replace("lm_head", head): describe(value) for name, value in model.named_parameters()}
    (HERE / "initial.json").write_text(json.dumps(result, indent=1) + "\n")


def describe(weights: torch.Tensor) -> dict:
    weights = weights.detach()
    if (weights == weights.flatten()[0]).all():
        return {"constant": weights.flatten()[0].item()}
    zero = (weights == 0).all(dim=1)
    return {"zero_rows": zero.nonzero().flatten().tolist(), "deviation": round(weights[~zero].std().item(), 5)}


if __name__ == "__main__":
    main()
