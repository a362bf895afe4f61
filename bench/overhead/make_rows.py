"""
Writes what the programs of this comparison train on, the same at every call: OUT/model, a random Llama of two layers
and a tokenizer of one word a token; OUT/rows.jsonl, rows {prompt_ids, completion_ids, label}, each with its own prompt.

    python make_rows.py --out DIR
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 512
EOS = 2
CONFIG = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.1,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--prompt-tokens", type=int, default=24)
    parser.add_argument("--completion-tokens", type=int, default=24, help="the EOS included")
    options = parser.parse_args()
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**CONFIG)).save_pretrained(options.out / "model")
    word_tokenizer().save_pretrained(options.out / "model")
    with open(options.out / "rows.jsonl", "w") as file:
        for row in range(options.rows):
            prompt, completion = tokens(options.prompt_tokens), tokens(options.completion_tokens - 1) + [EOS]
            label = row % 2 == 0
            file.write(json.dumps({"prompt_ids": prompt, "completion_ids": completion, "label": label}) + "\n")


def word_tokenizer() -> PreTrainedTokenizerFast:
    """Token 17 is the word t17: TRL takes text only, and so gets the ids that are meant."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": EOS} | {f"t{i}": i for i in range(3, VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def tokens(count: int) -> list[int]:
    return torch.randint(3, VOCABULARY, (count,)).tolist()


if __name__ == "__main__":
    main()
