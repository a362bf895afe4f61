"""
The same KTO steps as a bare Python loop over torch's operators, in the order of Prospect's calls: what is left of a
trainer when everything that is not the mathematics is gone. Needs torch alone. Prints one JSON line.

    python bare_loop.py --model DIR --rows FILE --steps N --warmup M
"""

import argparse
import json
import math
import struct
import time
from pathlib import Path

import torch
import torch.nn.functional as F

BATCH = 8
BETA = 0.1
LEARNING_RATE = 1e-4
MAX_GRAD_NORM = 1.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warmup", type=int, required=True, help="steps before the clock starts")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = Llama(options.model)
    batches = [*batches_of(options.rows)]
    references = [(model.reference(rows), model.reference(mismatched(rows))) for rows in batches]
    optimizer = torch.optim.AdamW(model.weights.values(), lr=LEARNING_RATE, weight_decay=0.0, foreach=True)
    losses = []
    for step in range(options.warmup + options.steps):
        if step == options.warmup:
            began = time.perf_counter()
        index = step % len(batches)
        losses.append(train_step(model, optimizer, batches[index], *references[index]))
    seconds = time.perf_counter() - began
    print(json.dumps({"steps_per_second": options.steps / seconds, "seconds": seconds, "losses": losses}))


def train_step(model: "Llama", optimizer, rows: list[dict], reference, mismatched_reference) -> float:
    """KTO, Eq. 7 and 8 of arXiv 2402.01306: one update; returns the loss."""
    with torch.no_grad():
        z0 = (model.completion_logps(mismatched(rows)) - mismatched_reference).mean().clamp(min=0)
    sign = torch.tensor([1.0 if row["label"] else -1.0 for row in rows])
    value = torch.sigmoid((model.completion_logps(rows) - reference - z0) * sign * BETA)
    loss = (1 - value).mean()
    loss.backward()
    gradients = [weight.grad for weight in model.weights.values()]
    norm = torch.stack(torch._foreach_norm(gradients)).norm().item()
    torch._foreach_mul_(gradients, min(1.0, MAX_GRAD_NORM / (norm + 1e-6)))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


class Llama:
    """A Llama on a packed stream: rows one after the other, without padding, each attending to itself alone."""

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.head_size = config["hidden_size"] // self.heads
        self.epsilon = config["rms_norm_eps"]
        self.weights = read_safetensors(folder / "model.safetensors")
        for weight in self.weights.values():
            weight.requires_grad_()
        positions = config["max_position_embeddings"]
        theta = config.get("rope_parameters", config)["rope_theta"]
        frequencies = theta ** -(torch.arange(0, self.head_size, 2) / self.head_size)
        angles = torch.outer(torch.arange(positions), frequencies).repeat(1, 2)
        self.cos, self.sin = angles.cos(), angles.sin()
        self.mask = torch.full((128, 128), -math.inf).triu(1)

    def reference(self, rows: list[dict]) -> torch.Tensor:
        with torch.no_grad():
            return self.completion_logps(rows)

    def completion_logps(self, rows: list[dict]) -> torch.Tensor:
        """Sum of the log-probabilities of each row's completion, [rows]."""
        stream = pack(rows)
        states = self.hidden(stream["tokens"], stream["positions"], stream["lengths"])[stream["target_positions"]]
        logits = F.linear(states, self.weights["lm_head.weight"])
        logps = logits.log_softmax(-1).gather(1, stream["targets"].unsqueeze(1)).squeeze(1)
        return torch.zeros(len(rows)).index_add(0, stream["target_rows"], logps)

    def hidden(self, tokens: torch.Tensor, positions: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        rope = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        x = F.embedding(tokens, self.weights["model.embed_tokens.weight"])
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            normed = self.norm(x, f"{prefix}input_layernorm.weight")
            x = x + self.attention(f"{prefix}self_attn.", normed, rope, lengths)
            x = x + self.feed_forward(f"{prefix}mlp.", self.norm(x, f"{prefix}post_attention_layernorm.weight"))
        return self.norm(x, "model.norm.weight")

    def attention(self, prefix: str, x: torch.Tensor, rope, lengths: list[int]) -> torch.Tensor:
        q, k, v = (self.linear(f"{prefix}{name}_proj", x).view(-1, self.heads, self.head_size) for name in "qkv")
        q = rotate(q, *rope) * self.head_size**-0.5
        k = rotate(k, *rope)
        outputs = [self.attend(*parts) for parts in zip(q.split(lengths), k.split(lengths), v.split(lengths))]
        return self.linear(f"{prefix}o_proj", torch.cat(outputs).view(-1, self.heads * self.head_size))

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Causal attention of one row to itself, each [length, heads, head_size]."""
        scores = q.transpose(0, 1).matmul(k.permute(1, 2, 0)) + self.mask[: len(q), : len(q)]
        return scores.softmax(-1).matmul(v.transpose(0, 1)).transpose(0, 1)

    def feed_forward(self, prefix: str, x: torch.Tensor) -> torch.Tensor:
        gate = F.silu(self.linear(f"{prefix}gate_proj", x))
        return self.linear(f"{prefix}down_proj", gate * self.linear(f"{prefix}up_proj", x))

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weights[f"{name}.weight"])

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weights[name]


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def pack(rows: list[dict]) -> dict:
    """Prompts and completions as one stream; a row's last token predicts nothing, and is left out."""
    tokens, positions, lengths, target_positions, targets, target_rows = [], [], [], [], [], []
    for row, (prompt, completion) in enumerate((row["prompt_ids"], row["completion_ids"]) for row in rows):
        length = len(prompt) + len(completion) - 1
        first = len(tokens) + len(prompt) - 1
        target_positions += range(first, first + len(completion))
        targets += completion
        target_rows += [row] * len(completion)
        tokens += prompt + completion[:-1]
        positions += range(length)
        lengths.append(length)
    return {
        "tokens": torch.tensor(tokens),
        "positions": torch.tensor(positions),
        "lengths": lengths,
        "target_positions": torch.tensor(target_positions),
        "targets": torch.tensor(targets),
        "target_rows": torch.tensor(target_rows),
    }


def mismatched(rows: list[dict]) -> list[dict]:
    """Each prompt with the completion of the row before it, as TRL pairs them."""
    return [row | {"completion_ids": rows[i - 1]["completion_ids"]} for i, row in enumerate(rows)]


def batches_of(file: Path):
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    """Float32 tensors of a safetensors file, without its library."""
    data = bytearray(file.read_bytes())
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = torch.frombuffer(data[start:end], dtype=torch.float32).view(entry["shape"]).clone()
    return tensors


if __name__ == "__main__":
    main()
