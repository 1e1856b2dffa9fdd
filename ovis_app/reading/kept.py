"""The folder that a reading goes to: `document.md`, its figures in `images`, and `pages.jsonl`, a line a page, from
which the text is made. What stands there is there at whatever moment a run ends.

Knows files. Only names that are made here are written, whatever a page says.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image

from ovis_app.batch_files import cut
from ovis_app.errors import BatchError
from ovis_app.named_files import printable
from ovis_app.private_folder import held
from ovis_app.reading.clean_up import Box, tamed
from ovis_app.reading.figures import cut_out
from ovis_app.reading.sources import page_name

TEXT, PAGES, FIGURES = "document.md", "pages.jsonl", "images"
TAKEN = "Another run reads into {out} now: wait until it ends, or name another folder with --out."
_DASHES = re.compile(r"-{2,}+")


@dataclass(frozen=True)
class Read:
    """What came of one page, 0 of a picture: its text, or why there is none, and what is to be said of it."""

    file: str
    digest: str
    page: int
    text: str = ""
    figures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    model: str = ""
    tokens: int = 0

    @property
    def name(self) -> str:
        return page_name(self.file, self.page)

    @property
    def title(self) -> str:
        """The name where a sentence begins."""
        return self.name[:1].upper() + self.name[1:]


Key = tuple[str, int]  # a file's content, and the page


class Kept:
    """What was read into a folder so far, for this run alone until it is closed. Raises BatchError where another run
    has it, where it holds something else, and where nothing can be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pages: dict[Key, Read] = {}
        with ExitStack() as kept:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if not kept.enter_context(held(folder)):
                    raise BatchError(TAKEN.format(out=self._shown))
                self._resume()
                (folder / FIGURES).mkdir(exist_ok=True)
                self._file = (folder / PAGES).open("a", encoding="utf-8", newline="\n")
            except (OSError, ValueError) as error:
                raise self._unwritable() from error
            if self._pages:
                self.write()
            self._held = kept.pop_all()

    @property
    def text(self) -> Path:
        """Where the text lies."""
        return self.folder / TEXT

    def close(self) -> None:
        with self._held, suppress(OSError):  # said already, by what couldn't be written
            self._file.close()

    def has(self, key: Key) -> bool:
        """Whether a page was read; one that failed is tried again."""
        return key in self._pages and not self._pages[key].error

    def add(self, page: Read) -> None:
        """Keeps a page whose figures lie here already."""
        try:
            self._file.write(json.dumps(asdict(page), ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable() from error
        self._pages[page.digest, page.page] = page
        self.write()

    def write(self) -> None:
        """The text of all pages that were read, in its old one's place once it is whole."""
        new = self.folder / f"{TEXT}.part"
        try:
            new.write_text(text_of(tuple(self._pages.values())), encoding="utf-8", newline="\n")
            new.replace(self.text)
        except OSError as error:
            raise self._unwritable() from error

    def figure_names(self, key: Key) -> tuple[str, str]:
        """What figures of a page are called, before and behind their number, from this folder."""
        return f"{FIGURES}/{key[0][:12]}-{key[1]:04}-", ".jpg"

    def draw(self, key: Key, boxes: Sequence[Box], page: Image.Image | None) -> tuple[str, ...]:
        """Cuts the parts out of a page, in place of those of an earlier try. Returns their names."""
        before, behind = self.figure_names(key)
        names = tuple(f"{before}{number}{behind}" for number in range(1, len(boxes) + 1))
        try:
            for old in self.folder.glob(f"{before}*{behind}"):
                old.unlink()
            for name, box in zip(names, boxes, strict=True):
                assert page is not None
                (self.folder / name).write_bytes(cut_out(page, box))
        except OSError as error:
            raise self._unwritable() from error
        return names

    def _resume(self) -> None:
        """Reads what is there. Cuts a half-written line off."""
        pages = self.folder / PAGES
        if not pages.exists():
            used = [name for name in (TEXT, FIGURES) if os.path.lexists(self.folder / name)]
            if used and not (used == [FIGURES] and not any((self.folder / FIGURES).iterdir())):
                raise BatchError(f"{self._shown} has a {used[0]} of something else: name another folder with --out.")
            return
        with pages.open("rb") as file:
            first = file.readline(1 << 26)
        ours = b'{"file": '
        if not (_read_of(first) if first.endswith(b"\n") else ours.startswith(first[: len(ours)])) and first:
            raise BatchError(f"{PAGES} in {self._shown} isn't of `ovis read`: name another folder with --out.")
        cut(pages)
        with pages.open("rb") as file:
            found = [page for line in file if (page := _read_of(line)) is not None]
        self._pages = {}
        for page in found:
            self._pages[page.digest, page.page] = page

    @property
    def _shown(self) -> str:
        return f"the folder {printable(self.folder.name) or 'here'}"

    def _unwritable(self) -> BatchError:
        return BatchError(f"Nothing can be written into {self._shown}: check its permissions and the free disk space.")


def text_of(pages: Sequence[Read]) -> str:
    """All pages as one text: files as they came first, the pages of each in their order."""
    place = {known: number for number, known in enumerate(dict.fromkeys(page.digest for page in pages))}
    return "".join(map(part_of, sorted(pages, key=lambda page: (place[page.digest], page.page))))


def part_of(page: Read) -> str:
    """One page's part of the text, with a comment that says which it is."""
    about = "; ".join((page.name.replace("“", "").replace("”", ""), *page.notes))
    failed = f"> {tamed(f'{page.title} was not read: {page.error}')}"
    parts = (f"<!-- {_DASHES.sub('-', about)} -->", failed if page.error else page.text)
    return "".join(f"{part}\n\n" for part in parts if part)


_TYPES = {one.name: one.default for one in fields(Read)}


def _read_of(line: bytes) -> Read | None:
    """The page of a line; None where it isn't one."""
    with suppress(ValueError, RecursionError):
        found = json.loads(line)
        if isinstance(found, dict) and set(found) == set(_TYPES) and all(_fits(found[name], name) for name in _TYPES):
            return Read(**{**found, "figures": tuple(found["figures"]), "notes": tuple(found["notes"])})
    return None


def _fits(value: Any, name: str) -> bool:
    if name in ("figures", "notes"):
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    if name in ("page", "tokens"):
        return isinstance(value, int) and value >= 0
    return isinstance(value, str)
