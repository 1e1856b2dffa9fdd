"""`ovis QUESTION`: one question with its files, answered by the page's road, chat.reply.

The answer goes to stdout and the thought to stderr. Parses flags before it imports anything heavy.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from ovis_app.cli.common import BadInput, add_generation, program, say, started
from ovis_app.conversation import Conversation, Message
from ovis_app.settings import Flags

COMMANDS = """commands:
  ask QUESTION      answer one question (the word may be left out)
  batch INPUT       answer a folder, CSV or JSON-lines file of questions
  models            list the models that are known by name
  serve             open the page
  hash-password N   make a line for the file of those who may sign in
"""


def parser() -> argparse.ArgumentParser:
    flags = Flags(
        prog=program(),
        description="Ask an Ovis model about pictures, a clip or nothing but text.",
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("question", help="what to ask, in quotes")
    flags.add_argument("--image", action="append", default=[], metavar="FILE", help="a picture; repeat for several")
    flags.add_argument("--video", action="append", default=[], metavar="FILE", help="a clip (one, without pictures)")
    flags.add_argument("--json", action="store_true", help="print one JSON object at the end instead of streaming")
    add_generation(flags)
    return flags


def run(words: Sequence[str]) -> int:
    given = parser().parse_args(words)
    if not (given.question.strip() or given.image or given.video):
        raise BadInput("there is nothing to answer: ask something, or name a picture.")
    settings, limits, generation = started(given)
    from ovis_app.media import attach_all

    media, refused = attach_all([(Path(name), name) for name in (*given.image, *given.video)], limits)
    if refused:
        raise BadInput(" ".join(refused))

    from ovis_app import chat
    from ovis_app.backends import open_backend
    from ovis_app.generation import Request

    backend = open_backend(settings, limits)
    conversation = Conversation((Message("user", given.question, media),))
    last = Message("assistant")
    try:
        with closing(chat.reply(backend, Request(conversation, generation))) as grown:
            for conversation in grown:
                message = conversation.messages[-1]
                if not given.json:
                    _print_new(last, message)
                last = message
    finally:
        backend.close()
    return _finish(last, backend.status().model.name, as_json=given.json)


def _print_new(before: Message, after: Message) -> None:
    """Writes what `after` has more than `before`: thought to stderr, answer to stdout."""
    if before.text and not after.text:  # what was said turns out to have been the thought: it stands there already
        print(flush=True)
    elif len(after.thinking) > len(before.thinking):
        print(after.thinking[len(before.thinking) :], end="", file=sys.stderr, flush=True)
    if len(after.text) > len(before.text):
        if not before.text and after.thinking:
            print(file=sys.stderr, flush=True)
        print(after.text[len(before.text) :], end="", flush=True)


def _finish(message: Message, model: str, *, as_json: bool) -> int:
    if as_json and not message.error:
        stats = asdict(message.stats) if message.stats else None
        answer = {"text": message.text, "thinking": message.thinking, "finish": message.finish}
        print(json.dumps({**answer, "stats": stats, "model": model}, ensure_ascii=False))
    elif message.text:
        print()
    if message.error:
        say(message.error)
        return 1
    return 0
