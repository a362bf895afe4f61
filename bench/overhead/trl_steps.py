"""
KTO steps by TRL's KTOTrainer on rows of token ids; prints one JSON line. TRL's defaults but for what makes it faster or
comparable: reference computed beforehand, no gradient checkpointing, float32, constant learning rate, nothing logged.

    python trl_steps.py --model DIR --rows FILE --steps N --warmup M
"""

import argparse
import json
import tempfile
import time

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import KTOConfig, KTOTrainer


class RecordingTrainer(KTOTrainer):
    """Keeps the loss of each step, as a tensor: reading it would wait for it, and logging it would cost more."""

    losses: list[torch.Tensor]

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.detach())
        return loss


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_, **__) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warmup", type=int, required=True, help="steps before the clock starts, at least 1")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = Clock()
    with tempfile.TemporaryDirectory() as output:
        trainer = make_trainer(options, output, clock)
        trainer.remove_callback(PrinterCallback)  # it writes to stdout
        trainer.losses = []
        trainer.train()
    seconds = clock.ends[-1] - clock.ends[options.warmup - 1]
    losses = [loss.item() for loss in trainer.losses]
    print(json.dumps({"steps_per_second": options.steps / seconds, "seconds": seconds, "losses": losses}))


def make_trainer(options: argparse.Namespace, output: str, clock: Clock) -> RecordingTrainer:
    config = KTOConfig(
        output,
        beta=0.1,
        learning_rate=1e-4,
        lr_scheduler_type="constant",
        per_device_train_batch_size=8,
        max_steps=options.warmup + options.steps,
        precompute_ref_log_probs=True,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return RecordingTrainer(
        AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32),
        args=config,
        train_dataset=texts_of(options.rows),
        processing_class=AutoTokenizer.from_pretrained(options.model),
        callbacks=[clock],
    )


def texts_of(file: str) -> Dataset:
    """The rows as text, without the EOS, which TRL adds."""
    rows = [json.loads(line) for line in open(file)]
    return Dataset.from_list(
        [
            {
                "prompt": words(row["prompt_ids"]),
                "completion": " " + words(row["completion_ids"][:-1]),
                "label": row["label"],
            }
            for row in rows
        ]
    )


def words(ids: list[int]) -> str:
    return " ".join(f"t{i}" for i in ids)


if __name__ == "__main__":
    main()
