"""Writes rope.json: transformers' own rotary frequencies and amplitudes for settings of real models."""

import json

from random_llama import HERE
from transformers import LlamaConfig, Phi3Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

FACTORS = {"short_factor": [1 + i / 50 for i in range(48)], "long_factor": [1 + i / 2 for i in range(48)]}
QWEN_YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32768}
# name: (head size, max_position_embeddings, rope_parameters, tokens of the row)
SETTINGS = {
    "linear": (64, 2048, {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}, 100),
    "dynamic, within": (128, 2048, {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, 2048),
    "dynamic, beyond": (128, 2048, {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, 5000),
    "llama3": (
        64,
        131072,
        {
            "rope_type": "llama3",
            "rope_theta": 5e5,
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        100,
    ),
    "yarn": (128, 131072, QWEN_YARN, 100),
    "yarn, other bounds": (128, 131072, QWEN_YARN | {"beta_fast": 64.0, "beta_slow": 2.0, "attention_factor": 1.25}, 100),
    "yarn, not truncated": (128, 131072, QWEN_YARN | {"truncate": False}, 100),
    "yarn, two mscales": (64, 163840, QWEN_YARN | {"rope_theta": 1e4, "factor": 40.0, "mscale": 0.707, "mscale_all_dim": 0.5}, 100),
    "longrope, within": (96, 131072, {"rope_type": "longrope", "rope_theta": 1e4, **FACTORS}, 4096),
    "longrope, beyond": (96, 131072, {"rope_type": "longrope", "rope_theta": 1e4, **FACTORS}, 4097),
}


def main() -> None:
    cases = []
    for name, (head_size, positions, rope, tokens) in SETTINGS.items():
        config_class, model_type = (Phi3Config, "phi3") if rope["rope_type"] == "longrope" else (LlamaConfig, "llama")
        shape = {"hidden_size": 2 * head_size, "num_attention_heads": 2, "max_position_embeddings": positions}
        config = config_class(**shape, rope_parameters=dict(rope))
        frequencies, amplitude = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, seq_len=tokens)
        fields = shape | {"model_type": model_type, "vocab_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "rope_parameters": rope}
        cases.append({"name": name, "config": fields, "tokens": tokens, "amplitude": amplitude, "frequencies": frequencies.tolist()})
    (HERE / "rope.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
