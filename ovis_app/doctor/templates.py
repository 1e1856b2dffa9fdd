"""A checkpoint's chat template, rendered in a bounded process: it is a stranger's program, and a loop in a loop takes
for ever.

Knows jinja; refuses to know checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ovis_app import bounded_process
from ovis_app.bounded_process import Bounds, Killed

BOUNDS = Bounds(seconds=30.0, processor_seconds=10, memory=500_000_000)
LONGEST = 100_000  # characters of a text


def rendered(
    template: str, conversations: Sequence[Mapping[str, Any]], tokens: Mapping[str, str]
) -> list[str | None] | None:  # fmt: skip
    """The text of each conversation, None where the template refuses it; None alone where it is no template, or takes
    too long. A conversation has `messages` and `enable_thinking`."""
    job = {"template": template, "conversations": list(conversations), "tokens": dict(tokens)}
    try:
        said = bounded_process.done(__name__, job, BOUNDS)
    except Killed:
        return None
    return said if isinstance(said, list) and len(said) == len(conversations) else None


def work(job: Mapping[str, Any]) -> list[str | None]:
    """What is done in the bounded process: as transformers sets jinja up: https://huggingface.co/docs/transformers/chat_templating."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(words: str) -> None:
        raise TemplateError(words)

    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    jinja.globals.update(raise_exception=refuse, strftime_now=lambda form: form)
    jinja.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    template = jinja.from_string(job["template"])
    texts: list[str | None] = []
    for one in job["conversations"]:
        try:
            texts.append(template.render(**job["tokens"], **one, add_generation_prompt=True, tools=None)[:LONGEST])
        except Exception:  # of a stranger's program: of any kind
            texts.append(None)
    return texts
