"""Tiny checkpoints of each family that say what released ones say, in folders that a test may spoil."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoTokenizer

from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis
from ovis_app.zoo import MINI_FOLDER
from tests import experts
from tests.checkpoints import test_gptq
from tests.checkpoints.test_layouts import hf, native

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"
FAMILIES = ("ovis1.6", "llama", "ovis2", "hf", "gptq", "ovis2.5", "ovis2.6", "native", "mini")
HF_TEMPLATE = (
    "{%- for turn in messages %}{{ '<|im_start|>' ~ turn.role ~ '\\n' }}"
    "{%- for part in ([{'text': turn.content}] if turn.content is string else turn.content) %}"
    "{{ '<image>\\n' if part.type == 'image' else part.text }}{%- endfor %}{{ '<|im_end|>\\n' }}{%- endfor %}"
    "{{ '<|im_start|>assistant\\n' }}"
)
LLAMA_TOKENS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
LLAMA = {
    "model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 96, "max_position_embeddings": 131072, "rope_theta": 5e5, "tie_word_embeddings": True,
    "rope_scaling": {
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}  # fmt: skip


def honest(family: str, folder: Path) -> Path:
    """A checkpoint in `folder`, which isn't there yet."""
    if family == "ovis2.6":
        experts.checkpoint(folder)
    elif family == "native":
        native(folder)
    elif family == "llama":
        _llama(folder)
    elif family == "gptq":
        shutil.move(test_gptq.checkpoint(folder.with_name("gptq"), test_gptq.Way()), folder)
    else:
        golden = GOLDEN / ("ovis2" if family == "hf" else family) / "public-a" / "checkpoint"
        shutil.copytree(MINI_FOLDER if family == "mini" else golden, folder)
    if family == "hf":
        hf(folder)
        (folder / "chat_template.jinja").write_text(HF_TEMPLATE)
    if family in ("ovis2.5", "ovis2.6", "native"):  # their cases were recorded with an invented filter
        edit(folder / "preprocessor_config.json", lambda facts: facts.update(resample=2))
    return folder


def _llama(folder: Path) -> None:
    """An Ovis1.6 with Llama 3.2, of random weights."""
    shutil.copytree(GOLDEN / "ovis1.6" / "public-a" / "checkpoint", folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.add_special_tokens({"additional_special_tokens": list(LLAMA_TOKENS)})
    tokenizer.bos_token, tokenizer.eos_token = "<|begin_of_text|>", "<|eot_id|>"
    tokenizer.save_pretrained(folder)
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    edit(folder / "tokenizer_config.json", lambda facts: facts.update(tokenizer_class="PreTrainedTokenizerFast"))
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|end_of_text|>", "<|eot_id|>")]
    edit(folder / "generation_config.json", lambda facts: facts.update(eos_token_id=ends))

    def change(raw: dict[str, Any]) -> None:
        sizes = {"hidden_size": raw["hidden_size"], "vocab_size": len(tokenizer)}
        raw["llm_config"] = {**LLAMA, **sizes, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": ends}
        raw["conversation_formatter_class"] = "Llama3ConversationFormatter"

    edit(folder / "config.json", change)
    torch.manual_seed(0)
    weights = Ovis(OvisConfig.read(folder)).state_dict()
    save_file(
        {name: value for name, value in weights.items() if name != "llm.lm_head.weight"}, folder / "model.safetensors"
    )


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    facts = json.loads(file.read_text("utf-8"))
    change(facts)
    file.write_text(json.dumps(facts), "utf-8")
