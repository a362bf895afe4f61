"""Proves that transformers loads what Prospect saves, bit for bit: saves every folder of models/ and architectures/ again with Prospect, whole and
in shards, loads both with transformers, and compares all tensors and the logits of the first row.

    npm run setup && python3 test/golden/check_saved.py
"""

import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
SAVE = """
import { loadDecoder } from '%(dist)s/model/load.js'
import { openModelFolder, saveModelFolder } from '%(dist)s/model/folder.js'
const [from, to, maxShardBytes] = process.argv.slice(1)
const source = openModelFolder(from)
const { parameters } = loadDecoder(source, 'float32')
await saveModelFolder(to, { source, parameters, dtype: source.dtype, maxShardBytes: Number(maxShardBytes) })
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for folder in sorted([*(HERE / "models").iterdir(), *(HERE / "architectures").iterdir()]):
            for shard_bytes in (5e9, 12e3):
                copy = Path(scratch) / f"{folder.name}-{shard_bytes:.0f}"
                script = SAVE % {"dist": HERE.parent.parent / "dist"}
                command = ["node", "--input-type=module", "-e", script, "--", str(folder), str(copy), str(shard_bytes)]
                subprocess.run(command, check=True)
                shards = len(list(copy.glob("*.safetensors")))
                compare(folder, copy)
                print(f"{folder.name}: {shards} file(s): tensors and logits equal bit for bit")


def compare(folder: Path, copy: Path) -> None:
    original, again = load(folder), load(copy)
    assert original.config.to_dict() | {"_name_or_path": ""} == again.config.to_dict() | {"_name_or_path": ""}
    tensors, copied = original.state_dict(), again.state_dict()
    assert tensors.keys() == copied.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == copied[name].dtype and torch.equal(tensor, copied[name]), name
    row = load_file(folder / "logits.safetensors")["row0"].unsqueeze(0)
    with torch.no_grad():
        assert torch.equal(original(row).logits, again(row).logits)


def load(folder: Path):
    model, report = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
    assert not any(report.values()), report
    return model.eval()


if __name__ == "__main__":
    main()
