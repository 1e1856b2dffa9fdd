"""What somebody sent is never a page, whatever it is and however its address is spelled."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from gradio.utils import get_upload_folder

from ovis_app.ui import page
from tests.media.made import clip, corners, encoded, numbered
from tests.ui.hostile import FILES, spellings
from tests.ui.raw_http import ask, file
from tests.ui.serving import EXAMPLES, Served, Wire


@pytest.mark.parametrize("name", FILES)
def test_nothing_uploaded_is_a_page_whatever_the_spelling(
    server: Served, wire: Wire, tmp_path: Path, name: str
) -> None:
    source = tmp_path / "file"
    source.write_bytes(FILES[name])
    stored = wire.upload(source.rename(tmp_path / name))["path"]
    every = list(spellings(stored))
    for target in every if name in ("page.html", "polyglot.gif") else every[:9]:
        if " " in target or "#" in target:
            continue  # no HTTP; a browser test has them too
        said = ask(server, target)
        if said.status in (404, 400):
            assert FILES[name] not in said.body
            continue
        assert said.status == 200, target
        kind = said.headers["content-type"]
        assert kind in ("image/png", "image/jpeg"), target  # a copy, or a picture that says that there is none
        assert said.headers["content-disposition"].startswith("attachment") and b"script" not in said.body, target
        assert said.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in said.headers["content-security-policy"]


def test_the_usual_spelling_alone_is_there(server: Served, wire: Wire) -> None:
    stored = wire.upload(EXAMPLES / "shapes.png")["path"]
    there = [target for target in spellings(stored) if " " not in target and ask(server, target).status == 200]
    usual = f"/gradio_api/file={quote(stored)}"
    # The route is spelled in one way; what follows it may be percent-encoded as a browser likes.
    same = {usual, usual + "?x=.png", usual + "#.png", f"{usual.rpartition('/')[0]}%2F{usual.rpartition('/')[2]}"}
    assert usual in there and set(there) <= {*same, f"/gradio_api/file={quote(stored, safe='')}"}


def test_a_file_is_what_its_bytes_say(server: Served, wire: Wire, tmp_path: Path) -> None:
    liar = tmp_path / "picture.html"
    liar.write_bytes(encoded(corners(), "PNG"))
    said = file(server, wire.upload(liar)["path"])
    assert said.headers["content-type"] == "image/png" and said.body.startswith(b"\x89PNG")  # a copy of its pixels
    movie = clip(tmp_path / "movie.mp4", map(numbered, range(3)))
    stored = wire.upload(movie)["path"]
    said = file(server, stored)
    assert said.headers["content-type"] == "video/mp4" and said.headers["content-disposition"].startswith("inline")
    part = file(server, stored, "Range: bytes=4-7")
    assert part.status == 206 and part.body == said.body[4:8] == b"ftyp"
    assert part.headers["content-range"] == f"bytes 4-7/{len(said.body)}"
    assert "sandbox" in part.headers["content-security-policy"]
    head = ask(server, f"/gradio_api/file={quote(stored)}", method="HEAD")
    assert head.status == 200 and head.headers["content-type"] == "video/mp4" and head.body == b""


def test_files_outside_the_served_folders_are_not_there(server: Served, wire: Wire, tmp_path: Path) -> None:
    stored = Path(wire.upload(EXAMPLES / "shapes.png")["path"])
    assert file(server, stored).status == file(server, EXAMPLES / "left.png").status == 200
    outside = tmp_path / "secret.png"
    outside.write_bytes(encoded(corners(), "PNG"))
    link = stored.with_name("link.png")
    link.symlink_to(outside)
    try:
        for path in (
            outside,
            link,
            "/etc/passwd",
            page.STATIC / "page.js",
            stored.parent,
            get_upload_folder(),
            "x.png",
        ):
            assert file(server, path).status == 404, path
    finally:
        link.unlink()
