"""Files as programs write them into a request: whole, as a data: URI in base64, or by the address at which an upload is
served.

Knows how they are written and how large they may be; refuses to know what they hold: `attach` is the gate.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

from ovis_app.errors import MediaError
from ovis_app.limits import MEGABYTE, Limits, refusal
from ovis_app.media.incoming_file import writing

FILE_ROUTE = "/gradio_api/file="  # what an upload's address ends with, behind the page's own name
NOT_DATA = "{name} must be a data: URI in base64, which begins as data:image/png;base64, does."
DAMAGED = "The base64 of {name} is damaged: encode it again."


@dataclass(frozen=True)
class DataUri:
    """`kind` is what the file is said to be, in lower case; `data` is in base64, whole or, where its kind has several
    files with commas between them, as it came."""

    kind: str
    data: str

    @staticmethod
    def of(text: str, name: str) -> DataUri:
        """Raises MediaError where it is none; `name` is what sentences call the file."""
        head, comma, data = text.partition(",")
        if not comma or not is_data(head) or not head.lower().endswith(";base64"):
            raise MediaError(NOT_DATA.format(name=name))
        return DataUri(head[5:].partition(";")[0].strip().lower(), data)


def is_data(text: str) -> bool:
    return text[:5].lower() == "data:"


def save(data: str, path: Path, name: str, limits: Limits) -> None:
    """Puts a file in base64 at `path`. Its size is asked before it is decoded: that of the largest file that may be
    attached, since only its content says what it is. Raises MediaError."""
    if len(data) * 3 // 4 > limits.video_bytes + 2:  # two of the last three may be padding
        most = limits.video_bytes / MEGABYTE
        raise refusal(name, f"is larger than the {most:g} MB allowed for files: send a smaller one.")
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaError(DAMAGED.format(name=name)) from error
    with writing():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(content)
