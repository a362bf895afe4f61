"""
Reads a feedback file with Hugging Face datasets and prepares it with TRL's own KTOTrainer._prepare_dataset, as training with
KTOTrainer would; prints {"loading", "seconds", "cpu", "rows", "tokens", "peak"} as JSON: the seconds it takes to load the tokenizer, and all
after that. Importing the libraries is in neither.

    python trl_prepare.py --tokenizer FOLDER --data rows.jsonl [--num-proc 2]
"""

import argparse
import json
import resource
import tempfile
import time
from types import SimpleNamespace

from datasets import disable_progress_bars, load_dataset
from transformers import AutoTokenizer
from trl import KTOConfig, KTOTrainer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--num-proc", type=int)
    options = parser.parse_args()
    disable_progress_bars()
    loaded = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(options.tokenizer)
    loading = time.perf_counter() - loaded
    with tempfile.TemporaryDirectory() as cache:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        started = usage.ru_utime + usage.ru_stime
        began = time.perf_counter()
        dataset = load_dataset("json", data_files=options.data, split="train", cache_dir=cache)
        config = KTOConfig(
            output_dir=cache,
            max_length=2048,
            bf16=False,
            use_cpu=True,
            per_device_train_batch_size=32,
            dataset_num_proc=options.num_proc,
        )
        trainer = SimpleNamespace(
            _tokenizer=tokenizer, calculate_KL=True, desirable_weight=1.0, undesirable_weight=1.0
        )
        dataset = KTOTrainer._prepare_dataset(trainer, dataset, tokenizer, config, "train")
        seconds = time.perf_counter() - began
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(usage.ru_utime + usage.ru_stime for usage in usages) - started
        tokens = sum(len(p) + len(c) for p, c in zip(dataset["prompt_ids"], dataset["completion_ids"]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"loading": loading, "seconds": seconds, "cpu": cpu, "rows": len(dataset), "tokens": tokens, "peak": peak}))


main()
