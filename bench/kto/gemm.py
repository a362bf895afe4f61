"""The matrix-multiply peak of the torch in use: best of a few big products, in FLOP/s, by precision, of random operands. Prints one JSON line."""

import json
import sys
import time

import torch

SIZES = [(2048, 2048, 2048), (4096, 2048, 2048), (2048, 1536, 4608), (4096, 4096, 4096)]


def best(dtype: torch.dtype) -> float:
    peak = 0.0
    for m, k, n in SIZES:
        a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
        for _ in range(4):
            began = time.perf_counter()
            a @ b
            peak = max(peak, 2 * m * k * n / (time.perf_counter() - began))
    return peak


torch.set_num_threads(int(sys.argv[1]))
print(json.dumps({"float32": best(torch.float32), "bf16": best(torch.bfloat16)}))
