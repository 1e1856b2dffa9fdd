"""A random Ovis2.5 in the form of the released files, made in seconds, which vLLM takes as this app does.

vLLM has some of Ovis2.5's ids by heart, so the vocabulary has its full size and Qwen's control tokens stand at their
places. The words are made up, nothing is fetched. Knows files and ids; refuses to know who reads them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.shapes import SHAPES, random_model, released_config
from ovis_app.models.ovis import Ovis
from ovis_app.models.vision.siglip2_navit import NaViTConfig

CONFIGURATION = Path(__file__).with_name("configuration_ovis2_5.py")
ORDINARY = 151643  # ids of bytes and words; Qwen's control tokens follow, then those that vLLM adds for pictures
CONTROLS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>",
    "<think>", "</think>",
)  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'image' %}<image>"
    "{% elif part.type == 'video' %}<video>{% endif %}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
PREPROCESSOR = {
    "image_processor_type": "SiglipImageProcessor",
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 1 / 255,
    "resample": 2,
    "size": {"height": 512, "width": 512},
}
SEEN = 4.0  # times which visual embeddings are larger than others, since a mean of random ones is small
CERTAIN = 10.0  # times which an embedding is larger than others that is to decide alone what follows


def written(folder: Path, shape: str, *, seed: int = 0, thinks: bool = False) -> Path:
    """Writes a checkpoint of that shape into `folder`, which it returns. Its answers are words of four letters, and end
    where they must. One that `thinks` begins a thought behind the end of a line, so where it is let; that takes a shape
    whose embeddings aren't its head too."""
    model = random_model(shape, tokens=SHAPES["vllm"].tokens, dtype=torch.float32, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(ORDINARY)
    _only_words(model, tokenizer.convert_tokens_to_ids("Ġa"))
    if thinks:
        _thinking(model, tokenizer.convert_tokens_to_ids("Ċ"), tokenizer.convert_tokens_to_ids("<think>"))
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    tied = {"llm.lm_head.weight"} if SHAPES[shape].tied else set()
    weights = {name: value.contiguous() for name, value in model.state_dict().items() if name not in tied}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    end = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    for name, content in {
        "config.json": config_of(shape, end[0]),
        "preprocessor_config.json": PREPROCESSOR,
        "generation_config.json": {"do_sample": False, "eos_token_id": end, "pad_token_id": end[1]},
    }.items():
        (folder / name).write_text(json.dumps(content, indent=1), "utf-8")
    shutil.copy(CONFIGURATION, folder)
    return folder


def config_of(shape: str, end: int) -> dict[str, Any]:
    """config.json, with the facts of the tower that released files tell in full."""
    raw = released_config(shape, tokens=SHAPES["vllm"].tokens)
    tower = raw["vit_config"] | asdict(NaViTConfig.read(raw["vit_config"])) | {"attention_dropout": 0.0}
    language_model = raw["llm_config"] | {"eos_token_id": end, "rms_norm_eps": 1e-6, "hidden_act": "silu"}
    code = {"AutoConfig": f"{CONFIGURATION.stem}.Ovis2_5_Config"}
    return raw | {"vit_config": tower, "llm_config": language_model, "auto_map": code, "torch_dtype": "float32"}


def tokenizer_of(size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of `size` ordinary tokens: bytes, the empty line, and as many made-up words as that takes; then
    Qwen's control tokens. A template's marks of a thought are no special ones, as in the released files."""
    vocabulary = {one: place for place, one in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("Ċ", "Ċ"), *islice(words(), size - len(vocabulary) - 1)]
    vocabulary |= {first + last: place for place, (first, last) in enumerate(merges, len(vocabulary))}
    bytes_and_words = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    bytes_and_words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_and_words.decoder = decoders.ByteLevel()
    bytes_and_words.add_tokens([AddedToken(one, special=one.startswith("<|"), normalized=False) for one in CONTROLS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bytes_and_words,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


def words() -> Iterator[tuple[str, str]]:
    """Pairs that make words of one to four letters behind a space, each of a shorter one and a letter."""
    for length in range(4):
        for *before, last in product(ascii_lowercase, repeat=length + 1):
            yield "Ġ" + "".join(before), last


def _only_words(model: Ovis, first: int) -> None:
    """Nothing but words is ever the likeliest, so that all that the model says is text; and pictures matter."""
    head = model.llm.get_output_embeddings().weight
    with torch.no_grad():
        head[:first] = 0
        head[ORDINARY:] = 0
        model.vte.weight.mul_(SEEN)


def _thinking(model: Ovis, line: int, think: int) -> None:
    """Behind `line` comes `think`, and nowhere else more than another word: the head finds it by the embedding of the
    former, which is so large that nothing else matters there."""
    rows = model.llm.get_input_embeddings().weight
    with torch.no_grad():
        model.llm.get_output_embeddings().weight[think] = rows[line]
        rows[line] *= CERTAIN
