"""A checkpoint's chat template, rendered in a process that is killed after a while: it is a stranger's program, and a
loop in a loop takes for ever.

Run as a script it reads a job from stdin and writes the texts to stdout. Knows jinja and processes; refuses to know
checkpoints.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

SECONDS, PROCESSOR_SECONDS = 30.0, 10  # of the clock; of a processor, where the system counts them
MEMORY = 500_000_000  # bytes of address space, where the system counts them
LONGEST = 100_000  # characters of a text


def rendered(
    template: str, conversations: Sequence[Mapping[str, Any]], tokens: Mapping[str, str]
) -> list[str | None] | None:  # fmt: skip
    """The text of each conversation, None where the template refuses it; None alone where it is no template, or takes
    too long. A conversation has `messages` and `enable_thinking`."""
    job = json.dumps({"template": template, "conversations": list(conversations), "tokens": dict(tokens)})
    command = [sys.executable, "-P", __file__]  # -P: this folder stays off the child's path
    try:
        done = subprocess.run(
            command, input=job.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=SECONDS
        )
        said = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):  # killed: what it wrote is no JSON
        return None
    return said if isinstance(said, list) and len(said) == len(conversations) else None


def _render(job: Mapping[str, Any]) -> list[str | None]:
    """As transformers sets jinja up: https://huggingface.co/docs/transformers/chat_templating."""
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


def _bounded() -> None:
    try:
        import resource  # not on Windows, where the clock alone counts
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    """Does one job."""
    _bounded()
    json.dump(_render(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
