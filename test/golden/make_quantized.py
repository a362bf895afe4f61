"""Writes quantized.safetensors: what bitsandbytes makes of a weight in NF4, with and without quantised scales."""

import torch
from bitsandbytes import functional
from random_llama import HERE
from safetensors.torch import save_file

# 70 blocks and a half one; one block of zeros, one of a single large value among small ones.
SHAPE = (28, 161)


def main() -> None:
    generator = torch.Generator().manual_seed(9)
    weight = torch.randn(SHAPE, generator=generator) * torch.linspace(0.01, 2, SHAPE[0]).unsqueeze(1)
    flat = weight.view(-1)
    flat[64:128] = 0
    flat[200] = 30
    expected = {"weight": weight}
    for name, nested in (("single", False), ("double", True)):
        packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=nested)
        expected[f"{name}/packed"] = packed.view(-1)
        expected[f"{name}/dequantized"] = functional.dequantize_4bit(packed, state)
    save_file(expected, HERE / "quantized.safetensors")


if __name__ == "__main__":
    main()
