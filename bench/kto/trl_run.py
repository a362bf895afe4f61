"""
TRL's part of bench/kto: KTOTrainer on the same rows, in the order that gives the same batches and mismatched pairs; prints one JSON line.
Its argument is a job as JSON, see run.mjs. `variant` names the settings: `default` is KTOConfig as it comes; the others are its options
for speed or memory.
"""

import hashlib
import json
import re
import sys
import tempfile
import time
from pathlib import Path

import torch

job = json.loads(sys.argv[1])
torch.set_num_threads(job["threads"])

from datasets import Dataset, disable_caching, disable_progress_bars  # noqa: E402
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback  # noqa: E402
from trl import KTOConfig, KTOTrainer  # noqa: E402

VARIANTS = {
    "default": {},
    "precompute": {"precompute_ref_log_probs": True},
    "fast": {"precompute_ref_log_probs": True, "gradient_checkpointing": False},
    # With LoRA only: the frozen base in bfloat16, as Prospect has it; TRL's default is float32, cast at each use.
    "bf16-base": {
        "precompute_ref_log_probs": True,
        "gradient_checkpointing": False,
        "model_init_kwargs": {"dtype": "bfloat16"},
    },
    "fast-reference": {"gradient_checkpointing": False},
    "compile": {"precompute_ref_log_probs": True, "gradient_checkpointing": False, "torch_compile": True},
    "liger": {"precompute_ref_log_probs": True, "gradient_checkpointing": False, "use_liger_kernel": True},
}


class Record(TrainerCallback):
    """When each step began and ended, and what was logged of it."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.ends: list[float] = []
        self.processor: list[float] = []
        self.steps: list[dict] = []

    def on_step_begin(self, *_, **__) -> None:
        self.began.append(time.time())
        self.processor.append(time.process_time())

    def on_step_end(self, *_, **__) -> None:
        self.ends.append(time.time())
        self.processor[-1] = time.process_time() - self.processor[-1]

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if "loss" in logs:
            self.steps.append(
                {
                    "loss": float(logs["loss"]),
                    "chosen": logs.get("logps/chosen"),
                    "rejected": logs.get("logps/rejected"),
                    "margin": logs.get("rewards/margins"),
                    "kl": logs.get("kl"),
                    "gradNorm": float(logs["grad_norm"]),
                }
            )


def main() -> None:
    disable_progress_bars()
    disable_caching()
    record = Record()
    with tempfile.TemporaryDirectory() as output:
        trainer = make_trainer(output, record)
        trainer.remove_callback(PrinterCallback)  # it writes to stdout
        ready = time.time()
        trainer.train()
    peak = peak_resident()
    seconds = [end - began for began, end in zip(record.began, record.ends)]
    print(
        json.dumps(
            {
                "stepSeconds": seconds,
                "processorSeconds": record.processor,
                "ends": [end - job["started"] for end in record.ends],
                "loopSeconds": record.ends[-1] - ready,
                "peakBytes": peak,
                "steps": record.steps,
                "batches": batches_seen(trainer),
            }
        )
    )


def make_trainer(output: str, record: Record) -> KTOTrainer:
    if job["variant"].startswith("bf16-base") and job["method"] != "lora":
        raise ValueError("bf16-base is for --method lora: trained weights in bfloat16 are another computation")
    config = KTOConfig(
        output,
        beta=0.1,
        learning_rate=job["learningRate"],
        lr_scheduler_type="constant",
        per_device_train_batch_size=job["batch"],
        num_train_epochs=1,
        max_length=8192,
        bf16=job["precision"] == "bf16",
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job["seed"],
        **VARIANTS[job["variant"].removesuffix("-malloc")],
    )
    return KTOTrainer(
        job["model"],  # loaded as float32, TRL's default, but where a variant says otherwise
        args=config,
        train_dataset=Dataset.from_list([json.loads(line) for line in open(job["trlRows"])]),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        peft_config=lora() if job["method"] == "lora" else None,
        callbacks=[record],
    )


def lora():
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def batches_seen(trainer: KTOTrainer) -> list[dict]:
    """For each step, a hash a row over the ids and masks that the collator gave, sorted: matched and mismatched rows; and all its positions."""
    batches = []
    for batch in trainer.get_train_dataloader():
        hashes = {}
        for kind in ["", "KL_"]:
            rows = zip(batch[f"{kind}input_ids"], batch[f"{kind}attention_mask"], batch[f"{kind}completion_mask"])
            hashes[kind] = sorted(row_hash(*row) for row in rows)
        positions = batch["input_ids"].numel() + batch["KL_input_ids"].numel()
        batches.append({"rows": hashes[""], "mismatched": hashes["KL_"], "positions": positions})
    return batches


def row_hash(ids: torch.Tensor, attention: torch.Tensor, completion: torch.Tensor) -> str:
    seen = ids[attention == 1].tolist()
    prompt = len(seen) - int(completion.sum())
    return hashlib.sha256(json.dumps([prompt, *seen], separators=(",", ":")).encode()).hexdigest()[:16]


def peak_resident() -> int:
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024


if __name__ == "__main__":
    main()
