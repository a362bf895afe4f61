"""Writes tokenizers/: small vocabularies in the exact pipelines of well-known models, and what Python's own code makes of 1,000 texts and 50 conversations."""

import gzip
import json
import random
import sys
import tempfile
from pathlib import Path

import sentencepiece
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizer_texts import conversations, strings, training_texts
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent / "tokenizers"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def special(*contents: str, **flags) -> list[AddedToken]:
    return [AddedToken(content, special=True, normalized=False, **flags) for content in contents]


def byte_level_bpe(size: int, pre_tokenizer, first: list[AddedToken], last: list[AddedToken], normalizer=None, **model) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=first, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(training_texts(), trainer)
    tokenizer.add_tokens(last)
    return tokenizer


def split_then_bytes(pattern: str):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def bos_template(tokenizer: Tokenizer, bos: str):
    return processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )


def pieces_bpe(size: int, first: list[str], newline_pieces: bool = False) -> Tokenizer:
    """SentencePiece's BPE as transformers converts it: bytes for what the vocabulary lacks, "\u2581" for a space."""
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    names = [*first, *fallback]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=names, show_progress=False, limit_alphabet=220)
    trained.train_from_iterator(training_texts(), trainer)
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    vocabulary = model["vocab"]
    runs = ["\u2581" * 2, "\u2581" * 4, "\u2581" * 8] + (["\n\n", "\n\n\n\n"] if newline_pieces else [])
    for run in runs:
        half = run[: len(run) // 2]
        if half in vocabulary and run not in vocabulary:
            vocabulary[run] = len(vocabulary)
            merges.append((half, half))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.add_special_tokens(special(*first))
    return tokenizer


LLAMA_DECODER = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]


def llama2() -> Tokenizer:
    tokenizer = pieces_bpe(1000, ["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(LLAMA_DECODER)
    tokenizer.post_processor = bos_template(tokenizer, "<s>")
    return tokenizer


def mistral() -> Tokenizer:
    """As transformers has it since its version 4.45: Metaspace, which marks the first word only."""
    tokenizer = pieces_bpe(1000, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(LLAMA_DECODER)
    tokenizer.post_processor = bos_template(tokenizer, "<s>")
    return tokenizer


def phi3() -> Tokenizer:
    """Llama 2's, with tokens that swallow the white space behind them."""
    tokenizer = llama2()
    tokenizer.add_tokens([AddedToken("</s>", special=False, normalized=False, rstrip=True)])
    tokenizer.add_special_tokens(special("<|endoftext|>"))
    tokenizer.add_special_tokens(special("<|assistant|>", "<|system|>", "<|end|>", "<|user|>", rstrip=True))
    return tokenizer


def gemma() -> Tokenizer:
    tokenizer = pieces_bpe(1000, ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"], newline_pieces=True)
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(LLAMA_DECODER[:3])
    tokenizer.post_processor = bos_template(tokenizer, "<bos>")
    return tokenizer


def llama3() -> Tokenizer:
    last = special("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    tokenizer = byte_level_bpe(900, split_then_bytes(CL100K % "{1,3}"), [], last, ignore_merges=True)
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), bos_template(tokenizer, "<|begin_of_text|>")])
    return tokenizer


def qwen3() -> Tokenizer:
    last = special("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    last += [AddedToken(token, special=False, normalized=False) for token in ("<tool_call>", "</tool_call>", "<think>", "</think>")]
    tokenizer = byte_level_bpe(900, split_then_bytes(CL100K % ""), [], last, normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    return tokenizer


def pythia() -> Tokenizer:
    """GPT-NeoX: runs of spaces are added tokens, which are not special and are looked for in the normalised text."""
    runs = [AddedToken(" " * count, normalized=True) for count in range(24, 1, -1)]
    tokenizer = byte_level_bpe(
        900, pre_tokenizers.ByteLevel(add_prefix_space=False), special("<|endoftext|>", "<|padding|>"), runs, normalizers.NFC()
    )
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False)
    return tokenizer


def smollm() -> Tokenizer:
    pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    return byte_level_bpe(900, pre_tokenizer, special("<|endoftext|>", "<|im_start|>", "<|im_end|>"), [])


def bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=1200, special_tokens=special("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), show_progress=False, limit_alphabet=300
    )
    tokenizer.train_from_iterator(training_texts(), trainer)
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    around = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", around)
    return tokenizer


RULES = {"ﬁ": "fi", "①": "1", "②": "2", "½": "1/2", "™": "TM", "…": "...", "\u00a0": " ", "\u3000": " ", "\u200b": "", "Å": "Å", "A\u030a": "Å",
         "é": "é", "e\u0301": "é", "\t": " ", "\n": " ", "\r": " ", "\ufeff": "", "\u0001": "", "𝒜": "A", "ﷺ": "صلى الله عليه وسلم"}  # fmt: skip


def t5() -> Tokenizer:
    """Unigram with SentencePiece's own compiled character map; the map is a short one, to keep the file small."""
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder, "rules.tsv")
        code = lambda text: " ".join(f"{ord(character):X}" for character in text)  # noqa: E731
        wide = {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}
        rules.write_text("".join(f"{code(before)}\t{code(after)}\n" for before, after in sorted((RULES | wide).items()) if before != after))
        corpus = Path(folder, "corpus.txt")
        corpus.write_text("\n".join(line for text in training_texts() for line in text.splitlines() if line.strip() and "\0" not in line))
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=str(Path(folder, "t5")), vocab_size=700, hard_vocab_limit=False, character_coverage=0.98, model_type="unigram",
            normalization_rule_tsv=str(rules), pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2, num_threads=1,
        )  # fmt: skip
        from sentencepiece import sentencepiece_model_pb2 as proto

        model = proto.ModelProto()
        model.ParseFromString(Path(folder, "t5.model").read_bytes())
    vocabulary = [(piece.piece, piece.score) for piece in model.pieces]
    vocabulary += [(f"<extra_id_{i}>", 0.0) for i in range(2, -1, -1)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always", split=True)])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always", split=True)
    tokenizer.add_special_tokens(special("<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_1>", "<extra_id_2>"))
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return tokenizer


LLAMA2_CHAT = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL_CHAT = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
        {%- endfor %}
        {{- "]" + eos_token }}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content|string + ', "call_id": "' + message.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- endif %}
{%- endfor %}
"""
LLAMA3_CHAT = """{{- bos_token }}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {{- "Functions:\\n\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
GEMMA_CHAT = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
SMOLLM_CHAT = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    "{%- if message['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' }}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{%- else %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{%- endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PHI3_CHAT = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
ZEPHYR_CHAT = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
PYTHIA_TOOLS = "{{ tools | map(attribute='function.name') | join(', ') }}: {% for m in messages %}{{ m.role ~ '|' ~ m.content }}{% endfor %}"

BUILDS = {
    "llama2": (llama2, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, LLAMA2_CHAT),
    "mistral": (mistral, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, MISTRAL_CHAT),
    "phi3": (phi3, {"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>"}, PHI3_CHAT),
    "gemma": (gemma, {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}, GEMMA_CHAT),
    "llama3": (llama3, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}, LLAMA3_CHAT),
    "qwen3": (qwen3, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, None),
    "pythia": (
        pythia,
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
        [{"name": "tool_use", "template": PYTHIA_TOOLS}, {"name": "default", "template": ZEPHYR_CHAT}],
    ),
    "smollm": (smollm, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}, SMOLLM_CHAT),
    "bert": (bert, {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}, None),
    "t5": (t5, {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}, None),
}


def main() -> None:
    texts = strings()
    chats = conversations()
    for folder in map(Path, sys.argv[1:]):  # of real models: only what is expected of them is written, beside them
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        write_packed(folder / "expected.json.gz", expected(folder, tokenizer, texts, chats))
    if sys.argv[1:]:
        return
    write_packed(HERE / "texts.json.gz", {"texts": texts, "conversations": chats})
    for name, (build, config, template) in BUILDS.items():
        folder = HERE / name
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = build()
        (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **config}
        if template is not None:
            config["chat_template"] = template
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        write_packed(folder / "expected.json.gz", expected(folder, tokenizer, texts, chats))
        print(name, tokenizer.get_vocab_size())


def write_packed(file: Path, value) -> None:
    file.write_bytes(gzip.compress(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), mtime=0))


def expected(folder: Path, tokenizer: Tokenizer, texts: list[str], chats: list[dict]) -> dict:
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    fast = PreTrainedTokenizerFast.from_pretrained(folder)
    assert ids == [fast.encode(text, add_special_tokens=False) for text in texts], folder
    decoded = [tokenizer.decode(row, skip_special_tokens=False) for row in ids]
    generator = random.Random(4)
    drawn = [generator.choices(range(tokenizer.get_vocab_size()), k=generator.randint(1, 12)) for _ in range(200)]
    plain = [tokenizer.decode(row, skip_special_tokens=True) for row in ids]
    return {
        "ids": ids,
        "with_special": [tokenizer.encode(text).ids for text in texts[:60]],
        "decoded": {i: text for i, text in enumerate(decoded) if text != texts[i]},
        "decoded_without_special": {i: text for i, text in enumerate(plain) if text != decoded[i]},
        "drawn": [{"ids": row, "text": tokenizer.decode(row, skip_special_tokens=False)} for row in drawn],
        "chats": [render(fast, chat) for chat in chats] if fast.chat_template else None,
    }


def render(fast: PreTrainedTokenizerFast, chat: dict) -> dict:
    try:
        text = fast.apply_chat_template(**rendering(chat), tokenize=False)
    except Exception as error:  # noqa: BLE001  that a template refuses is a result too
        return {"error": str(error)}
    return {"text": text, "ids": fast.apply_chat_template(**rendering(chat), tokenize=True, return_dict=False)}


def rendering(chat: dict) -> dict:
    return {"conversation": chat["messages"], "tools": chat["tools"], "add_generation_prompt": chat["add_generation_prompt"]}


if __name__ == "__main__":
    main()
