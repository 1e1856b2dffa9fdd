"""Files that a program gives with a call: uploaded before it, or written into it as a data URI. Never an address.

Knows the store of uploads. Refuses to know what a file is: media/attach.py is the gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict
from urllib.parse import unquote

from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media.data_uri import FILE_ROUTE, DataUri, is_data, save
from ovis_app.media.file_store import FileStore

HOW = "upload the file to /gradio_api/upload and give the path that this returns, or give a data URI"
NO_FILE = f"A file is missing, or isn't one: {HOW}."
NOT_HERE = f"That file isn't among the uploads of this page: {HOW}."
NO_ADDRESS = f"Addresses are not fetched: {HOW}."


class NotHere(MediaError):
    """An upload that isn't there, or is somebody else's."""


class _Meta(TypedDict):
    _type: Literal["gradio.FileData"]


class Uploaded(TypedDict):
    """A file as Gradio's clients send it: `path` is what its upload returned."""

    path: str
    meta: _Meta


@dataclass(frozen=True)
class GivenFiles:
    """The files of one call. What is written into the call is stored in the folder `own`, made
    at need."""

    store: FileStore  # of what is uploaded
    holder: str  # whose the uploads are from now on; without one they are nobody's, and knowing their paths is access
    own: Path
    limits: Limits

    def file(self, value: object, name: str) -> tuple[Path, str]:
        """Where a file lies, and what it is called: `name` where it has none. Raises MediaError."""
        if isinstance(value, dict):
            return self._uploaded(value.get("path"), value.get("orig_name"))
        if not isinstance(value, str) or not value:
            raise MediaError(NO_FILE)
        if is_data(value):
            file = self.own / name.replace(" ", "-")
            save(DataUri.of(value, name).data, file, name, self.limits)
            return file, name
        _, route, path = value.partition(FILE_ROUTE)
        if not route and "://" in value:
            raise MediaError(NO_ADDRESS)
        return self._uploaded(unquote(path) if route else value, None)

    def _uploaded(self, path: object, name: object) -> tuple[Path, str]:
        """A file of the store, which nobody else holds."""
        try:
            found = self.store.claim(Path(str(path)), self.holder)
        except MediaError as error:
            raise NotHere(NOT_HERE) from error
        return found, name if isinstance(name, str) and name else self.store.name_of(found)
