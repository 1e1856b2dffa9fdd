"""The original way of answering, plainly: every picture of the conversation is opened, encoded and read again.

Same weights, prompt and preprocessing as the app; none of its memory. Refuses to know the app's engine and backends.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig

from ovis_app.checkpoints.load import load
from ovis_app.conversation import Conversation, Media
from ovis_app.limits import Limits
from ovis_app.media import open_image, sample_frames
from ovis_app.models.config import OvisConfig
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.inputs import assemble, chat_format
from ovis_app.models.preprocess.values import Visual
from ovis_app.models.prompt import PromptTokenizer, Turn, encode_turns

PIXELS = 1 << 23  # a picture's area at most where its detail says nothing


class Plain:
    """One model, one question at a time, nothing remembered."""

    def __init__(self, folder: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.model = load(folder, dtype=dtype, device=device)
        self.config: OvisConfig = self.model.config  # type: ignore[assignment]
        tokenizer = AutoTokenizer.from_pretrained(folder, config=self.config.llm_config, trust_remote_code=False)
        self.prompts = PromptTokenizer(tokenizer)

    @torch.inference_mode()
    def answer(self, conversation: Conversation, *, tokens: int = 1) -> Tensor:
        """The ids of `tokens` new tokens, greedy, whatever they say: ends of turns don't end it. The conversation ends
        with a question."""
        visuals = [opened(media) for message in conversation.messages for media in message.media]
        ids = encode_turns(self.prompts, chat_format(self.config), self._turns(conversation), thinking=False)
        prompt = assemble(self.config, self.prompts, ids, visuals)
        visual = None
        if prompt.pixel_values is not None:
            visual = self.model.encode(prompt.pixel_values.to(self.model.device, self.model.dtype), prompt.grids)
        embeddings = self.model.embed(prompt.ids.to(self.model.device), visual)
        greedy = GenerationConfig(max_new_tokens=tokens, do_sample=False, pad_token_id=0)  # type: ignore[no-untyped-call]
        mask = prompt.mask[None].to(self.model.device)
        ids = self.model.llm.generate(inputs_embeds=embeddings, attention_mask=mask, generation_config=greedy)
        return torch.as_tensor(ids)[0].cpu()

    def _turns(self, conversation: Conversation) -> list[Turn]:
        family = FAMILIES[self.config.family]
        turns = []
        for message in conversation.messages:
            asked = message.role == "user"
            media = [(item.kind, 1) for item in message.media]
            content = family.user_content(message.text, media) if asked else (message.text,)
            turns.append(Turn(message.role, content))
        return turns


def opened(media: Media) -> Visual:
    """A picture or a clip, decoded, with the limits that it was sent with."""
    detail = media.detail
    sizes = {"min_pixels": detail.min_pixels or 1, "max_pixels": detail.max_pixels or PIXELS}
    if media.kind == "image":
        return Visual("image", (open_image(media, Limits()),), **sizes)
    return Visual("video", sample_frames(media, detail.frames or 8, Limits()).frames, **sizes)
