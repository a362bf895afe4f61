"""Writes adamw_8bit/: steps of bitsandbytes' AdamW8bit on given gradients, and the codes and scales of its moments after each.

Its CPU code looks codes up by 65,536 equal steps, which takes small numbers to values many times their size; its CUDA code finds the nearest value. Here the
nearest of its own map is put in its place.
"""

import json

import torch
from bitsandbytes.backends.cpu import ops
from bitsandbytes.optim import AdamW8bit
from random_llama import fresh_folder
from safetensors.torch import save_file

SHAPE = (65, 64)  # a little over 4,096 elements, below which bitsandbytes keeps 32 bits; the last block of 256 is not full
STEPS = 4
SETTINGS = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}


def quantize_to_nearest(values: torch.Tensor, code: torch.Tensor, absmax: torch.Tensor, out: torch.Tensor, blocksize: int) -> None:
    count = values.numel()
    blocks = torch.nn.functional.pad(values.flatten(), (0, -count % blocksize)).view(-1, blocksize)
    scales = blocks.abs().amax(1)
    shares = torch.where(scales > 0, 1 / scales, 0)[:, None] * blocks
    nearest = (shares.flatten()[:, None] - code).abs().argmin(1)
    absmax.copy_(scales)
    out.copy_(nearest[:count].view(out.shape).to(torch.uint8))


def main() -> None:
    ops._quant_blockwise_fp32_direct = quantize_to_nearest
    torch.set_num_threads(1)
    torch.manual_seed(8)
    folder = fresh_folder("adamw_8bit")
    parameter = torch.nn.Parameter(torch.randn(SHAPE))
    tensors = {"initial": parameter.detach().clone()}
    optimizer = AdamW8bit(
        [parameter],
        lr=SETTINGS["learning_rate"],
        betas=(SETTINGS["beta1"], SETTINGS["beta2"]),
        eps=SETTINGS["epsilon"],
        weight_decay=SETTINGS["weight_decay"],
    )
    for step in range(STEPS):
        # Sizes over many powers of ten, as gradients have them; and a block without any.
        gradient = torch.randn(SHAPE) * 10 ** (torch.rand(SHAPE) * 6 - 6)
        gradient[:4] = 0
        parameter.grad = gradient.clone()
        optimizer.step()
        state = optimizer.state[parameter]
        tensors |= {f"{step}/gradient": gradient, f"{step}/parameter": parameter.detach().clone()}
        for name, key in (("exp_avg", "1"), ("exp_avg_sq", "2")):
            assert state[f"state{key}"].dtype == torch.uint8
            tensors |= {
                f"{step}/{name}": state[f"state{key}"].flatten().clone(),
                f"{step}/{name}.absmax": state[f"absmax{key}"].clone(),
            }
    (folder / "settings.json").write_text(json.dumps(SETTINGS | {"steps": STEPS}, indent=1) + "\n")
    save_file(tensors, folder / "steps.safetensors")


if __name__ == "__main__":
    main()
