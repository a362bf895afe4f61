"""
Greedy replies by transformers' generate() to prompts of token ids; prints one JSON line a repeat. Padding on the left, the cache on, scaled dot-product
attention: what transformers' documentation advises for batches.

    python transformers_generate.py --model DIR --prompts FILE --new-tokens N --dtype float32 --batch 64 --threads T
"""

import argparse
import json
import time

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--new-tokens", type=int, required=True)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--implementation", default="sdpa")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    prompts = json.load(open(arguments.prompts))
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=getattr(torch, arguments.dtype), attn_implementation=arguments.implementation
    ).eval()

    def reply(batch: list[list[int]], count: int) -> list[list[int]]:
        longest = max(map(len, batch))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in batch])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in batch])
        out = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=count, min_new_tokens=count, pad_token_id=0
        )
        return out[:, longest:].tolist()

    with torch.inference_mode():
        reply(prompts[:2], 4)
        began = time.perf_counter()
        # sorted by length, so that rows of a batch need little padding: the usual advice
        order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
        replies: dict[int, list[int]] = {}
        for start in range(0, len(order), arguments.batch):
            part = order[start : start + arguments.batch]
            replies.update(zip(part, reply([prompts[i] for i in part], arguments.new_tokens)))
        seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "tokens": len(prompts) * arguments.new_tokens, "replies": [replies[i] for i in range(len(prompts))]}))


main()
