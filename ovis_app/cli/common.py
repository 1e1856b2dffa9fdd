"""What the commands share: how they are called, how they complain, and the flags of those that ask a model.

Parses flags before it imports anything heavy. Knows no command.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ovis_app import proxies
from ovis_app import settings as settings_module
from ovis_app.errors import IS_ADAPTER, BackendError, UserError, visible
from ovis_app.settings import Settings

if TYPE_CHECKING:
    from ovis_app.generation import GenerationSettings
    from ovis_app.json_answers import JsonAnswers
    from ovis_app.limits import Limits
    from ovis_app.media import PageChoice
    from ovis_app.zoo import ModelSpec

MACHINE = ("device", "dtype", "quantize", "gpu_memory")  # settings of where and how a model is loaded
WHO = ("backend", "base_url", "api_key_env")  # settings of who answers


class BadInput(Exception):
    """A flag or file that can't be used; its text is a sentence."""


def program() -> str:
    """How this was called."""
    return "ovis" if Path(sys.argv[0]).stem == "ovis" else "python -m ovis_app"


def say(words: object) -> None:
    """Words for people, whatever names of files and folders are in them."""
    lines = "\n".join(map(visible, str(words).split("\n")))
    print(f"{program().removeprefix('python -m ')}: {lines}", file=sys.stderr)


def add_generation(flags: argparse.ArgumentParser) -> None:
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
    settings_module.add_arguments(flags, ("model", "adapter", *WHO, *MACHINE))


def path(text: str) -> Path:
    """What a flag names: a file or a folder, which need not be there yet."""
    if not text.strip():  # which Path takes for the folder that we are in
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path's own raises for a ~ that nobody has


def add_schema(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--schema", type=Path, metavar="FILE", help="ask for JSON that fits this JSON Schema; check it")


def schema_of(given: argparse.Namespace) -> JsonAnswers | None:
    """The schema that was named, if one was. Raises BadInput."""
    if given.schema is None:
        return None
    from ovis_app.json_answers import JsonAnswers, SchemaRefused

    try:
        return JsonAnswers.read(given.schema)
    except SchemaRefused as error:
        raise BadInput(error) from error


def add_pages(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--pages", metavar="1-3,7,9-", help="which pages of PDFs to look at (default: all)")
    flags.add_argument(
        "--dpi", type=int, metavar="N", help="draw pages in this resolution (default: as a model sees it)"
    )


def pages_of(given: argparse.Namespace) -> PageChoice:
    """Which pages were asked for. Raises BadInput."""
    from ovis_app.media import PageChoice, PageRange

    if given.dpi is not None and not 10 <= given.dpi <= 1200:
        raise BadInput("--dpi must be a whole number from 10 to 1200.")
    choice = PageChoice(dpi=given.dpi, fewer="choose pages, as --pages 1-3 does")
    try:
        return choice if given.pages is None else replace(choice, wanted=PageRange.parse(given.pages))
    except UserError as error:
        raise BadInput(f"--pages: {error}") from error


def settings_of(given: argparse.Namespace) -> Settings:
    """What the flags and variables say. Raises BadInput."""
    try:
        return settings_module.read(given)
    except ValueError as error:
        raise BadInput(visible(str(error))) from error  # one line, whatever a folder is called


def prepare_proxies(settings: Settings) -> None:
    """Raises BadInput where servers are to be asked through a proxy that nobody here can use."""
    proxies.prepare()
    try:
        if settings.base_url:
            proxies.check()
    except UserError as error:
        raise BadInput(error) from error


def check_there_is(spec: ModelSpec, model: str) -> None:
    """Raises BadInput where `model` names nothing that could be loaded."""
    if spec.folder is None and not spec.repository:
        raise BadInput(
            f"there is no model called {model}: name a known one, a folder with a config.json, or a repository."
        )


def started(
    given: argparse.Namespace, *, tokens: int | None = None
) -> tuple[Settings, ModelSpec, Limits, GenerationSettings]:
    """What the flags ask for, checked, and the model that is to answer; where that is a server's, its defaults.
    `tokens` is the longest answer where nobody says. Raises BadInput, and BackendError where the server can't be
    asked."""
    from ovis_app.backends import model_of
    from ovis_app.generation import GenerationSettings
    from ovis_app.zoo import is_adapter

    settings = settings_of(given)
    prepare_proxies(settings)
    spec = model_of(settings, settings.limits())
    if settings.backend != "remote":
        if is_adapter(spec.id):
            raise BadInput(IS_ADAPTER.format(name=settings.model))
        check_there_is(spec, settings.model)
    defaults = spec.defaults
    budget = given.thinking_budget
    generation = GenerationSettings(
        max_new_tokens=tokens or defaults.max_new_tokens if given.max_new_tokens is None else given.max_new_tokens,
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
        return settings, spec, settings.limits(), generation.check()
    except BackendError as error:
        raise BadInput(error) from error
