"""All that can be judged of a checkpoint without reading its weights: each group of checks by itself, so that a file
which is missing or damaged is one line and the others are judged still.

Knows which check needs which file; refuses to know how a line is shown.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from ovis_app import zoo
from ovis_app.checkpoints.checkpoint import read_headers
from ovis_app.checkpoints.hub import Progress, folder_here, folder_of
from ovis_app.checkpoints.tokenizer import read_tokenizer
from ovis_app.doctor import files, machine, pixels, prompts, tokens, weights
from ovis_app.doctor.finding import Finding, not_judged
from ovis_app.errors import BackendError
from ovis_app.models.config import OvisConfig
from ovis_app.settings import Settings
from ovis_app.zoo import ModelSpec

log = logging.getLogger(__name__)

OCR2_ALONE = "{name} is transformers' own class: this app has nothing to hold its files against"
NOT_FETCHED = "{name} isn't on this disk, and can't be used here, so it isn't fetched"


def findings(spec: ModelSpec, settings: Settings, progress: Progress) -> Iterator[Finding]:
    """Of the machine first, which takes no file. What isn't here is fetched, unless the model can't be used here."""
    folder = folder_here(spec)
    own = spec if folder is None or not spec.guessed else told(spec, folder)
    found = list(machine.findings(own, settings))
    yield from found
    if spec.refused:
        yield Finding("model", "failed", spec.refused)
    elif not any(one.verdict == "failed" for one in found):
        try:
            folder = folder_of(spec, progress)
        except BackendError as error:
            yield Finding("files", "failed", str(error), does="loads nothing")
    elif folder is None:
        yield not_judged("files", NOT_FETCHED.format(name=spec.name))
    if folder is not None:
        yield from of_files(folder, spec if not spec.guessed else told(spec, folder), settings)


def told(spec: ModelSpec, folder: Path) -> ModelSpec:
    """The row of a model of which the name told little, by its files."""
    return zoo.of_folder(folder, id=spec.id, name=spec.name)


def of_files(folder: Path, spec: ModelSpec, settings: Settings | None) -> Iterator[Finding]:
    """What its files say, as far as they can be read. Without settings no device is asked anything."""
    raw = files.read(folder, "config.json")
    if raw.get("model_type") == zoo.PAGE_READER:
        yield not_judged("files", OCR2_ALONE.format(name=spec.name))
        return
    try:
        config = OvisConfig.read(folder)
    except BackendError as error:
        yield Finding("config", "failed", str(error))
        return
    yield Finding("config", "ok", f"{config.family}, {config.llm_config.model_type}, layout {config.layout}")
    for name, check in pixels.CHECKS.items():
        yield from _whole(name, partial(_alone, check, config))
    yield from _whole("special ids", lambda: _of_tokenizer(folder, spec, config))
    yield from _whole("tensor names", lambda: _of_weights(folder, spec, config))
    if settings is None:
        return
    with suppress(BackendError):  # the device isn't there: that has its own line
        yield machine.attention(config.llm_config.model_type, machine.placement_of(spec, settings))


def _whole(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A group of checks; a line that says why where its files can't be read, or say what nobody thought of."""
    try:
        yield from check()
    except BackendError as error:
        yield Finding(name, "failed", str(error), does="doesn't load it")
    except Exception as error:  # of a stranger's files: of any kind
        log.info("a file says something odd", exc_info=error)
        yield not_judged(name, f"a file says something odd of it ({type(error).__name__})")


def _alone(check: Callable[[OvisConfig], Finding], config: OvisConfig) -> Iterator[Finding]:
    yield check(config)


def _of_tokenizer(folder: Path, spec: ModelSpec, config: OvisConfig) -> Iterator[Finding]:
    tokenizer = read_tokenizer(folder, config, spec.name)
    yield from tokens.findings(folder, config, tokenizer)
    yield from prompts.findings(folder, config, tokenizer, files.read(folder, "config.json"))


def _of_weights(folder: Path, spec: ModelSpec, config: OvisConfig) -> Iterator[Finding]:
    tensors = read_headers(folder, config)
    yield from weights.findings(folder, spec, config, tensors, files.read(folder, "config.json"))
