"""Several prompts at once, left-padded, greedy or sampled by one set of rules. For work that nobody watches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ovis_app.checkpoints.tokenizer import Ending
from ovis_app.engine.solo import generation_config
from ovis_app.generation import GenerationSettings
from ovis_app.models.ovis import Ovis


@torch.inference_mode()
def generate_many(
    model: Ovis,
    prompts: Sequence[tuple[Tensor, Tensor]],
    settings: GenerationSettings,
    *,
    ending: Ending,
    processors: Sequence[object] = (),
) -> list[list[int]]:
    """New ids of each prompt (embeddings [1, tokens, hidden], mask [tokens]), their end of turn included. Raises
    BackendError for bad settings."""
    settings = settings.check()
    longest = max(embeddings.shape[1] for embeddings, _ in prompts)
    inputs = torch.cat([F.pad(embeddings, (0, 0, longest - embeddings.shape[1], 0)) for embeddings, _ in prompts])
    mask = torch.stack([F.pad(mask, (longest - len(mask), 0)) for _, mask in prompts])
    if settings.seed is not None:
        torch.manual_seed(settings.seed)
    rows = model.llm.generate(
        inputs_embeds=inputs,
        attention_mask=mask.to(inputs.device),
        generation_config=generation_config(settings, ending, settings.max_new_tokens),
        logits_processor=list(processors),
    ).tolist()
    return [_until_end(row, ending) for row in rows]


def _until_end(row: list[int], ending: Ending) -> list[int]:
    """A row without what fills it after its end."""
    end = next((i for i, token in enumerate(row) if token in ending.eos), len(row) - 1)
    return row[: end + 1]
