"""The command line: one question, its pictures, and the answer on stdout; the thought goes to stderr.

Takes the page's road, chat.reply. Parses flags before it imports anything heavy. Exit code 2 is a bad file or flag.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from ovis_app import settings as settings_module
from ovis_app.conversation import Conversation, Message


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    flags = _Parser(prog="ovis_app", description="Ask an Ovis model about pictures, a clip or nothing but text.")
    flags.add_argument("question", help="what to ask")
    flags.add_argument("--image", action="append", default=[], metavar="FILE", help="a picture; repeat for several")
    flags.add_argument("--video", action="append", default=[], metavar="FILE", help="a clip (one, without pictures)")
    flags.add_argument("--thinking", action="store_true", help="let the model think first (shown on stderr)")
    flags.add_argument(
        "--thinking-budget", type=int, metavar="N", help="tokens the thought may take; implies --thinking"
    )
    flags.add_argument("--cot", action="store_true", help="ask for a step-by-step answer")
    flags.add_argument("--system", default="", metavar="S", help="system prompt")
    flags.add_argument("--max-new-tokens", type=int, metavar="N", help="longest answer, thought included")
    flags.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (the default)")
    flags.add_argument("--top-p", type=float, default=0.95, metavar="P", help="nucleus sampling, with a temperature")
    flags.add_argument("--seed", type=int, metavar="N", help="makes sampling repeatable")
    flags.add_argument("--min-pixels", type=int, metavar="N", help="smallest size at which the model sees a picture")
    flags.add_argument("--max-pixels", type=int, metavar="N", help="largest size at which the model sees a picture")
    flags.add_argument("--frames", type=int, metavar="N", help="frames taken from a clip")
    flags.add_argument("--json", action="store_true", help="print one JSON object at the end instead of streaming")
    settings_module.add_arguments(flags, ("model", "backend", "device", "dtype"))
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Asks one question. Returns the exit code: 0 answered, 1 failed, 2 bad input, 130 interrupted."""
    given = parser().parse_args(arguments)
    try:
        return _ask(given)
    except _BadInput as error:
        print(f"ovis_app: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


class _BadInput(Exception):
    """A flag or file that can't be used; its text is a sentence."""


def _ask(given: argparse.Namespace) -> int:
    try:
        settings = settings_module.read(given)
    except ValueError as error:
        raise _BadInput(error) from error
    from ovis_app.generation import BackendError, GenerationSettings, Request
    from ovis_app.media import Limits, attach_all

    limits = Limits(**settings.limits())
    files = [(Path(name), name) for name in (*given.image, *given.video)]
    media, refused = attach_all(files, limits)
    if refused:
        raise _BadInput(" ".join(refused))

    from ovis_app import chat, zoo
    from ovis_app.backends import open_backend

    defaults = zoo.resolve(settings.model).defaults
    budget = given.thinking_budget
    thinking = given.thinking or budget is not None
    generation = GenerationSettings(
        max_new_tokens=defaults.max_new_tokens if given.max_new_tokens is None else given.max_new_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        seed=given.seed,
        cot=given.cot,
        thinking=thinking,
        thinking_budget=defaults.thinking_budget if budget is None else budget,
        system=given.system,
        min_pixels=given.min_pixels,
        max_pixels=given.max_pixels,
        frames=given.frames,
    )
    try:
        generation.check()
        backend = open_backend(settings, limits)
    except BackendError as error:
        raise _BadInput(error) from error
    conversation = Conversation((Message("user", given.question, media),))
    last = Message("assistant")
    with closing(chat.reply(backend, Request(conversation, generation))) as grown:
        for conversation in grown:
            message = conversation.messages[-1]
            if not given.json:
                _print_new(last, message)
            last = message
    return _finish(last, backend.models()[0].name, as_json=given.json)


def _print_new(before: Message, after: Message) -> None:
    """Writes what `after` has more than `before`: thought to stderr, answer to stdout."""
    if len(after.thinking) > len(before.thinking):
        print(after.thinking[len(before.thinking) :], end="", file=sys.stderr, flush=True)
    if len(after.text) > len(before.text):
        if not before.text and after.thinking:
            print(file=sys.stderr, flush=True)
        print(after.text[len(before.text) :], end="", flush=True)


def _finish(message: Message, model: str, *, as_json: bool) -> int:
    if as_json and not message.error:
        stats = asdict(message.stats) if message.stats else None
        print(
            json.dumps(
                {
                    "text": message.text,
                    "thinking": message.thinking,
                    "finish": message.finish,
                    "stats": stats,
                    "model": model,
                },
                ensure_ascii=False,
            )
        )
    elif message.text:
        print()
    if message.error:
        print(f"ovis_app: {message.error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
