"""The command line: `ask` one question (also without the word), `batch` many, list the `models`, or `serve` the page.

The answer goes to stdout and the thought to stderr. Takes the page's road, chat.reply. Parses flags before it imports
anything heavy. Exit code 2 is a bad file or flag.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ovis_app import settings as settings_module
from ovis_app.conversation import Conversation, Message
from ovis_app.errors import BackendError
from ovis_app.settings import Flags, Settings

if TYPE_CHECKING:
    from ovis_app.backend import Offer
    from ovis_app.batch_files import Answerer
    from ovis_app.generation import GenerationSettings
    from ovis_app.limits import Limits

COMMANDS = """commands:
  ask QUESTION      answer one question (the word may be left out)
  batch INPUT       answer a folder, CSV or JSON-lines file of questions
  models            list the models that are known by name
  serve             open the page
  hash-password N   make a line for the file of those who may sign in
"""
MACHINE = ("device", "dtype", "quantize", "gpu_memory")  # settings of where and how a model is loaded
WHO = ("backend", "base_url", "api_key_env")  # settings of who answers


class BadInput(Exception):
    """A flag or file that can't be used; its text is a sentence."""


def program() -> str:
    """How this was called."""
    return "ovis" if Path(sys.argv[0]).stem == "ovis" else "python -m ovis_app"


def _say(words: object) -> None:
    print(f"{program().removeprefix('python -m ')}: {words}", file=sys.stderr)


def ask_parser() -> argparse.ArgumentParser:
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
    _add_generation(flags)
    return flags


def batch_parser() -> argparse.ArgumentParser:
    flags = Flags(prog=f"{program()} batch", description="Answer many questions; what is answered already is kept.")
    flags.add_argument("input", type=Path, help="a folder of files, a CSV or .jsonl (id, prompt, image, images, video)")
    flags.add_argument("--prompt", default="", help="what to ask where a row has no prompt of its own")
    flags.add_argument("--out", type=Path, required=True, help="where answers go: .jsonl or .csv; appended to")
    flags.add_argument("--batch-size", type=int, default=4, metavar="N", help="questions answered at once (default: 4)")
    _add_generation(flags)
    return flags


def _add_generation(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--thinking", action="store_true", help="let the model think first (shown on stderr)")
    flags.add_argument("--thinking-budget", type=int, metavar="N", help="tokens a thought may take; implies --thinking")
    flags.add_argument("--cot", action="store_true", help="ask for a step-by-step answer")
    flags.add_argument("--boxes", action="store_true", help="ask for the coordinates of what the question names")
    flags.add_argument("--system", default="", metavar="S", help="system prompt")
    flags.add_argument("--max-new-tokens", type=int, metavar="N", help="longest answer, thought included")
    flags.add_argument("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (the default)")
    flags.add_argument("--top-p", type=float, default=0.95, metavar="P", help="nucleus sampling, with a temperature")
    flags.add_argument("--seed", type=int, metavar="N", help="makes sampling repeatable")
    flags.add_argument("--min-pixels", type=int, metavar="N", help="smallest size at which the model sees a picture")
    flags.add_argument("--max-pixels", type=int, metavar="N", help="largest size at which the model sees a picture")
    flags.add_argument("--max-partition", type=int, metavar="N", help="most tiles of a picture (Ovis2 and 1.6)")
    flags.add_argument("--split", action="store_true", help="look at very long pictures in pieces, for fine print")
    flags.add_argument("--frames", type=int, metavar="N", help="frames taken from a clip")
    settings_module.add_arguments(flags, ("model", *WHO, *MACHINE))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit code: 0 answered, 1 failed, 2 bad input, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command, rest = (words[0], words[1:]) if words and words[0] in _COMMANDS else ("ask", words)
    try:
        return _COMMANDS[command](rest)
    except BadInput as error:
        _say(error)
        return 2
    except BackendError as error:
        _say(error)
        return 1
    except KeyboardInterrupt:
        _say("stopped.")
        return 130


def _settings(given: argparse.Namespace) -> Settings:
    """What the flags and variables say. Raises BadInput."""
    try:
        return settings_module.read(given)
    except ValueError as error:
        raise BadInput(error) from error


def _started(given: argparse.Namespace) -> tuple[Settings, Limits, GenerationSettings]:
    """What the flags ask for, checked; where a server is to answer, its model's defaults. Raises BadInput, and
    BackendError where the server can't be asked."""
    from ovis_app.backends import model_of
    from ovis_app.generation import GenerationSettings

    settings = _settings(given)
    spec = model_of(settings, settings.limits())
    if settings.backend != "remote" and spec.folder is None and not spec.repository:
        raise BadInput(
            f"there is no model called {settings.model}: name a known one, a folder with a config.json, "
            "or a repository."
        )
    defaults = spec.defaults
    budget = given.thinking_budget
    generation = GenerationSettings(
        max_new_tokens=defaults.max_new_tokens if given.max_new_tokens is None else given.max_new_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        seed=given.seed,
        cot=given.cot,
        boxes=given.boxes,
        thinking=given.thinking or budget is not None,
        thinking_budget=defaults.thinking_budget if budget is None else budget,
        system=given.system,
        min_pixels=given.min_pixels,
        max_pixels=given.max_pixels,
        max_partition=given.max_partition,
        frames=given.frames,
        split=given.split,
    )
    try:
        return settings, settings.limits(), generation.check()
    except BackendError as error:
        raise BadInput(error) from error


def _ask(words: Sequence[str]) -> int:
    given = ask_parser().parse_args(words)
    if not (given.question.strip() or given.image or given.video):
        raise BadInput("there is nothing to answer: ask something, or name a picture.")
    settings, limits, generation = _started(given)
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
    for remark in message.stats.remarks if message.stats and not as_json else ():
        _say(f"{remark}.")
    if message.error:
        _say(message.error)
        return 1
    return 0


def _batch(words: Sequence[str]) -> int:
    given = batch_parser().parse_args(words)
    settings, limits, generation = _started(given)
    from tqdm import tqdm

    from ovis_app import batch_files
    from ovis_app.errors import BatchError

    if not 1 <= given.batch_size <= 256:
        raise BadInput("--batch-size must be a whole number from 1 to 256.")
    if given.out.suffix.lower() not in (".jsonl", ".csv"):
        raise BadInput("--out must end in .jsonl or .csv.")
    if given.out.resolve() == given.input.resolve():
        raise BadInput("--out is the input itself: name another file.")
    try:
        asked = batch_files.rows(given.input, given.prompt)
        answer = _answerer(settings, limits, generation)
        with tqdm(total=len(asked), initial=len(batch_files.done(given.out)), unit="row") as bar:
            answered, failed = batch_files.run(
                asked,
                given.out,
                answer,
                limits=limits,
                size=given.batch_size,
                progress=bar.update,
            )
    except (BatchError, OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(error) from error
    print(f"{answered} answered, {failed} failed, in {given.out}", file=sys.stderr)
    return 1 if failed and not answered else 0


def _answerer(settings: Settings, limits: Limits, generation: GenerationSettings) -> Answerer:
    """Who answers a batch; a model is loaded once there is something to answer. Raises BackendError."""
    if settings.backend != "local":
        from ovis_app.backends import many, open_backend

        backend = open_backend(settings, limits)
        return lambda conversations: many.answers(backend, conversations, generation)
    from ovis_app.backends import require_local

    require_local()
    from ovis_app.backends.local.offline import OfflineAnswers

    offline = cache(lambda: OfflineAnswers(settings, limits))
    return lambda conversations: offline().answer(conversations, generation)


def _models(words: Sequence[str]) -> int:
    flags = Flags(prog=f"{program()} models", description="List the models that are known by name, and what fits here.")
    settings_module.add_arguments(flags, (*WHO, *MACHINE))
    settings = _settings(flags.parse_args(words))
    from ovis_app import zoo
    from ovis_app.backends import open_backend

    try:
        offers = open_backend(settings, settings.limits()).offers()
    except BackendError as error:  # without torch nobody knows what fits
        _say(error)
        print("\n".join(spec.name for spec in zoo.MODELS))
        return 0
    here, away = [o for o in offers if o.server is None], [o for o in offers if o.server is not None]
    if here:
        _print_sizes(here)
    for offer in away:
        print(f"{offer.model.name:31} on {offer.server.name}, {offer.model.context:,} tokens")  # type: ignore[union-attr]
    return 0


def _print_sizes(offers: Sequence[Offer]) -> None:
    """What models of this machine take of its memory."""
    free = offers[0].available / 1e9
    print(f"{'GB':31}{'weights':>9}{'talk':>9}{'pictures':>9}   of {free:.1f} GB that are free")
    for offer in offers:
        part = offer.resources
        sizes = () if part is None else (part.weights, part.conversations, part.pictures)
        cells = "".join(f"{size / 1e9:9.1f}" for size in sizes)
        print(f"{offer.model.name:31}{cells}   {offer.verdict}")
    print("talk: a conversation as long as the model can read. README says what each model can do.")


def _serve(words: Sequence[str]) -> int:
    from ovis_app import serve

    return serve.main(words, program=f"{program()} serve")


def _hash_password(words: Sequence[str]) -> int:
    flags = Flags(
        prog=f"{program()} hash-password",
        description="Make a line for the file of `ovis serve --auth-file`; asks for the password, or reads a pipe.",
    )
    flags.add_argument("name", help="who signs in")
    name = flags.parse_args(words).name
    from getpass import getpass

    from ovis_app.accounts import line_for
    from ovis_app.errors import UserError

    piped = not sys.stdin.isatty()
    password = sys.stdin.readline().rstrip("\r\n") if piped else getpass("Password: ")
    if not piped and getpass("The same again: ") != password:
        raise BadInput("those were two different passwords: try again.")
    try:
        print(line_for(name, password))
    except UserError as error:
        raise BadInput(error) from error
    return 0


_COMMANDS = {"ask": _ask, "batch": _batch, "models": _models, "serve": _serve, "hash-password": _hash_password}
