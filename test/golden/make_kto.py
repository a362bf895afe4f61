"""Writes kto/: TRL's KTO loss and gradients on eight rows, and transformers' language-model loss on the same rows."""

import json
import tempfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from datasets import Dataset
from random_llama import EOS, LLAMA3_ROPE, VOCABULARY, fresh_folder, random_llama, random_tokens
from safetensors.torch import save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import KTOConfig, KTOTrainer

SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "tie_word_embeddings": True,
    "rope_parameters": LLAMA3_ROPE,
}
# How far the reference is from the policy: log-ratios of rows of up to about five.
REFERENCE_NOISE = 0.08
# Prompt of each row, by number: some rows share one.
PROMPT_OF_ROW = (0, 0, 1, 2, 2, 2, 3, 4)
PROMPT_LENGTHS = (7, 4, 12, 1, 9)
COMPLETION_LENGTHS = (5, 9, 3, 14, 1, 6, 11, 8)  # before the EOS that TRL adds
LABELS = (True, False, True, True, False, False, True, False)
SETTINGS = {
    "a": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
    "b": {"beta": 0.5, "desirable_weight": 1.5, "undesirable_weight": 0.7},
    "c": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
}
# Here policy and reference change places, so the mean log-ratio of the mismatched rows is negative, and clamped.
SWAPPED = {"c"}


def main() -> None:
    torch.set_num_threads(1)
    folder = fresh_folder("kto")
    write_models(folder)
    texts = texts_of_rows()
    expected, gradients = {}, {}
    for name, setting in SETTINGS.items():
        models = ("reference", "policy") if name in SWAPPED else ("policy", "reference")
        setting = setting | dict(zip(("policy", "reference"), models))
        rows, expected[name], found = run_trl(folder, texts, setting)
        gradients |= {f"{name}/{key}": value for key, value in found.items()}
    (folder / "rows.json").write_text(json.dumps(rows) + "\n")
    expected["sft"], found = run_language_model_loss(folder, rows)
    gradients |= {f"sft/{key}": value for key, value in found.items()}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    save_file(gradients, folder / "gradients.safetensors")


def write_models(folder: Path) -> None:
    model = random_llama(4, **SHAPE)
    model.save_pretrained(folder / "policy")
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=REFERENCE_NOISE)
    model.save_pretrained(folder / "reference")


def texts_of_rows() -> Dataset:
    """Rows as text, since TRL takes no token ids: token 17 is the word t17."""
    generator = torch.Generator().manual_seed(6)
    prompts = [words(random_tokens(length, generator)) for length in PROMPT_LENGTHS]
    completions = [" " + words(random_tokens(length, generator)) for length in COMPLETION_LENGTHS]
    return Dataset.from_dict(
        {"prompt": [prompts[i] for i in PROMPT_OF_ROW], "completion": completions, "label": list(LABELS)}
    )


def words(ids: list[int]) -> str:
    return " ".join(f"t{i}" for i in ids)


def word_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": EOS} | {f"t{i}": i for i in range(3, VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def load(folder: Path) -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def run_trl(folder: Path, texts: Dataset, setting: dict) -> tuple[list[dict], dict, dict[str, torch.Tensor]]:
    """Rows as TRL feeds them to the model, what it computes of them, and the gradient of its loss."""
    policy, reference = load(folder / setting["policy"]), load(folder / setting["reference"])
    with tempfile.TemporaryDirectory() as output:
        options = {key: setting[key] for key in ("beta", "desirable_weight", "undesirable_weight")}
        config = KTOConfig(
            output, **options, per_device_train_batch_size=len(texts), use_cpu=True, bf16=False, report_to="none"
        )
        trainer = KTOTrainer(policy, reference, config, train_dataset=texts, processing_class=word_tokenizer())
        (batch,) = trainer.get_train_dataloader()
        policy.train()
        loss, losses = loss_and_its_parts(trainer, policy, batch)
        loss.backward()
        metrics = {key: values[-1] for key, values in trainer._metrics["train"].items()}
        policy_logps, mismatched_policy_logps = trainer.compute_ref_log_probs(policy, batch)
        reference_logps, mismatched_reference_logps = trainer.compute_ref_log_probs(reference, batch)
    rewards = setting["beta"] * (policy_logps - reference_logps)
    expected = setting | {
        "policy_logps": policy_logps.tolist(),
        "reference_logps": reference_logps.tolist(),
        "mismatched_policy_logps": mismatched_policy_logps.tolist(),
        "mismatched_reference_logps": mismatched_reference_logps.tolist(),
        "kl": metrics["kl"],
        "losses": in_row_order(losses, batch["label"]).tolist(),
        "loss": loss.item(),
        "rewards": rewards.tolist(),
        "metrics": {key: value for key, value in metrics.items() if key.startswith(("rewards/", "logps/"))},
    }
    check(expected, mismatched_policy_logps - mismatched_reference_logps)
    return rows_of(batch), expected, gradients_of(policy)


def loss_and_its_parts(
    trainer: KTOTrainer, policy: LlamaForCausalLM, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """TRL's loss, and the losses of rows that it averages, which it does not return: caught where it calls nanmean."""
    averaged = []
    nanmean = torch.Tensor.nanmean

    def remember(losses: torch.Tensor) -> torch.Tensor:
        averaged.append(losses.detach())
        return nanmean(losses)

    with patch.object(torch.Tensor, "nanmean", remember):
        loss = trainer.compute_loss(policy, batch)
    (losses,) = averaged
    return loss, losses


def in_row_order(losses: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """TRL puts the desirable rows before the undesirable ones."""
    order = torch.cat([labels.nonzero(), (~labels).nonzero()]).view(-1)
    return torch.empty_like(losses).index_copy_(0, order, losses)


def check(expected: dict, mismatched_log_ratios: torch.Tensor) -> None:
    """Rewards and KL are those of TRL's own metrics; the KL is clamped where it is meant to be."""
    labels, rewards = torch.tensor(LABELS), torch.tensor(expected["rewards"])
    mean = mismatched_log_ratios.mean().item()
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)
    close(rewards[labels].mean().item(), expected["metrics"]["rewards/chosen"])
    close(rewards[~labels].mean().item(), expected["metrics"]["rewards/rejected"])
    close(max(0.0, mean), expected["kl"])
    assert (mean < 0) == (expected["policy"] == "reference"), f"the mean log-ratio is {mean}: take another seed"


def rows_of(batch: dict[str, torch.Tensor]) -> list[dict]:
    def ids(prefix: str, row: int, completion: int) -> list[int]:
        here = (batch[f"{prefix}attention_mask"][row] == 1) & (batch[f"{prefix}completion_mask"][row] == completion)
        return batch[f"{prefix}input_ids"][row][here].tolist()

    rows = []
    for i, label in enumerate(batch["label"].tolist()):
        assert ids("", i, 0) == ids("KL_", i, 0)
        row = {"prompt": ids("", i, 0), "completion": ids("", i, 1), "label": label, "mismatched": ids("KL_", i, 1)}
        rows.append(row)
    return rows


def run_language_model_loss(folder: Path, rows: list[dict]) -> tuple[dict, dict[str, torch.Tensor]]:
    """Mean negative log-likelihood of the completion tokens of all rows, by transformers' own loss."""
    policy = load(folder / "policy")
    longest = max(len(row["prompt"] + row["completion"]) for row in rows)
    ids = torch.full((len(rows), longest), EOS)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for i, row in enumerate(rows):
        start, end = len(row["prompt"]), len(row["prompt"] + row["completion"])
        ids[i, :end] = torch.tensor(row["prompt"] + row["completion"])
        mask[i, :end] = 1
        labels[i, start:end] = ids[i, start:end]
    loss = policy(ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    return {"loss": loss.item(), "tokens": int((labels != -100).sum())}, gradients_of(policy)


def gradients_of(model: LlamaForCausalLM) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


if __name__ == "__main__":
    main()
