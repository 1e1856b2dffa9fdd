"""What people see of an attached file: a copy that a browser can show, made of the pixels that the model gets, without
whatever else the file holds (places, names, comments, other streams).

Knows folders and how a copy is laid out; the copying is done by `copy_encoder`, in a process that can be killed. What
can't be copied is no reason to refuse a file: people see its frames side by side, or a placeholder.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from ovis_app.conversation import Media
from ovis_app.errors import MediaError
from ovis_app.limits import Limits, refusal
from ovis_app.media import decoder_process
from ovis_app.media.content_hash import digest
from ovis_app.media.copy_encoder import CLIP_SIDE, NotCopied, encoded
from ovis_app.media.file_types import HEAD, kind_of
from ovis_app.media.video import Clip, sample_frames
from ovis_app.stop import NEVER

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".png", ".mp4", ".webm")
STRIP_FRAMES = 8
STRIP_SIDE = 320  # pixels of a frame's longer side
ANIMATION_FRAMES = 64  # of an animated picture, which is encoded from them
PLACEHOLDER = {"image": "This picture can't be shown here.", "video": "This clip can't be played here."}


def with_copies(media: Sequence[Media], folder: Path, limits: Limits) -> tuple[Media, ...]:
    """The checked files of a message, each with the copy that people see, in `folder` and named by the file's content;
    made where there is none yet. Raises MediaError where a file is gone or nothing can be written."""
    if not media:
        return ()
    names = [f"{digest(one)}-{one.kind}" for one in media]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        missing = {name: one for name, one in zip(names, media, strict=True) if _there(folder, name) is None}
        pictures = {name: one for name, one in missing.items() if one.kind == "image"}
        _copy_pictures(pictures, folder, limits)
        for name in missing.keys() - pictures.keys():
            _copy_clip(name, missing[name], folder, limits)
        copies = [
            _there(folder, name) or _keep(placeholder(PLACEHOLDER[one.kind]), folder, f"{name}-missing")
            for name, one in zip(names, media, strict=True)
        ]
    except OSError as error:
        log.warning("no copy made: %s", type(error).__name__)
        raise refusal(media[0].label, "could not be kept here just now: try again in a moment.") from error
    return tuple(replace(one, shown=copy) for one, copy in zip(media, copies, strict=True))


def strip(clip: Clip) -> Image.Image:
    """A clip's frames side by side, each over the second at which it begins."""
    across = min(len(clip.frames), 4)
    down = -(-len(clip.frames) // across)
    width, height = (max(sizes) for sizes in zip(*(frame.size for frame in clip.frames), strict=True))
    line, font = 22, ImageFont.load_default(14)
    sheet = Image.new("RGB", (across * (width + 4) + 4, down * (height + line) + 4), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (frame, begins) in enumerate(zip(clip.frames, clip.times, strict=True)):
        left, top = 4 + number % across * (width + 4), 4 + number // across * (height + line)
        sheet.paste(frame, (left, top))
        pen.text((left, top + height + 2), f"{begins:.1f} s", "black", font)
    return sheet


def placeholder(sentence: str) -> Image.Image:
    """A picture of a sentence, for what can't be shown."""
    tile = Image.new("RGB", (480, 270), "#eeeeee")
    ImageDraw.Draw(tile).text((240, 135), sentence, "#444444", ImageFont.load_default(20), anchor="mm")
    return tile


def _there(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.exists()), None)


def _part(name: str) -> str:
    """A name that nobody else writes to, for what isn't whole yet."""
    return f"{name}.{secrets.token_hex(4)}.part"


def _finish(folder: Path, part: str, name: str, record: dict[str, Any]) -> None:
    if (suffix := record.get("suffix")) in SUFFIXES:
        (folder / part).replace(folder / f"{name}{suffix}")
    else:
        log.info("not copied: %s", record.get("failed", "Broken"))


def _copy_pictures(pictures: dict[str, Media], folder: Path, limits: Limits) -> None:
    """One process copies all pictures; where it ends at one, another copies those after that."""
    left = list(pictures.items())
    while left:
        parts = [_part(name) for name, _ in left]
        given = [{"media": _whole(one), "out": part} for (_, one), part in zip(left, parts, strict=True)]
        job = _job(limits, "image", memory=limits.image_memory, files=len(given))
        done = 0
        try:
            asked = json.dumps(given, default=str).encode()
            with closing(decoder_process.copy_records(asked, job, folder, limits, NEVER)) as records:
                for (record, _), (name, _), part in zip(records, left, parts, strict=False):
                    done += 1
                    _finish(folder, part, name, record)
        except (decoder_process.OutOfTime, decoder_process.Broken) as error:
            log.info("not copied: %s", type(error).__name__)
        finally:
            _remove(folder, parts)
        left = left[done + 1 :] if done < len(left) else []


def _whole(picture: Media) -> dict[str, Any]:
    """What the process has to know of a picture: all but its name and how closely the model looks."""
    fields = asdict(replace(picture, name="", path=picture.path.absolute()))
    return {name: value for name, value in fields.items() if name not in ("detail", "shown")}


def _copy_clip(name: str, media: Media, folder: Path, limits: Limits) -> None:
    """The clip's own frames where browsers play them, else a small clip, else its frames side by side."""
    part = _part(name)
    try:
        with media.path.open("rb") as file:
            kind = kind_of(file.read(HEAD))
            file.seek(0)
            if kind.media == "video":
                job = _job(limits, "video", memory=limits.decode_memory)
                job |= {"format": kind.formats[0], "out": part, "pixels": limits.video_pixels}
                job |= {"budget": limits.copy_pixels, "take_over": os.fstat(file.fileno()).st_size < limits.copy_bytes}
                with closing(decoder_process.copy_records(file, job, folder, limits, NEVER)) as records:
                    for record, _ in records:
                        _finish(folder, part, name, record)
            else:
                _finish(folder, part, name, _animation(media, folder / part, limits))
    except (decoder_process.OutOfTime, decoder_process.Broken, MediaError) as error:
        log.info("not copied: %s", type(error).__name__)
    finally:
        _remove(folder, [part])
    if _there(folder, name) is None:
        with suppress(MediaError):
            small = replace(limits, frame_side=STRIP_SIDE)
            _keep(strip(sample_frames(media, STRIP_FRAMES, small)), folder, name)


def _animation(media: Media, part: Path, limits: Limits) -> dict[str, Any]:
    """The record of an animated picture, whose frames come out of a process of their own and are encoded here."""
    import av  # few files need it, and the page opens without

    clip = sample_frames(media, ANIMATION_FRAMES, replace(limits, frame_side=CLIP_SIDE))
    try:
        encoded(zip(clip.frames, clip.times, strict=True), clip.duration, str(part))
    except (av.FFmpegError, ValueError, NotCopied) as error:
        return {"failed": type(error).__name__}
    return {"suffix": ".mp4"}


def _job(limits: Limits, kind: str, *, memory: int, files: int = 1) -> dict[str, Any]:
    job = {"kind": kind, "limits": asdict(limits), "memory": memory, "file_bytes": limits.copy_bytes}
    job |= {"seconds": limits.video_seconds, "within": limits.copy_seconds}
    return job | {"cpu_seconds": int(limits.decode_seconds * 4 * files) + 1}


def _keep(picture: Image.Image, folder: Path, name: str) -> Path:
    part = _part(name)
    try:
        picture.save(folder / part, "PNG")
        return (folder / part).replace(folder / f"{name}.png")
    finally:
        _remove(folder, [part])


def _remove(folder: Path, parts: Sequence[str]) -> None:
    for part in parts:
        with suppress(OSError):
            (folder / part).unlink(missing_ok=True)
