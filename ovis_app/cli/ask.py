"""`ovis QUESTION`: one question with its files, answered by the page's road, chat.reply.

The answer goes to stdout and the thought to stderr. Parses flags before it imports anything heavy.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ovis_app
from ovis_app.cli.common import (
    BadInput,
    add_generation,
    add_pages,
    add_schema,
    pages_of,
    program,
    say,
    schema_of,
    started,
)
from ovis_app.conversation import Conversation, Message
from ovis_app.errors import MediaError
from ovis_app.places import Place, in_place, miscounted, untagged
from ovis_app.private_folder import temporary_folder
from ovis_app.settings import Flags

if TYPE_CHECKING:
    from ovis_app.backend import Backend
    from ovis_app.generation import GenerationSettings
    from ovis_app.limits import Limits

COMMANDS = """commands:
  ask QUESTION      answer one question (the word may be left out)
  read FILE...      read documents and pictures as Markdown
  batch INPUT       answer a folder, CSV or JSON-lines file of questions
  models            list the models that are known by name
  doctor [MODEL]    look a checkpoint over, and say what isn't as expected
  finetune DATA...  teach a model from samples of yours
  merge             make one model of a model and an adapter
  serve             open the page
  hash-password N   make a line for the file of those who may sign in
"""


def parser() -> argparse.ArgumentParser:
    flags = Flags(
        prog=program(),
        description="Ask an Ovis model about pictures, clips or nothing but text.",
        epilog=COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("--version", action="version", version=f"ovis {ovis_app.__version__}")
    flags.add_argument("question", help="what to ask, in quotes; <image> is where a file stands")
    flags.add_argument("--image", action="append", default=[], metavar="FILE", help="a picture; repeat for several")
    flags.add_argument(
        "--video", action="append", default=[], metavar="FILE", help="a clip; repeat for several, where the model can"
    )
    flags.add_argument(
        "--pdf", action="append", default=[], metavar="FILE", help="a document, whose pages are pictures"
    )
    add_pages(flags)
    flags.add_argument("--json", action="store_true", help="print one JSON object at the end instead of streaming")
    add_schema(flags)
    add_generation(flags)
    return flags


def run(words: Sequence[str]) -> int:
    given = parser().parse_args(words)
    if not (given.question.strip() or given.image or given.video or given.pdf):
        raise BadInput("there is nothing to answer: ask something, or name a picture.")
    with temporary_folder() as folder:
        return _ask(given, folder)


def _ask(given: argparse.Namespace, folder: Path) -> int:
    """Pages of documents are drawn into `folder`."""
    settings, _, limits, generation = started(given)
    schema = schema_of(given)
    conversation = Conversation((_question(given, folder, limits),))

    from ovis_app.backends import open_backend

    backend = open_backend(settings, limits)

    def answered(asked: Sequence[Conversation], system: str = "", *, quiet: bool = True) -> list[Message]:
        return [_answered(backend, one, generation, quiet=quiet) for one in asked]

    try:
        if schema is None:
            [last] = answered([conversation], quiet=given.json)
        else:
            [last] = schema.answerer(answered)([conversation], "")
        # The script has a model's row to stand in for, and isn't one.
        model = "fake" if settings.backend == "fake" else backend.status().model.name
    finally:
        backend.close()
    data = schema.data(last.text) if schema and not last.error else None
    if schema and not given.json:
        last = replace(last, text="")  # in a shape that isn't the wanted one it isn't of use to a program
        if not last.error:
            print(json.dumps(data, ensure_ascii=False))
    return _finish(last, {"model": model} | ({"data": data} if schema else {}), as_json=given.json)


def _question(given: argparse.Namespace, folder: Path, limits: Limits) -> Message:
    """What is asked, with the files that the flags name, checked, and pages of documents in the folder: where the
    question has tags, else before it. Raises BadInput."""
    from ovis_app.media import attach_all, grouped_with_pages
    from ovis_app.media.documents import is_document, no_document
    from ovis_app.named_files import all_named

    choice = pages_of(given)
    try:
        files = [(path, str(path)) for name in (*given.image, *given.video) for path in all_named(name)]
        documents = [(path, str(path)) for name in given.pdf for path in all_named(name)]
        for path, name in documents:
            if not is_document(path):
                raise no_document(name)
        if (given.pages, given.dpi) != (None, None) and not any(is_document(path) for path, _ in [*files, *documents]):
            raise BadInput("--pages and --dpi are for PDFs: name one with --pdf.")
        text, places = _placed(given.question, len(files) + len(documents))
        groups, notes = grouped_with_pages([*files, *documents], folder, limits, choice)
    except MediaError as error:
        raise BadInput(error) from error
    for note in notes:
        say(note)
    media, refused = attach_all([file for group in groups for file in group], limits)
    if refused:
        raise BadInput(" ".join(refused))
    message = Message("user", text, media)
    return in_place(message, places, [len(group) for group in groups]) if places else message


def _placed(question: str, files: int) -> tuple[str, tuple[Place, ...]]:
    """The question without its tags, and where they stood; without files they are text. Raises BadInput."""
    text, places = untagged(question)
    if not files or not places:
        return question, ()
    if len(places) != files:
        raise BadInput(f"the question {miscounted(len(places), files)}")
    return text, places


def _answered(backend: Backend, asked: Conversation, generation: GenerationSettings, *, quiet: bool) -> Message:
    """The answer; unless `quiet`, it is printed as it grows."""
    from ovis_app import chat
    from ovis_app.generation import Request

    last = Message("assistant")
    with closing(chat.reply(backend, Request(asked, generation))) as grown:
        for conversation in grown:
            message = conversation.messages[-1]
            if not quiet:
                _print_new(last, message)
            last = message
    return last


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


def _finish(message: Message, beside: Mapping[str, object], *, as_json: bool) -> int:
    if as_json and not message.error:
        stats = asdict(message.stats) if message.stats else None
        answer = {"text": message.text, "thinking": message.thinking, "finish": message.finish}
        print(json.dumps({**answer, "stats": stats, **beside}, ensure_ascii=False))
    elif message.text:
        print()
    for remark in message.stats.remarks if message.stats and not as_json else ():
        say(f"{remark}.")
    if message.error:
        say(message.error)
        return 1
    return 0
