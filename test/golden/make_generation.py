"""
Writes generation/greedy.json: by model of architectures/ and models/, 17 prompts of different lengths and the 64 tokens that transformers' generate() gives
each, alone. Prompts on whose way a choice is closer than 0.001 in the logits are passed over: there rounding decides.
"""

import json
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM

FOLDER = Path(__file__).parent
MODELS = ["models/llama3", "architectures/mistral", "architectures/qwen2", "architectures/qwen3", "architectures/gpt-neox", "architectures/gemma2",
          "architectures/gemma3", "architectures/phi3"]
NEW_TOKENS = 64
LEAST_MARGIN = 1e-3


def replies(name: str) -> list[dict]:
    model = AutoModelForCausalLM.from_pretrained(FOLDER / name, attn_implementation="eager", dtype=torch.float32).eval()
    random = torch.Generator().manual_seed(11)
    found: list[dict] = []
    while len(found) < 17:
        length = 1 + (len(found) * 7) % 40
        prompt = torch.randint(3, model.config.vocab_size, (1, length), generator=random)
        out = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=-1, pad_token_id=0,
            output_logits=True, return_dict_in_generate=True,
        )
        margin = min((top := step[0].topk(2).values)[0].item() - top[1].item() for step in out.logits)
        if margin > LEAST_MARGIN:
            found.append({"prompt": prompt[0].tolist(), "continuation": out.sequences[0, length:].tolist()})
    return found


transformers.logging.set_verbosity_error()
torch.set_num_threads(1)
target = FOLDER / "generation"
target.mkdir(exist_ok=True)
lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(replies(name))}" for name in MODELS)
(target / "greedy.json").write_text("{\n" + lines + "\n}\n")
