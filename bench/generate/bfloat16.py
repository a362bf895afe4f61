"""
How far bfloat16 logits are from the float32 ones of the same (bfloat16) weights: Prospect's, over its paged cache, beside transformers', over its own cache, in
bfloat16 too. The same tokens are fed to all. For the golden models of test/golden/architectures and a model of SmolLM2-135M's shape with random weights.

    python bench/generate/bfloat16.py [--only gemma] [--golden test/golden/generation/bfloat16.json]

--golden also writes the tokens and transformers' figures of the small models, for test/infer/golden.test.ts.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent.parent / "test" / "golden" / "architectures"


def smollm(folder: Path) -> Path:
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        max_position_embeddings=2048, tie_word_embeddings=True, initializer_range=0.08,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def theirs(model, rows: torch.Tensor, prompt: int) -> np.ndarray:
    """Logits after the prompt and after each token more, [rows, steps, vocabulary]."""
    with torch.inference_mode():
        out = model(rows[:, :prompt], use_cache=True)
        steps = [out.logits[:, -1].float()]
        for at in range(prompt, rows.shape[1]):
            out = model(rows[:, at : at + 1], past_key_values=out.past_key_values, use_cache=True)
            steps.append(out.logits[:, -1].float())
    return torch.stack(steps, 1).numpy()


def ours(folder: Path, rows: torch.Tensor, prompt: int, dtype: str, work: Path) -> np.ndarray:
    (work / "rows.json").write_text(json.dumps(rows.tolist()))
    command = ["node", HERE / "prospect_logits.mjs", "--model", folder, "--rows", work / "rows.json", "--prompt", prompt, "--dtype", dtype, "--output", work / "out"]
    subprocess.run([str(part) for part in command], check=True)
    return np.fromfile(work / "out", dtype=np.float32).reshape(rows.shape[0], rows.shape[1] - prompt + 1, -1)


def compared(folder: Path, implementation: str, work: Path, count: int, length: int, prompt: int) -> dict:
    def load(dtype):
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=implementation).eval()

    exact = load(torch.float32)
    rows = torch.randint(3, exact.config.vocab_size, (count, length), generator=torch.Generator().manual_seed(3))
    truth = theirs(exact, rows, prompt)
    size = np.sqrt(np.mean((truth - truth.mean(-1, keepdims=True)) ** 2))

    def error(logits):
        return {
            "rms": round(float(np.sqrt(np.mean((logits - truth) ** 2)) / size), 5),
            "largest": round(float(np.abs(logits - truth).max() / size), 4),
            "sameToken": f"{int((logits.argmax(-1) == truth.argmax(-1)).sum())} of {truth.shape[0] * truth.shape[1]}",
        }

    result = {"tokens": rows.tolist(), "prompt": prompt, "prospect": error(ours(folder, rows, prompt, "bfloat16", work)), "transformers": error(theirs(load(torch.bfloat16), rows, prompt))}
    result["prospectFloat32"] = error(ours(folder, rows, prompt, "float32", work))
    return result


parser = argparse.ArgumentParser()
parser.add_argument("--only", default="")
parser.add_argument("--golden")
arguments = parser.parse_args()
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
golden = {}
with tempfile.TemporaryDirectory() as work:
    cases = [(f.name, f, 8, 40, 24) for f in sorted(GOLDEN.iterdir()) if f.is_dir()]
    cases.append(("SmolLM2-135M's shape", None, 4, 128, 96))
    for name, folder, count, length, prompt in cases:
        if arguments.only not in name:
            continue
        implementation = "eager" if folder else "sdpa"  # what all the small ones have
        result = compared(folder or smollm(Path(work) / "model"), implementation, Path(work), count, length, prompt)
        fed = {"tokens": result.pop("tokens"), "prompt": result.pop("prompt")}
        if folder:
            golden[name] = {**fed, "rms": result["transformers"]["rms"]}
        print(json.dumps({"model": name, **result}), flush=True)
if arguments.golden:
    Path(arguments.golden).write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in golden.items()) + "\n}\n")
