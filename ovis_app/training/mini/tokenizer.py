"""Mini's tokenizer: a small byte-level BPE in the file format of the released checkpoints' Qwen2 tokenizer.

Knows how to learn merges from sentences and which marks the released checkpoints reserve. Refuses to know questions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

# In the released order; True: special, so that a plain decode leaves it out.
MARKS = {
    "<|endoftext|>": True, "<|im_start|>": True, "<|im_end|>": True, "<|object_ref_start|>": True,
    "<|object_ref_end|>": True, "<|box_start|>": True, "<|box_end|>": True, "<|quad_start|>": True,
    "<|quad_end|>": True,
    "<|vision_start|>": True, "<|vision_end|>": True, "<|vision_pad|>": True, "<|image_pad|>": True,
    "<|video_pad|>": True, "<tool_call>": False, "</tool_call>": False, "<|fim_prefix|>": False,
    "<|fim_middle|>": False, "<|fim_suffix|>": False, "<|fim_pad|>": False, "<|repo_name|>": False,
    "<|file_sep|>": False, "<tool_response>": False, "</tool_response>": False, "<think>": False, "</think>": False,
}  # fmt: skip
# The Qwen2 splitting pattern, as its public tokenizer states it.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}{%- for item in message.content %}"
    "{%- if item.type == 'text' %}{{- item.text }}{%- elif item.type == 'image' %}{{- '<image>' }}"
    "{%- elif item.type == 'video' %}{{- '<video>' }}{%- endif %}{%- endfor %}{%- endif %}{{- '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}\n"
)


def learn(sentences: Iterable[str], entries: int) -> Tokenizer:
    """A tokenizer with at most `entries` ordinary entries, and the marks after them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=entries, initial_alphabet=alphabet, min_frequency=2, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.add_tokens([AddedToken(mark, special=special, normalized=False) for mark, special in MARKS.items()])
    return tokenizer


def write(tokenizer: Tokenizer, folder: Path) -> None:
    """The released file set: tokenizer.json, its parts as vocab.json and merges.txt, and the two configs."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = {mark["content"]: mark["id"] for mark in content["added_tokens"]}
    _write(folder / "vocab.json", content["model"]["vocab"])
    merges = "\n".join(" ".join(pair) for pair in content["model"]["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    _write(folder / "added_tokens.json", added)
    _write(folder / "chat_template.json", {"chat_template": TEMPLATE})
    _write(folder / "tokenizer_config.json", _config(added))


def _config(added: dict[str, int]) -> dict[str, object]:
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(added[mark]): {"content": mark, **plain, "special": special} for mark, special in MARKS.items()
        },
        "additional_special_tokens": [mark for mark, special in MARKS.items() if special][1:],
        "bos_token": None,
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
