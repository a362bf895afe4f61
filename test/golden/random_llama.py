"""Small random Llama models for the golden numbers."""

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
VOCABULARY = 96
EOS = 2

# With heads of 16 this keeps the first frequency, interpolates the second and divides the rest: every branch is met.
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def random_llama(seed: int, **config) -> LlamaForCausalLM:
    """A float32 model whose norm weights and biases are random too, so that none of them can be left out unseen."""
    torch.manual_seed(seed)
    settings = {"vocab_size": VOCABULARY, "initializer_range": 0.25, "max_position_embeddings": 512} | config
    model = AutoModelForCausalLM.from_config(LlamaConfig(**settings), attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.normal_(1.0, 0.2)
            elif name.endswith(".bias"):
                parameter.normal_(0.0, 0.2)
    return model.eval()


def random_tokens(count: int, generator: torch.Generator) -> list[int]:
    """Token ids that are neither special (0 ... 2) nor out of the vocabulary."""
    return torch.randint(3, VOCABULARY, (count,), generator=generator).tolist()


def fresh_folder(name: str) -> Path:
    """An empty folder next to this file."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
