"""
Writes preparation/expected.json.gz: what TRL's KTOTrainer makes of rows: prompt_ids and completion_ids, by TRL's own
KTOTrainer._prepare_dataset, for the tokenizers of test/golden/tokenizers; and what its collator leaves of rows over max_length.

    python make_preparation.py
"""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

from datasets import Dataset
from transformers import AutoTokenizer
from trl import KTOConfig, KTOTrainer
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

HERE = Path(__file__).parent
FOLDERS = ["smollm", "qwen3", "llama3", "llama2", "pythia"]


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


TEXTS = [
    {"prompt": "Why is the sky blue? ", "completion": "Air scatters blue light most.", "label": True},
    {"prompt": "Name a prime:\n", "completion": "7 is prime.", "label": True},
    {"prompt": "2 + 2 =", "completion": " 4", "label": True},
    {"prompt": "Translate to German: cheese\n\n", "completion": "K\u00e4se \U0001f9c0", "label": False},
    {"prompt": "An empty reply?\n", "completion": "", "label": False},
    {"prompt": "the answ", "completion": "er is here", "label": False},
]
CHATS = [
    {"prompt": [user("Hi")], "completion": [assistant("Hello! How can I help?")], "label": True},
    {"prompt": [{"role": "system", "content": "Be brief."}, user("Why?")], "completion": [assistant("Because.")], "label": False},
    {
        "prompt": [user("One?"), assistant("1"), user("Two, with\nlines?")],
        "completion": [assistant("2\n- a\n- b")],
        "label": True,
    },
    {"prompt": [user("Empty?")], "completion": [assistant("")], "label": False},
]
PAIRS = [
    {"prompt": "Pick one:\n", "chosen": "A good answer.", "rejected": "A bad answer."},
    {"prompt": "Pick another:\n", "chosen": "Yes.", "rejected": "No."},
]

# Over the limit: by the completion alone, by both, by the prompt alone.
LIMIT = 40
LONG = [
    {"prompt": "Count:\n", "completion": "one two three " * 30, "label": True},
    {"prompt": "Say it again, say it.\n", "completion": "one two three " * 30, "label": False},
    {"prompt": "Say it again. " * 40 + "\n", "completion": "No.", "label": True},
]

# A template that ends a turn with a line feed, not with EOS.
PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
# A text that has its BOS and EOS already.
def begun(tokenizer):
    prompt, completion = tokenizer.bos_token + "Begun:\n", "and ended." + tokenizer.eos_token
    return [{"prompt": prompt, "completion": completion, "label": True}]


def prepared(tokenizer, rows):
    trainer = SimpleNamespace(
        _tokenizer=tokenizer, calculate_KL=False, desirable_weight=1.0, undesirable_weight=1.0
    )
    arguments = KTOConfig(output_dir="/tmp/kto", max_length=None, bf16=False, use_cpu=True)
    dataset = KTOTrainer._prepare_dataset(trainer, Dataset.from_list(rows), tokenizer, arguments, "eval")
    return [
        {"prompt": row["prompt_ids"], "completion": row["completion_ids"], "label": row["label"]} for row in dataset
    ]


def truncated(tokenizer):
    """Ids and completion mask of each row as the model gets them; None where the row is dropped."""
    trainer = SimpleNamespace(
        _tokenizer=tokenizer, calculate_KL=False, desirable_weight=1.0, undesirable_weight=1.0
    )
    arguments = KTOConfig(output_dir="/tmp/kto", max_length=LIMIT, bf16=False, use_cpu=True)
    rows = [{**row, "number": number} for number, row in enumerate(LONG)]
    dataset = KTOTrainer._prepare_dataset(trainer, Dataset.from_list(rows), tokenizer, arguments, "eval")
    collate = DataCollatorForUnpairedPreference(pad_token_id=0, max_length=LIMIT)
    found = [None] * len(LONG)
    for row in dataset:
        batch = collate([row])
        found[row["number"]] = {"ids": batch["input_ids"][0].tolist(), "mask": batch["completion_mask"][0].tolist()}
    return found


def main() -> None:
    expected = {}
    for folder in FOLDERS:
        path = HERE / "tokenizers" / folder
        tokenizer = AutoTokenizer.from_pretrained(path)
        own = {"texts": prepared(tokenizer, TEXTS), "pairs": prepared(tokenizer, PAIRS)}
        own["truncated"] = truncated(tokenizer)
        if tokenizer.chat_template:
            own["chats"] = prepared(tokenizer, CHATS)
        if tokenizer.bos_token:
            own["begun"] = prepared(tokenizer, begun(tokenizer))
        tokenizer.chat_template = PLAIN_TEMPLATE
        own["unended"] = prepared(tokenizer, CHATS)
        expected[folder] = own
    content = {"texts": TEXTS, "chats": CHATS, "pairs": PAIRS, "unended": CHATS, "long": LONG, "limit": LIMIT, "template": PLAIN_TEMPLATE, "expected": expected}
    out = HERE / "preparation"
    out.mkdir(exist_ok=True)
    with open(out / "expected.json.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(json.dumps(content).encode())


main()
