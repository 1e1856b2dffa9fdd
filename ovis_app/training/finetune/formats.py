"""What an entry says: the original's `conversations` and captions, or ms-swift's `messages`; which files go with it.

Knows both ways of writing a sample, and the rules of its turns and tags. Opens nothing, and refuses to know models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ovis_app.batch_turns import NAMES, names_in
from ovis_app.conversation import whole
from ovis_app.errors import BatchError, DataError
from ovis_app.named_files import printable

Role = Literal["system", "human", "gpt", "ignored_gpt"]
ROLES: dict[str, Role] = {"system": "system", "human": "human", "user": "human", "ignored_gpt": "ignored_gpt"}
ROLES |= {"gpt": "gpt", "assistant": "gpt"}
IMAGE, VIDEO = "<image>", "<video>"
CAPTION = f"{IMAGE}\n"  # what stands before a caption that comes without a template


@dataclass(frozen=True)
class Turn:
    """One turn as it is written, with `<image>` and `<video>` where pictures and the clip go."""

    role: Role
    text: str


@dataclass(frozen=True)
class Draft:
    """A sample whose files are names. A clip is a `video` or its `frames`; a `caption` is written without a chat
    format, its template as the first turn."""

    turns: tuple[Turn, ...]
    pictures: tuple[str, ...] = ()
    video: str = ""
    frames: tuple[str, ...] = ()
    caption: bool = False


def draft(value: object, template: str | None) -> Draft:
    """The sample that an entry's value is; `template` is its set's for captions. Raises DataError, whose text says
    what is wrong with it."""
    if not isinstance(value, dict):
        raise DataError("is no object")
    pictures, videos = _names(value, "image", "images"), _names(value, "video", "videos")
    frames = _names(value, "video_frames")
    if pictures and (videos or frames):
        raise DataError("has pictures and a clip: a sample takes one of them")
    if len(videos) > 1 or (videos and frames):
        raise DataError(f"has {len(videos) + bool(frames)} clips: a sample takes one")
    files: dict[str, Any] = {"pictures": pictures, "video": videos[0] if videos else "", "frames": frames}
    if "conversations" not in value and "messages" not in value and "caption" in value:
        return _caption(value, template, files)
    key = "conversations" if "conversations" in value else "messages"
    turns, inside = _turns(value.get(key), key)
    files = {**files, **inside} if any(inside.values()) else files
    found = Draft(turns, **files)
    if key == "messages":
        found = _tagged(found)
    _check_turns(found.turns)
    _check_tags(found)
    return found


def identity(value: object, number: int) -> str:
    """What a sample is called: its id, or its place."""
    id = value.get("id") if isinstance(value, dict) else None
    return printable(str(id)) if isinstance(id, str | int) and str(id) else f"sample {number}"


def tags(text: str) -> tuple[int, int]:
    """How many `<image>` and `<video>` a text has."""
    return text.count(IMAGE), text.count(VIDEO)


def _names(value: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
    try:
        return tuple(name for key in keys for name in names_in(value.get(key)))
    except BatchError as error:
        raise DataError(f"has a file in {keys[0]} that isn't given by its name") from error


def _turns(value: object, key: str) -> tuple[tuple[Turn, ...], dict[str, Any]]:
    """The turns, and the files that stand among their words."""
    if not isinstance(value, list):
        raise DataError(f"has no list of {key}")
    turns, pictures, videos = list[Turn](), list[str](), list[str]()
    for number, item in enumerate(value, 1):
        if not isinstance(item, dict):
            raise DataError(f"has a turn {number} that is no object")
        name = item.get("from", item.get("role"))
        role = ROLES.get(name.lower()) if isinstance(name, str) else None
        if role is None:
            raise DataError(
                f"has a turn {number} of an unknown role, “{printable(str(name))}”: known are system, human, gpt and "
                "ignored_gpt (or system, user and assistant)"
            )
        text = _text(item.get("value", item.get("content")), number, pictures, videos)
        ignored = role == "gpt" and item.get("loss") is False  # as ms-swift writes what isn't learnt
        turns.append(Turn("ignored_gpt" if ignored else role, text))
    if len(videos) > 1 or (pictures and videos):
        raise DataError("has a clip beside another file: a sample takes pictures or one clip")
    return tuple(turns), {"pictures": tuple(pictures), "video": videos[0] if videos else ""}


def _text(value: object, number: int, pictures: list[str], videos: list[str]) -> str:
    """A turn's words; those in parts, as OpenAI writes them, with a tag for each of their files."""
    if isinstance(value, str):
        return whole(value)
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise DataError(f"has a turn {number} without text")
    words = list[str]()
    for part in value:
        kind = part.get("type", "text")
        if kind == "text":
            words.append(str(part.get("text", "")))
            continue
        moving = str(kind).startswith("video")
        found = _names({"file": {key: part[key] for key in NAMES if key in part}}, "file")
        (videos if moving else pictures).extend(found)
        words += [VIDEO if moving else IMAGE] * len(found)
    return "\n".join(words)


def _tagged(found: Draft) -> Draft:
    """The same with a line for each file before the first question, where no tag says where files go: as ms-swift."""
    if any(any(tags(turn.text)) for turn in found.turns):
        return found
    lines = f"{IMAGE}\n" * len(found.pictures) + f"{VIDEO}\n" * bool(found.video or found.frames)
    first = next((place for place, turn in enumerate(found.turns) if turn.role == "human"), None)
    if first is None or not lines:
        return found
    asked = Turn("human", lines + found.turns[first].text)
    return replace(found, turns=(*found.turns[:first], asked, *found.turns[first + 1 :]))


def _check_turns(turns: Sequence[Turn]) -> None:
    for number, turn in enumerate(turns, 1):
        if turn.role == "system" and number > 1:
            raise DataError(f"has a turn {number} of the system: only the first may be")
        if turn.role == "gpt" and not turn.text.strip():
            raise DataError(f"has an empty answer in turn {number}")
        if turn.role != "human" and any(tags(turn.text)):
            raise DataError(
                f"has an {IMAGE} or {VIDEO} in turn {number}, of {turn.role}: only a human's turn shows files"
            )
    if not any(turn.role == "gpt" for turn in turns):
        raise DataError("has no turn of gpt: nothing could be learnt from it")
    if not any(turn.role == "human" for turn in turns):
        raise DataError("has no turn of a human: an answer needs a question")


def _check_tags(found: Draft) -> None:
    """As many tags as files, of each kind."""
    pictures, clips = map(sum, zip(*(tags(turn.text) for turn in found.turns), strict=True))
    have = len(found.pictures), int(bool(found.video or found.frames))
    for tag, wanted, there, what in ((IMAGE, pictures, have[0], "picture"), (VIDEO, clips, have[1], "clip")):
        if wanted != there:
            plural = "" if there == 1 else "s"
            raise DataError(f"has {wanted} {tag} in its text and {there} {what}{plural}")


def _caption(value: Mapping[str, Any], template: str | None, files: Mapping[str, Any]) -> Draft:
    own = value.get("caption_template", template)
    around, said = CAPTION if own is None else own, value.get("caption")
    if len(files["pictures"]) != 1 or files["video"] or files["frames"]:
        raise DataError(f"has a caption and {len(files['pictures'])} pictures: a caption is of one picture")
    if not isinstance(said, str) or not said.replace(IMAGE, "").strip():
        raise DataError("has an empty caption")
    if not isinstance(around, str) or around.count(IMAGE) != 1:
        raise DataError(f"has a caption_template without exactly one {IMAGE}")
    turns = (Turn("human", around), Turn("gpt", said.replace(IMAGE, "").strip()))
    return Draft(turns, pictures=files["pictures"], caption=True)
