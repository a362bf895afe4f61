"""Writes config.old-style.json next to each config.json of architectures/: the same model as transformers 4 spells it.

Runs in an environment of its own, with transformers 4.57.1 (torch is not needed):

    python3 -m venv .venv4 && .venv4/bin/pip install transformers==4.57.1
"""

import json
from pathlib import Path

import transformers
from transformers import CONFIG_MAPPING

HERE = Path(__file__).resolve().parent


def main() -> None:
    assert transformers.__version__.startswith("4."), transformers.__version__
    for file in sorted(HERE.glob("architectures/*/config.json")):
        config = json.loads(file.read_text())
        for newer in ("transformers_version", "dtype"):
            config.pop(newer)
        model_type = config.pop("model_type")
        settings = config | old_rope(model_type, config.pop("rope_parameters"))
        old = CONFIG_MAPPING[model_type](**settings, torch_dtype="bfloat16")
        (file.parent / "config.old-style.json").write_text(old.to_json_string(use_diff=True))


def old_rope(model_type: str, rope: dict) -> dict:
    """rope_theta and rope_scaling at the top level, and what single architectures call otherwise."""
    if model_type == "gemma3_text":
        full, local = rope["full_attention"], rope["sliding_attention"]
        return old_rope("", full) | {"rope_local_base_freq": local["rope_theta"]}
    rope = dict(rope)
    theta, share = rope.pop("rope_theta"), rope.pop("partial_rotary_factor", None)
    scaling = None if rope["rope_type"] == "default" else rope
    if model_type == "gpt_neox":
        return {"rotary_emb_base": theta, "rotary_pct": share, "rope_scaling": scaling}
    if model_type == "phi3":
        if scaling is not None:  # transformers 4 knows no other keys here
            scaling = {"type": "longrope", "short_factor": rope["short_factor"], "long_factor": rope["long_factor"]}
        return {"rope_theta": theta, "rope_scaling": scaling, "partial_rotary_factor": 1.0 if share is None else share}
    return {"rope_theta": theta, "rope_scaling": scaling}


if __name__ == "__main__":
    main()
