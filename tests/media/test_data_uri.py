"""Files that are written into a request: what is no data: URI, damaged or too large is one sentence."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ovis_app.errors import MediaError
from ovis_app.limits import Limits
from ovis_app.media import data_uri
from ovis_app.media.data_uri import DataUri, save


@pytest.mark.parametrize(
    ("text", "kind", "data"),
    [
        ("data:image/png;base64,AAAA", "image/png", "AAAA"),
        ("DATA:Image/PNG;charset=x;Base64,AA,BB", "image/png", "AA,BB"),
        ("data:;base64,", "", ""),
    ],
)
def test_how_they_are_written(text: str, kind: str, data: str) -> None:
    assert DataUri.of(text, "file 1") == DataUri(kind, data)


@pytest.mark.parametrize("text", ["", "data:", "data:image/png,AAAA", "image/png;base64,AAAA", "data:image/png;base64"])
def test_what_is_none_is_named(text: str) -> None:
    with pytest.raises(MediaError, match=r"^image 2 must be a data: URI in base64"):
        DataUri.of(text, "image 2")


@pytest.mark.parametrize("data", ["%%%", "AAA", "AA AA", "é", "=A=="])
def test_damaged_base64_is_a_sentence(tmp_path: Path, data: str) -> None:
    with pytest.raises(MediaError, match=r"^The base64 of image 2 is damaged: encode it again\.$"):
        save(data, tmp_path / "x", "image 2", Limits())


def test_what_is_too_large_is_never_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(video_bytes=1000)
    save(base64.b64encode(bytes(1000)).decode(), tmp_path / "fits", "a", limits)
    assert (tmp_path / "fits").stat().st_size == 1000
    monkeypatch.setattr(data_uri.base64, "b64decode", lambda *_, **__: pytest.fail("decoded"))
    with pytest.raises(MediaError, match=r"^“a” is larger than the .* MB allowed for files"):
        save(base64.b64encode(bytes(1010)).decode(), tmp_path / "x", "a", limits)
