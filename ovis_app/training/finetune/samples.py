"""Files of training samples to `Sample` values, every file of a sample looked at; what can't be used is named.

Knows data on the disk. Refuses to know models, tokens and torch: all of this is found out before a model is loaded.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os.path import normpath
from pathlib import Path
from typing import Literal

from ovis_app.conversation import Media, MediaKind
from ovis_app.errors import DataError, MediaError
from ovis_app.limits import MEGABYTE, Limits
from ovis_app.media.images import UNSEEN, Checked, check_images
from ovis_app.media.video import check_video
from ovis_app.named_files import printable
from ovis_app.training.finetune.entries import Source, entries
from ovis_app.training.finetune.formats import Draft, Turn, draft, identity

FEW = 5  # samples that a refusal names
TOGETHER = 64  # pictures that one process looks at

Kind = Literal["one picture", "several pictures", "a clip", "text only"]
Note = Callable[[str], None]  # hears how far the looking is


@dataclass(frozen=True)
class Sample:
    """A conversation to learn from. Its pictures stand in the order of their tags; a clip is a `video` or `frames`, and
    stands where `<video>` does. A `caption` is written without a chat format, its template as the first turn."""

    file: str
    id: str
    turns: tuple[Turn, ...]
    pictures: tuple[Media, ...] = ()
    video: Media | None = None
    frames: tuple[Media, ...] = ()
    caption: bool = False

    @property
    def kind(self) -> Kind:
        if self.video or self.frames:
            return "a clip"
        return "text only" if not self.pictures else "one picture" if len(self.pictures) == 1 else "several pictures"

    @property
    def media(self) -> tuple[Media, ...]:
        """All of its files."""
        return (*self.pictures, *((self.video,) if self.video else ()), *self.frames)


@dataclass(frozen=True)
class Problem:
    """Why a sample can't be used: what its file and id are followed by. `place` is its own in the file, from 1."""

    file: str
    id: str
    reason: str
    place: int = 0

    def __str__(self) -> str:
        return f"{self.file}, {self.id}: {self.reason}"


@dataclass(frozen=True)
class Found:
    """What files of samples hold."""

    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()

    def usable(self, *, skip_bad: bool) -> tuple[Sample, ...]:
        """The samples. Raises DataError, which names the first that can't be used, unless those are to be skipped;
        and where there is none."""
        if self.problems and (not skip_bad or not self.samples):
            raise refusal(self.problems, "" if skip_bad else ", or leave them out with --skip-bad")
        return self.samples


def refusal(problems: Sequence[Problem], remedy: str = "") -> DataError:
    """The first few problems, a line each, and how many there are."""
    many = "1 sample" if len(problems) == 1 else f"{len(problems):,} samples"
    rest = [f"  and {len(problems) - FEW:,} more"] if len(problems) > FEW else []
    shown = [f"  {problem}" for problem in problems[:FEW]]
    return DataError("\n".join([f"{many} can't be used: mend what is named{remedy}.", *shown, *rest]))


def read(sources: Sequence[Source], limits: Limits, *, note: Note = lambda _: None) -> Found:
    """The samples of all the files. Raises DataError where a file as a whole can't be read, or is empty."""
    drafts, problems = list[_Named](), list[Problem]()
    for source in sources:
        before = len(drafts) + len(problems)
        for one in _drafts(source):
            if isinstance(one, Problem):
                problems.append(one)
            else:
                drafts.append(one)
        if len(drafts) + len(problems) == before:
            raise DataError(f"{source.file.name} is empty: it needs at least one sample.")
    looked = _Looked(limits)
    stills, clips = ([path for named in drafts for path in paths(named)] for paths in (_Named.stills, _Named.clips))
    looked.at(stills, clips, note)
    samples = list[Sample]()
    for named in drafts:
        try:
            samples.append(named.sample(looked))
        except (DataError, MediaError) as error:
            problems.append(Problem(named.source.file.name, named.id, str(error), named.place))
    order = {source.file.name: place for place, source in enumerate(sources)}
    problems.sort(key=lambda problem: (order[problem.file], problem.place))
    return Found(tuple(samples), tuple(problems))


def fingerprint(samples: Sequence[Sample]) -> str:
    """A digest of what is learnt from: words, and names and sizes of files."""
    whole = hashlib.sha256()
    for sample in samples:
        files = [(media.path.name, media.path.stat().st_size) for media in sample.media]
        whole.update(repr((sample.id, sample.turns, files)).encode())
    return whole.hexdigest()


@dataclass(frozen=True)
class _Named:
    """A draft, and where its files are looked for."""

    source: Source
    id: str
    place: int
    draft: Draft

    def stills(self) -> list[Path]:
        """Its pictures that may be looked at."""
        return self._inside(*self.draft.pictures, *self.draft.frames)

    def clips(self) -> list[Path]:
        return self._inside(self.draft.video) if self.draft.video else []

    def sample(self, looked: _Looked) -> Sample:
        """Raises DataError or MediaError for the first of its files that can't be used."""
        pictures = tuple(self._media(name, looked) for name in self.draft.pictures)
        frames = tuple(self._media(name, looked) for name in self.draft.frames)
        video = self._media(self.draft.video, looked, "video") if self.draft.video else None
        return Sample(
            self.source.file.name, self.id, self.draft.turns, pictures, video, frames, self.draft.caption
        )  # fmt: skip

    def _media(self, name: str, looked: _Looked, kind: MediaKind = "image") -> Media:
        path, folder = self._path(name), self._folder
        if not path.is_relative_to(folder):
            raise DataError(
                f"“{printable(name)}” lies outside the folder {folder.name}, where pictures are looked for: name one "
                "above both with --image-dir"
            )
        try:
            verdict = looked.verdict(path, kind)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DataError(
                f"there is no file “{printable(name)}” in {folder.name}: check the name, or name the folder with "
                "--image-dir"
            ) from error
        except (OSError, ValueError) as error:
            raise DataError(f"“{printable(name)}” can't be read: check its name and its permissions") from error
        return Media(kind, path, path.name, pictures=verdict.pictures)

    @property
    def _folder(self) -> Path:
        return Path(normpath(self.source.folder.absolute()))

    def _inside(self, *names: str) -> list[Path]:
        return [path for path in map(self._path, names) if path.is_relative_to(self._folder)]

    def _path(self, name: str) -> Path:
        """Where a file lies; what isn't there may be written in Windows' way."""
        path = Path(normpath(self._folder / name))
        other = Path(normpath(self._folder / name.replace("\\", "/")))
        return other if "\\" in name and not _is_there(path) else path


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _drafts(source: Source) -> Iterator[_Named | Problem]:
    for entry in entries(source.file):
        id = identity(entry.value, entry.number)
        try:
            if entry.problem:
                raise DataError(entry.problem)
            yield _Named(source, id, entry.number, draft(entry.value, source.template))
        except DataError as error:
            yield Problem(source.file.name, id, str(error), entry.number)


@dataclass
class _Looked:
    """What was found out of files, each looked at once."""

    limits: Limits
    known: dict[tuple[Path, MediaKind], Checked | Exception] = field(default_factory=dict)

    def at(self, stills: Sequence[Path], clips: Sequence[Path], note: Note) -> None:
        """Looks at all of them, pictures some at a time in a process that can be killed."""
        wanted = [path for path in dict.fromkeys(stills) if self._may_be_opened(path, "image")]
        waiting = list(wanted)
        while waiting:
            note(f"looked at {len(wanted) - len(waiting):,} of {len(wanted):,} pictures")
            part = waiting[:TOGETHER]
            verdicts = check_images([(path, path.name) for path in part], self.limits)
            late = list[Path]()  # a call's time was over before them
            for path, verdict in zip(part, verdicts, strict=True):
                if UNSEEN in str(verdict):
                    late.append(path)
                else:
                    self.known[path, "image"] = verdict
            waiting = late + waiting[TOGETHER:]
        for number, path in enumerate(dict.fromkeys(clips)):
            note(f"looked at {number:,} of {len(clips):,} clips")
            if self._may_be_opened(path, "video"):
                try:
                    check_video(path, path.name, self.limits)
                    self.known[path, "video"] = Checked(1, moves=False)
                except MediaError as error:
                    self.known[path, "video"] = error

    def verdict(self, path: Path, kind: MediaKind) -> Checked:
        """What a file is. Raises why it can't be used."""
        found = self.known.get((path, kind), FileNotFoundError())
        if isinstance(found, Exception):
            raise found
        return found

    def _may_be_opened(self, path: Path, kind: MediaKind) -> bool:
        """Whether it is a file of a size that is read; else why not is known now."""
        most = self.limits.image_bytes if kind == "image" else self.limits.video_bytes
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise DataError(f"“{printable(path.name)}” is no file")
            if about.st_size > most:
                raise DataError(f"“{printable(path.name)}” is larger than the {most / MEGABYTE:g} MB that are read")
            with path.open("rb"):
                return True
        except (OSError, ValueError, DataError) as error:
            self.known[path, kind] = error
            return False
