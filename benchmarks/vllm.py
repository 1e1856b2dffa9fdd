"""Our engine beside vLLM's on this machine's processor: `python -m benchmarks --only vllm`, where vLLM is installed.

The app and vLLM's own server answer over HTTP by OpenAI's protocol, each in a process of its own, with the same random
weights in float32; the one that isn't asked is idle. Both get the same questions in turn, which neither has heard
before. One person's first token, of text and with a picture; then tokens a second of one person and of eight at once.
"""

from __future__ import annotations

import argparse
import base64
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from openai import APIStatusError, OpenAI

from benchmarks import vllm_server
from benchmarks.report import Headline, arguments, finish, table
from benchmarks.server import app
from benchmarks.talk import picture

PEOPLE = 8
VISUAL = 196  # visual tokens of a picture: as small as one is seen
READY = 600.0  # seconds that the app may take to open its page, and then to load the model

_numbers = count(1)


@dataclass(frozen=True)
class Heard:
    """One answer: seconds to its first token, and tokens of prompt and answer."""

    first: float
    prompt: int
    tokens: int


@dataclass(frozen=True)
class Asked:
    """A server, and how it calls the model."""

    client: OpenAI
    model: str

    @classmethod
    def at(cls, url: str) -> Asked:
        """Once its model is loaded, by a first question that nobody measures."""
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        asked, end = cls(client, client.models.list().data[0].id), time.monotonic() + READY
        while True:
            try:
                asked.answer("Hello", 2)
                return asked
            except APIStatusError as error:
                if error.status_code != 503 or time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def answer(self, content: Any, tokens: int) -> Heard:
        """The whole answer to a question. Raises RuntimeError where it isn't as long as was asked for."""
        start, first, usage = time.perf_counter(), 0.0, None
        stream = self.client.chat.completions.create(
            model=self.model,
            messages=[{"role": "user", "content": content}],
            max_tokens=tokens,
            temperature=0.0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"chat_template_kwargs": {"enable_thinking": False}},
        )
        for chunk in stream:
            if not first and chunk.choices and chunk.choices[0].delta.content:
                first = time.perf_counter() - start
            usage = chunk.usage or usage
        if usage is None or usage.completion_tokens != tokens:
            raise RuntimeError(f"an answer of {tokens} tokens was asked for, and {usage} came")
        return Heard(first, usage.prompt_tokens, usage.completion_tokens)


def text(words: int, seed: int) -> str:
    """So many made-up words, another text for each seed; a word is a token of the made-up checkpoint, more or less."""
    noise = random.Random(seed)
    return " ".join("".join(noise.choices(ascii_lowercase[:4], k=4)) for _ in range(words))


def shown_picture(seed: int) -> list[dict[str, Any]]:
    """A question about a picture, another for each seed."""
    with tempfile.TemporaryDirectory() as folder:
        data = base64.b64encode(picture(Path(folder), VISUAL, seed).path.read_bytes()).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return [part, {"type": "text", "text": text(16, seed)}]


def rate(asked: Asked, questions: Sequence[str], tokens: int) -> float:
    """Tokens a second of all answers together, asked for at once from a thread each."""
    start = time.perf_counter()
    with ThreadPoolExecutor(len(questions)) as threads:
        heard = list(threads.map(lambda question: asked.answer(question, tokens), questions))
    return sum(one.tokens for one in heard) / (time.perf_counter() - start)


def measured(asked: Asked, numbers: Sequence[int], options: argparse.Namespace) -> dict[str, float]:
    """All figures of one server, with the questions of these numbers."""
    one, seen, alone, *people = numbers
    return {
        "vllm_first_token": asked.answer(text(options.tokens, one), 1).first,
        "vllm_first_token_picture": asked.answer(shown_picture(seen), 1).first,
        "vllm_users_1": rate(asked, [text(options.tokens, alone)], options.new),
        f"vllm_users_{PEOPLE}": rate(asked, [text(options.tokens, number) for number in people], options.new),
    }


def compared(
    ours: Asked, theirs: Asked, options: argparse.Namespace
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """All runs of both, ours first in each other one; the first, which warms up, is left out."""
    runs = []
    for run in range(options.repeats + 1):
        numbers = [next(_numbers) for _ in range(PEOPLE + 3)]
        order = (ours, theirs) if run % 2 else (theirs, ours)
        found = {id(asked): measured(asked, numbers, options) for asked in order}
        runs.append((found[id(ours)], found[id(theirs)]))
    return runs[1:]


def summary(runs: Sequence[tuple[dict[str, float], dict[str, float]]]) -> list[Headline]:
    """Medians."""
    unit = {name: "s" if "first_token" in name else "tokens/s" for name in runs[0][0]}
    return [
        Headline(name, *(statistics.median(run[side][name] for run in runs) for side in (0, 1)), unit[name])
        for name in unit
    ]


def parsed() -> argparse.Namespace:
    parser = arguments(__doc__, shape="44m")
    parser.add_argument("--tokens", type=int, default=64, help="of each question, about (64)")
    parser.add_argument("--new", type=int, default=48, help="new tokens of each answer (48)")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if vllm_server.python() is None:
        finish(options, "vllm", [], unmeasured=[vllm_server.ABSENT])
        return
    from benchmarks.released import written

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = written(folder / "model", options.shape)
        theirs = Asked.at(stack.enter_context(vllm_server.serving(model, folder / "vllm.log")))
        flags = ("--model", str(model), "--device", "cpu", "--dtype", "float32")
        ours = Asked.at(stack.enter_context(app(*flags, timeout=READY))[0])
        before = os.getloadavg()[0]
        runs = compared(ours, theirs, options)
    rows = summary(runs)
    details = {"shape": options.shape, "load": [before, os.getloadavg()[0]], "runs": runs}
    spread = [(row.name, *(run[0][row.name] / run[1][row.name] for run in runs)) for row in rows]
    print(f"Ours over vLLM's, run by run; the machine's load was {before:.1f} at the start, of ours and others' work\n")
    print(table(("what", *(f"run {number + 1}" for number in range(len(runs)))), spread))
    finish(options, "vllm", rows, details=details)


if __name__ == "__main__":
    main()
