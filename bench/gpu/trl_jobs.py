"""TRL's part of bench/gpu: KTOTrainer for each job of a JSON list, on the same rows in the same order; prints a JSON line a job. See bench.mjs."""

import gc
import json
import sys
import tempfile
import time

import torch
from datasets import Dataset, disable_caching, disable_progress_bars
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
from trl import KTOConfig, KTOTrainer


CUDA = torch.cuda.is_available()  # without, the script can be tried out


class Record(TrainerCallback):
    def __init__(self, began: float) -> None:
        self.began, self.ends, self.steps = began, [], []

    def on_step_end(self, *_, **__) -> None:
        if CUDA:
            torch.cuda.synchronize()
        self.ends.append(time.time() - self.began)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if "loss" in logs:
            self.steps.append({"loss": float(logs["loss"]), "chosen": logs.get("logps/chosen"), "rejected": logs.get("logps/rejected")})


def config_of(job: dict, output: str) -> KTOConfig:
    loading = {"dtype": "bfloat16" if job["method"] == "lora" else "float32", "attn_implementation": job["attention"]}
    liger = {"use_liger_kernel": True} if job["liger"] else {}
    return KTOConfig(
        output,
        beta=0.1,
        learning_rate=1e-5,
        lr_scheduler_type="constant",
        per_device_train_batch_size=job["deviceBatch"],
        gradient_accumulation_steps=job["batch"] // job["deviceBatch"],
        num_train_epochs=1,
        max_length=8192,
        bf16=True,
        use_cpu=not CUDA,
        precompute_ref_log_probs=job["precompute"],
        gradient_checkpointing=job.get("checkpointing", False),
        model_init_kwargs=loading,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
        **liger,
    )


def lora():
    from peft import LoraConfig

    return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def measure(job: dict) -> dict:
    gc.collect()  # the trainer before is in a circle, with its model
    if CUDA:
        torch.cuda.empty_cache()
    record = Record(time.time())
    with tempfile.TemporaryDirectory() as output:
        trainer = KTOTrainer(
            job["model"],
            args=config_of(job, output),
            train_dataset=Dataset.from_list([json.loads(line) for line in open(job["trlRows"])]),
            processing_class=AutoTokenizer.from_pretrained(job["model"]),
            peft_config=lora() if job["method"] == "lora" else None,
            callbacks=[record],
        )
        trainer.remove_callback(PrinterCallback)
        if CUDA:
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
    return {
        "ends": record.ends,
        "steps": record.steps,
        "peakBytes": torch.cuda.max_memory_allocated() if CUDA else 0,
        "peakReservedBytes": torch.cuda.max_memory_reserved() if CUDA else 0,
    }


disable_progress_bars()
disable_caching()
for job in json.load(open(sys.argv[1])):
    try:
        result = measure(job)
    except Exception as error:  # out of memory, an option that this version lacks: the next setting is tried
        result = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    print(json.dumps({"setting": job["name"], **result}), flush=True)
