"""A tiny Ovis2 in the -hf layout, which `transformers serve` can serve; it says "!" whatever it is asked."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import Ovis2Config, Ovis2ForConditionalGeneration, Ovis2Processor, PreTrainedTokenizerFast
from transformers.models.ovis2 import Ovis2ImageProcessorPil

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<IMG_ATOM>", "<IMG_START>", "<IMG_GRID>",
           "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")  # fmt: skip
VISUAL = 4  # tokens of a picture of 56 by 56
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<image>\n{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def written(folder: Path) -> Path:
    """Writes the checkpoint. Returns its folder."""
    tokenizer = _tokenizer()
    token = {name: int(tokenizer.convert_tokens_to_ids(name)) for name in SPECIAL}
    text = {
        "model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
        "eos_token_id": token["<|im_end|>"], "pad_token_id": token["<|endoftext|>"], "tie_word_embeddings": False,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56,
        "patch_size": 14, "vocab_size": 64, "hidden_stride": 2, "num_visual_indicator_tokens": 5,
    }  # fmt: skip
    config = Ovis2Config(
        vision_config=vision, text_config=text, image_token_id=token["<IMG_ATOM>"], vocab_size=len(tokenizer),
        visual_indicator_token_ids=[token[name] for name in SPECIAL[5:]], hidden_size=32,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Ovis2ForConditionalGeneration(config)
    with torch.no_grad():
        model.lm_head.weight.zero_()  # all scores are equal: the first token is said
    model.generation_config.eos_token_id = token["<|im_end|>"]
    model.save_pretrained(folder)
    Ovis2Processor(
        image_processor=Ovis2ImageProcessorPil(size={"height": 56, "width": 56}), tokenizer=tokenizer,
        chat_template=TEMPLATE, image_token="<image>", image_seq_length=VISUAL,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, "!" first, then the names above."""
    letters = Tokenizer(
        models.BPE(
            vocab={one: place for place, one in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[]
        )
    )
    letters.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL)})
    tokenizer.image_token = "<IMG_ATOM>"
    return tokenizer
