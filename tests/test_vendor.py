"""The page's libraries lie here as they came: each with its version, licence, source and checksum."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.vendor import ROOT, SUMS, VENDOR, WANTED, files_of, folder_of, sums

LIBRARIES = json.loads(WANTED.read_text("utf-8"))
FOLDERS = (VENDOR, ROOT / "tests" / "browser" / "vendor")


def test_every_vendored_file_is_the_one_that_was_brought() -> None:
    there = [file for folder in FOLDERS for file in folder.rglob("*") if file.is_file()]
    listed = [file for wanted in LIBRARIES.values() for file in files_of(wanted)]
    assert sorted(there) == sorted(listed), "a file that no library of tools/vendor.json brings, or one that is missing"
    assert sums(there) == SUMS.read_text("utf-8"), "changed since it was brought: `make vendor`, and look at why"


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_vendored_library_is_of_the_version_that_is_said(name: str) -> None:
    wanted = LIBRARIES[name]
    code = [file for file in files_of(wanted) if file.suffix in {".js", ".mjs"} and ".min." in file.name]
    assert any(wanted["version"] in file.read_text("utf-8") for file in code)
    assert folder_of(wanted) in FOLDERS and any(file.suffix == ".LICENSE" for file in files_of(wanted))


@pytest.mark.parametrize("name", LIBRARIES)
def test_people_read_of_each_library_its_version_licence_and_source(name: str) -> None:
    wanted = LIBRARIES[name]
    row = f"| {name} | {wanted['version']} | {wanted['licence']} | {wanted['source']} |"
    assert row in Path(ROOT / "SECURITY.md").read_text("utf-8")
