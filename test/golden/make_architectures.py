"""Writes architectures/: a tiny random model of every architecture as transformers saves it, and what transformers computes with it."""

import json
import sys
from pathlib import Path

import torch
from random_llama import EOS, fresh_folder
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

VOCABULARY = 48
ROW_LENGTHS = (44, 17)
# Of the first row; the rest of it is the completion whose log-probability is summed.
PROMPT_LENGTH = 20
NEW_TOKENS = 32
# Below this margin between the two best logits, rounding could turn a greedy choice.
LEAST_MARGIN = 1e-3

NARROW = {"vocab_size": VOCABULARY, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = NARROW | {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128}
WIDE = NARROW | {"hidden_size": 32, "max_position_embeddings": 128}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.4],
    "long_factor": [1.3, 2.5, 7.0],
    "original_max_position_embeddings": 42,
    "partial_rotary_factor": 0.75,
}
GEMMA_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}


def yarn(**extra) -> dict:
    return {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32} | extra


# Windows and original lengths are shorter than the rows, so that they are met.
MODELS = {
    "mistral": ("mistral", GROUPED | {"sliding_window": 8}, {"max_shard_size": "12KB"}),
    "qwen2": (
        "qwen2",
        WIDE
        | {
            "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "use_sliding_window": True,
            "sliding_window": 8,
            "max_window_layers": 1,
            "rope_parameters": yarn(),
        },
        {},
    ),
    "qwen3": ("qwen3", GROUPED | {"attention_bias": True, "rope_parameters": yarn(mscale=0.7, mscale_all_dim=0.3)}, {}),
    "gpt-neox": ("gpt_neox", WIDE | {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, {}),
    "gpt-neox-serial": (
        "gpt_neox",
        WIDE
        | {
            "use_parallel_residual": False,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "hidden_act": "gelu_new",
            "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0},
        },
        {},
    ),
    "gemma2": (
        "gemma2",
        GROUPED
        | {
            "num_hidden_layers": 3,
            "sliding_window": 8,
            "query_pre_attn_scalar": 11,
            "attn_logit_softcapping": 1.5,
            "final_logit_softcapping": 6.0,
        },
        {},
    ),
    "gemma3": (
        "gemma3_text",
        GROUPED
        | {
            "num_hidden_layers": 3,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "query_pre_attn_scalar": 11,
            "rope_parameters": GEMMA_ROPE,
        },
        {},
    ),
    "phi3": ("phi3", WIDE | {"num_key_value_heads": 2, "sliding_window": 8, "pad_token_id": 0}, {}),
    "phi3-longrope": (
        "phi3",
        WIDE | {"num_key_value_heads": 2, "original_max_position_embeddings": 42, "rope_parameters": LONGROPE, "pad_token_id": 0},
        {"max_shard_size": "12KB"},
    ),
    "gemma": ("gemma", GROUPED, {}),
    "smollm3": (
        "smollm3",
        GROUPED | {"no_rope_layers": [1, 0], "use_sliding_window": True, "sliding_window": 8, "pad_token_id": 0},
        {},
    ),
    "olmo2": ("olmo2", WIDE | {"num_key_value_heads": 2, "pad_token_id": 0}, {}),
    "llama-linear": ("llama", GROUPED | {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}, {}),
    "llama-dynamic": (
        "llama",
        GROUPED
        | {"max_position_embeddings": 42, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}},
        {},
    ),
}


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:] or MODELS  # names on the command line: only those
    for name in wanted:
        model_type, settings, saving = MODELS[name]
        for seed in range(100):
            if write(name, seed, model_type, settings, saving):
                print(f"{name}: seed {seed}")
                break
        else:
            raise SystemExit(f"{name}: a greedy choice is too close with every seed")


def write(name: str, seed: int, model_type: str, settings: dict, saving: dict) -> bool:
    """False where a greedy choice is too close."""
    folder = fresh_folder(f"architectures/{name}")
    random_model(seed, model_type, settings).save_pretrained(folder, **saving)
    # the bfloat16 weights, computed with in float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    rows = [random_tokens(length, generator) for length in ROW_LENGTHS]
    # Where frequencies depend on the length, transformers turns a cache's keys by those of when they came: the replies stay below that length.
    prompts = [rows[0][:9], rows[1][:10]]
    greedy = [continuation(model, prompt) for prompt in prompts]
    if None in greedy:
        return False
    write_logits(folder, model, rows)
    expected = {
        "prompt_length": PROMPT_LENGTH,
        "greedy": [{"prompt": prompt, "continuation": tokens} for prompt, tokens in zip(prompts, greedy)],
        **completion(model, rows[0]),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    return True


def random_model(seed: int, model_type: str, settings: dict):
    """A bfloat16 model whose norm weights and biases are random too, so that none of them can be left out unseen."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **({"initializer_range": 0.25, "eos_token_id": EOS, "bos_token_id": 1} | settings))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                parameter.normal_(0.0, 0.2)
            elif "norm" in name:
                parameter.normal_(1.0, 0.2)
    return model.to(torch.bfloat16)


def random_tokens(count: int, generator: torch.Generator) -> list[int]:
    return torch.randint(3, VOCABULARY, (count,), generator=generator).tolist()


def write_logits(folder: Path, model, rows: list[list[int]]) -> None:
    tensors = {}
    for i, row in enumerate(rows):
        tensors[f"row{i}"] = torch.tensor(row)
        with torch.no_grad():
            tensors[f"logits{i}"] = model(torch.tensor([row])).logits[0].contiguous()
    save_file(tensors, folder / "logits.safetensors")


def completion(model, row: list[int]) -> dict:
    """The summed log-probability of a completion, and the norm of its gradient with respect to each weight."""
    logits = model(torch.tensor([row])).logits[0, PROMPT_LENGTH - 1 : -1]
    targets = torch.tensor(row[PROMPT_LENGTH:])
    logp = logits.log_softmax(-1).gather(1, targets.unsqueeze(1)).sum()
    logp.backward()
    head = "embed_out" if model.config.model_type == "gpt_neox" else "lm_head"  # as it is called in files
    norms = {name.replace("lm_head", head): parameter.grad.norm().item() for name, parameter in model.named_parameters()}
    return {"logp": logp.item(), "gradient_norms": norms}


def continuation(model, prompt: list[int]) -> list[int] | None:
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=0)
    ids = torch.tensor([prompt])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), output_logits=True, return_dict_in_generate=True)
    best = torch.cat(output.logits).topk(2).values
    tokens = output.sequences[0, len(prompt) :].tolist()
    fine = (best[:, 0] - best[:, 1]).min() > LEAST_MARGIN and len(tokens) == NEW_TOKENS and EOS not in tokens and len(set(tokens)) > 4
    return tokens if fine else None


if __name__ == "__main__":
    main()
