"""Writes gguf.json.gz: what llama.cpp's own converter makes of small models of each architecture, and of the tokenizers in tokenizers/.

LLAMA_CPP is the folder of llama.cpp's source; the source package of llama-cpp-python has it: vendor/llama.cpp. Weights are a formula of name and place
(`weights` below), so that no file of them is needed.
"""

import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
LLAMA_CPP = Path(os.environ["LLAMA_CPP"])
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]

import convert_hf_to_gguf as converter  # noqa: E402
import gguf  # noqa: E402
from conversion import gemma, gptneox, llama, phi, qwen  # noqa: E402, F401  so that their classes are known
from conversion.base import ModelBase, TextModel  # noqa: E402

# As the file has it: transformers 5 renames fields that the converter asks for by their old names.
ModelBase.load_hparams = staticmethod(lambda folder, is_mistral_format=False: json.loads(Path(folder, "config.json").read_text()))

SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96, "max_position_embeddings": 512}
GROUPED = SHAPE | {"num_key_value_heads": 2, "rms_norm_eps": 1e-5}
LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
FACTORS = [1 + i / 4 for i in range(8)]
CONFIGS = {
    "llama": GROUPED | {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "llama3": GROUPED | {"model_type": "llama", "head_dim": 32, "tie_word_embeddings": True, "rope_theta": 5e5, "rope_scaling": LLAMA3_ROPE},
    "llama-linear": GROUPED | {"model_type": "llama", "rope_scaling": {"rope_type": "linear", "factor": 4.0}},
    "mistral": GROUPED | {"model_type": "mistral", "sliding_window": None, "head_dim": 16},
    "qwen2": GROUPED | {"model_type": "qwen2"},
    "qwen3": GROUPED | {"model_type": "qwen3", "head_dim": 32, "tie_word_embeddings": True},
    "gpt_neox": SHAPE | {"model_type": "gpt_neox", "rotary_pct": 0.25, "hidden_act": "gelu", "use_parallel_residual": True, "layer_norm_eps": 1e-5},
    "gemma2": GROUPED | {"model_type": "gemma2", "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16},
    "gemma3_text": GROUPED | {"model_type": "gemma3_text", "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16},
    "phi3": GROUPED | {"model_type": "phi3", "pad_token_id": 0, "sliding_window": 64},
    "phi3-longrope": GROUPED
    | {
        "model_type": "phi3",
        "pad_token_id": 0,
        "sliding_window": 64,
        "original_max_position_embeddings": 256,
        "rope_scaling": {"type": "longrope", "short_factor": FACTORS, "long_factor": [3 * factor for factor in FACTORS]},
    },
}  # fmt: skip
TOKENIZERS = {
    "llama2": ("llama", None),
    "mistral": ("mistral", None),
    "llama3": ("llama", "llama-bpe"),
    "qwen3": ("qwen3", "qwen2"),
    "pythia": ("gpt_neox", "gpt-2"),
    "smollm": ("llama", "smollm"),
}


def main() -> None:
    models = {}
    for name, config in CONFIGS.items():
        for kind in ("f32", "f16", "bf16", "q8_0"):
            file = convert_model(config, kind)
            tensors = {tensor.name: describe(tensor) for tensor in file.tensors}
            metadata = {key: value for key, value in metadata_of(file).items() if not key.startswith("general.")}
            models.setdefault(name, {"config": config, "metadata": metadata, "types": {}})["types"][kind] = tensors
        print(name, len(tensors))
    tokenizers = {name: convert_tokenizer(name, *how) for name, how in TOKENIZERS.items()}
    text = json.dumps({"models": models, "tokenizers": tokenizers}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    (HERE / "gguf.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def weights(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Numbers of 17 bits, exact in float32 and rounded in anything smaller; another sequence for each name."""
    seed = sum(name.encode())
    places = np.arange(int(np.prod(shape)), dtype=np.int64)
    values = ((places * 7919 + seed * 104729) % 100003 - 50001) / 65536
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def convert_model(config: dict, kind: str) -> gguf.GGUFReader:
    with tempfile.TemporaryDirectory() as folder:
        parsed = AutoConfig.for_model(**config)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(parsed)
        stored = {name: tensor for name, tensor in model.state_dict().items() if not (parsed.tie_word_embeddings and name == "lm_head.weight")}
        if config["model_type"] == "gpt_neox":
            stored = {name.replace("lm_head.", "embed_out."): tensor for name, tensor in stored.items()}
        save_file({name: weights(name, tuple(tensor.shape)) for name, tensor in stored.items()}, Path(folder, "model.safetensors"), {"format": "pt"})
        write_config(Path(folder), config, model)
        shutil.copy(HERE / "tokenizers" / "gemma" / "tokenizer.json", folder)  # Gemma's converter looks at its size
        return run(folder, "--outtype", kind, set_vocab=lambda self: None)


def write_config(folder: Path, config: dict, model=None) -> None:
    architecture = type(model).__name__ if model is not None else type(AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))).__name__
    defaults = json.loads(AutoConfig.for_model(**config).to_json_string(use_diff=False))
    spelled = {key: config[key] for key in ("rope_scaling", "rope_theta", "rotary_pct") if key in config}
    (folder / "config.json").write_text(json.dumps(defaults | spelled | {"architectures": [architecture], "torch_dtype": "float32"}))


def convert_tokenizer(name: str, model_type: str, pre: str | None) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        for file in (HERE / "tokenizers" / name).glob("*[!z]"):  # all but what is expected
            shutil.copy(file, folder)
        config = CONFIGS[model_type]
        rows = len(json.loads(Path(folder, "tokenizer.json").read_text())["model"]["vocab"]) + 24
        write_config(Path(folder), config | {"vocab_size": rows})
        TextModel.get_vocab_base_pre = lambda self, tokenizer: pre  # a new vocabulary has no known hash
        file = run(folder, "--vocab-only")
        return {"rows": rows, "metadata": {key: value for key, value in metadata_of(file).items() if key.startswith("tokenizer.")}}


def run(folder: str, *arguments: str, set_vocab=None) -> gguf.GGUFReader:
    original = {}
    if set_vocab is not None:
        for cls in everything(TextModel):
            if "set_vocab" in vars(cls):
                original[cls] = cls.set_vocab
                cls.set_vocab = set_vocab
    output = Path(folder, "out.gguf")
    sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", str(output), *arguments]
    try:
        converter.main()
    finally:
        for cls, method in original.items():
            cls.set_vocab = method
    return gguf.GGUFReader(output)


def everything(cls: type) -> list[type]:
    return [cls, *(found for child in cls.__subclasses__() for found in everything(child))]


def describe(tensor) -> list:
    if tensor.name.startswith("rope_"):  # computed, so the last bit may differ
        return ["f32", [int(tensor.shape[0])], [float(value) for value in tensor.data]]
    digest = hashlib.sha256(np.ascontiguousarray(tensor.data).tobytes()).hexdigest()[:16]
    return [tensor.tensor_type.name.lower(), [int(size) for size in reversed(tensor.shape)], digest]


def metadata_of(file: gguf.GGUFReader) -> dict:
    return {key: field.contents() for key, field in file.fields.items() if not key.startswith("GGUF.")}


if __name__ == "__main__":
    main()
