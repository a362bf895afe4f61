"""Writes peft/: adapters as PEFT saves them, over the models in models/ and kto/, with the logits that it computes, the weights that it
merges, and the gradients of TRL's KTO loss with respect to the parameters of an adapter."""

import json
import tempfile
import warnings
from pathlib import Path

import torch
from make_kto import load, loss_and_its_parts, texts_of_rows, word_tokenizer
from peft import LoraConfig, PeftModel, get_peft_model
from random_llama import HERE, fresh_folder, random_tokens
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from trl import KTOConfig, KTOTrainer

TOKENS = 24
CASES = {
    "lora": ("models/llama3", {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"]}),
    "rslora": (
        "models/llama3",
        {
            "r": 2,
            "lora_alpha": 3,
            "target_modules": "all-linear",
            "use_rslora": True,
            "rank_pattern": {"v_proj": 3, r"layers\.1\.mlp\.down_proj": 1},
            "alpha_pattern": {"q_proj": 5},
        },
    ),
    "dora": (
        "models/llama1-sharded",
        {
            "r": 2,
            "lora_alpha": 5,
            "use_dora": True,
            "target_modules": r".*\.(q_proj|down_proj)",
            "bias": "lora_only",
        },
    ),
    "full": (
        "models/llama1-sharded",
        {
            "r": 2,
            "lora_alpha": 4,
            "target_modules": ["k_proj", "gate_proj"],
            "layers_to_transform": [1],
            "bias": "all",
            "modules_to_save": ["lm_head", "input_layernorm"],
        },
    ),
    "gpt-neox": (
        "architectures/gpt-neox",
        {"r": 2, "lora_alpha": 3, "use_dora": True, "target_modules": "all-linear", "bias": "all"},
    ),
    "phi3": ("architectures/phi3", {"r": 2, "lora_alpha": 3, "target_modules": ["qkv_proj", "gate_up_proj"]}),
    "gemma3": ("architectures/gemma3", {"r": 2, "lora_alpha": 3, "target_modules": ["embed_tokens", "k_proj"]}),
    "embedding": ("models/llama3", {"r": 2, "lora_alpha": 3, "target_modules": ["embed_tokens", "o_proj", "lm_head"]}),
}


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    folder = fresh_folder("peft")
    for name, (base, settings) in CASES.items():
        write_case(folder / name, base, settings)
    write_kto(folder / "kto")


def randomised(base: Path, settings: dict, seed: int) -> PeftModel:
    """An adapter whose parts are all random, so that none of them can be left out unseen."""
    torch.manual_seed(seed)
    model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def save(model: PeftModel, folder: Path, base: str) -> None:
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text()) | {"base_model_name_or_path": f"../../{base}"}
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # PEFT writes a set
    file.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def write_case(folder: Path, base: str, settings: dict) -> None:
    model = randomised(HERE / base, settings, seed=7)
    save(model, folder, base)
    loaded = PeftModel.from_pretrained(load(HERE / base), folder).eval()
    known = loaded.config.vocab_size
    tokens = [token % known for token in random_tokens(TOKENS, torch.Generator().manual_seed(0))]
    with torch.no_grad():
        logits = loaded(torch.tensor([tokens])).logits[0]
    expected = {"tokens": torch.tensor(tokens), "logits": logits.contiguous()}
    if "embed_tokens" not in settings["target_modules"]:  # PEFT's merge changes a tied head along with the embedding
        merged = loaded.merge_and_unload()
        before = load(HERE / base).state_dict()
        expected |= {
            f"merged/{name}": value.contiguous()
            for name, value in merged.state_dict().items()
            if name in before and not torch.equal(value, before[name]) and "layers.0" not in name
        }
    save_file(expected, folder / "expected.safetensors")


def write_kto(folder: Path) -> None:
    """Loss and gradients of TRL on the rows of kto/rows.json, the policy with an adapter, the reference a model of its own."""
    settings = {"r": 2, "lora_alpha": 3, "use_dora": True, "target_modules": "all-linear"}
    policy, reference = randomised(HERE / "kto/policy", settings, seed=8), load(HERE / "kto/reference")
    save(policy, folder, "kto/policy")
    texts = texts_of_rows()
    with tempfile.TemporaryDirectory() as output:
        config = KTOConfig(
            output,
            beta=0.1,
            per_device_train_batch_size=len(texts),
            use_cpu=True,
            bf16=False,
            report_to="none",
            gradient_checkpointing=False,
        )
        trainer = KTOTrainer(policy, reference, config, train_dataset=texts, processing_class=word_tokenizer())
        (batch,) = trainer.get_train_dataloader()
        policy.train()
        loss, _ = loss_and_its_parts(trainer, policy, batch)
        loss.backward()
    gradients = {
        name.replace(".default", "").removesuffix(".weight") if "magnitude" in name else name.replace(".default", ""): p.grad
        for name, p in policy.named_parameters()
        if p.requires_grad
    }
    assert all(value is not None and value.any() for value in gradients.values())
    save_file({"loss": loss.detach()} | gradients, folder / "expected.safetensors")


if __name__ == "__main__":
    main()
