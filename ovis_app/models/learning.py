"""What of a whole Ovis learns, by the names of its parts. What an adapter learns is the adapter's affair.

Knows modules; refuses to know data, optimizers and learning rates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn

from ovis_app.models.ovis import Ovis

PARTS = ("llm", "tower", "head", "vte")
# In the files, and applied by nobody: no gradient would ever come, and processes that train together wait for it.
UNUSED = ("post_layernorm", "post_trunk_norm")


def part_of(model: Ovis, name: str) -> nn.Module:
    """One of PARTS: the language model, the visual tower, the head to the visual vocabulary, or its embeddings."""
    tower = f"visual_tokenizer.{model.visual_tokenizer.family.tower_name}"
    return model.get_submodule({"tower": tower, "head": "visual_tokenizer.head"}.get(name, name))


def learning(model: Ovis, name: str) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of a part that can learn, each once."""
    for key, parameter in part_of(model, name).named_parameters():
        if not set(UNUSED).intersection(key.split(".")):
            yield key, parameter


def learn(model: Ovis, parts: Collection[str]) -> None:
    """Lets these parts learn and no others, all in float32: in bfloat16 a step of 1e-5 is rounded away."""
    model.float().requires_grad_(False)
    for name in parts:
        for _, parameter in learning(model, name):
            parameter.requires_grad_(True)
