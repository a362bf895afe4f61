"""Writes adamw/: five steps of torch's AdamW with clipping and transformers' linear schedule on given gradients."""

import json

import torch
from random_llama import fresh_folder
from safetensors.torch import save_file
from transformers import get_linear_schedule_with_warmup

LEARNING_RATE = 1e-2
MAX_GRAD_NORM = 1.0
WARMUP, STEPS = 2, 5
SHAPES = {"matrix": (3, 4), "vector": (5,), "scalar": ()}
# Standard deviation of each step's gradients: the norms come out on both sides of MAX_GRAD_NORM.
GRADIENT_SCALES = (1.0, 0.05, 3.0, 0.2, 0.01)
WEIGHT_DECAYS = (0.0, 0.01)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(7)
    folder = fresh_folder("adamw")
    initial = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    gradients = [{name: torch.randn(shape) * scale for name, shape in SHAPES.items()} for scale in GRADIENT_SCALES]
    tensors = {f"initial/{name}": value for name, value in initial.items()}
    for step, given in enumerate(gradients):
        tensors |= {f"gradients/{step}/{name}": value for name, value in given.items()}
    settings = {"learning_rate": LEARNING_RATE, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    for decay in WEIGHT_DECAYS:
        rates, norms, after = run(initial, gradients, decay)
        tensors |= {f"weight_decay_{decay}/{key}": value for key, value in after.items()}
    assert min(norms) < MAX_GRAD_NORM < max(norms)
    expected = settings | {
        "max_grad_norm": MAX_GRAD_NORM,
        "weight_decays": WEIGHT_DECAYS,
        "factors": [rate / LEARNING_RATE for rate in rates],
        "learning_rates": rates,
        "norms": norms,
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    save_file(tensors, folder / "steps.safetensors")


def run(initial: dict, gradients: list[dict], decay: float) -> tuple[list[float], list[float], dict[str, torch.Tensor]]:
    """Learning rate of each step, norm before clipping, and the parameters after each step as `step/name`."""
    parameters = {name: torch.nn.Parameter(value.clone()) for name, value in initial.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=LEARNING_RATE, weight_decay=decay)
    schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
    rates, norms, after = [], [], {}
    for step, given in enumerate(gradients):
        for name, parameter in parameters.items():
            parameter.grad = given[name].clone()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_GRAD_NORM).item())
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
        after |= {f"{step}/{name}": parameter.detach().clone() for name, parameter in parameters.items()}
    return rates, norms, after


if __name__ == "__main__":
    main()
