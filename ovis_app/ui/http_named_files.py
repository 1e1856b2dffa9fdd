"""Files that a call names: each is one that whoever calls may use, or the call goes no further.

Knows how Gradio's clients write a file into JSON, the store and the app's own folder. Opens nothing: what is in a file
is looked at where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradio import FileData

from ovis_app.media.file_store import FileStore
from ovis_app.ui.http_bodies import Refused

NO_ADDRESSES = "Files must be uploaded; addresses are not fetched."
NOT_HERE = (
    "That file isn't among the uploads of this page: attach it again, or upload it to /gradio_api/upload and give the "
    "path that this returns."
)
LONGEST = 4096  # characters of a path

# Whether a holder may name what lies at a path.
MayName = Callable[[Path, str], bool]


def files_of(store: FileStore, folder: Path) -> MayName:
    """The files of the store and, for everybody, the app's own that lie in `folder`."""

    def may_name(path: Path, holder: str) -> bool:
        return (path.parent == folder and path.is_file()) or store.may_name(path, holder)

    return may_name


def check_files(value: object, may_name: MayName, holder: str) -> None:
    """Raises Refused where an object in a value of JSON stands for a file that this holder may not name. Gradio takes
    any object for a file that has a path, wherever it stands."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            if isinstance(one.get("path"), str):
                _check_file(one, may_name, holder)
            rest += one.values()
        elif isinstance(one, list):
            rest += one


def _check_file(one: dict[str, Any], may_name: MayName, holder: str) -> None:
    try:
        file = FileData(**{"meta": {"_type": "gradio.FileData"}, **one})
    except ValueError:
        raise Refused(400, NOT_HERE) from None
    if file.is_stream:  # of a recording that is still under way, which there are none of
        raise Refused(400, NOT_HERE)
    if "://" in file.path[:64]:
        raise Refused(400, NO_ADDRESSES)
    if len(file.path) > LONGEST or "\0" in file.path or str(Path(file.path)) != file.path:
        raise Refused(400, NOT_HERE)
    if not may_name(Path(file.path), holder):
        raise Refused(400, NOT_HERE)
