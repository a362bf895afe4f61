"""Rates of torch's bfloat16 products at a model's layers, as rates.mjs measures them. Arguments: layers as JSON, tokens, threads, rounds."""

import json
import sys
import time

import torch

layers = json.loads(sys.argv[1])
tokens, threads, rounds = map(int, sys.argv[2:])
torch.set_num_threads(threads)


def fastest(run) -> float:
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best


rates = []
for layer in layers:
    outputs, inputs = layer["outputs"], layer["inputs"]
    x, w, upstream = (torch.randn(*shape).bfloat16() for shape in ((tokens, inputs), (outputs, inputs), (tokens, outputs)))
    times = [fastest(lambda: x @ w.T), fastest(lambda: upstream @ w), fastest(lambda: upstream.T @ x)]
    rates.append([2 * tokens * outputs * inputs / seconds / 1e9 for seconds in times])
print(json.dumps(rates))
