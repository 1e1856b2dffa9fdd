"""A table that a browser makes a workbook of, read as spreadsheets read it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from xml.etree import ElementTree

import pytest

from ovis_app.ui.static_files import STATIC
from tests.waiting import PATIENCE

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
MAKE = """
import {{ workbook }} from {module};
const blob = await workbook(JSON.parse(process.argv[1]));
process.stdout.write(Buffer.from(await blob.arrayBuffer()));
"""


def read(rows: list[list[str]]) -> list[dict[str, tuple[str, str]]]:
    """By its place what each cell holds, and of which kind; row by row."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = MAKE.format(module=json.dumps((STATIC / "page" / "xlsx.mjs").as_uri()))
    command = [node, "--input-type=module", "-e", script, json.dumps(rows)]
    made = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True).stdout
    with zipfile.ZipFile(io.BytesIO(made)) as book:
        assert book.testzip() is None
        parts = {name: ElementTree.fromstring(book.read(name)) for name in book.namelist()}
    assert {"[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "xl/_rels/workbook.xml.rels"} < parts.keys()
    sheet = parts["xl/worksheets/sheet1.xml"]
    assert not list(sheet.iter(f"{SHEET}f"))  # no formula anywhere
    return [
        {cell.attrib["r"]: (cell.get("t", "n"), "".join(cell.itertext())) for cell in row}
        for row in sheet.iter(f"{SHEET}row")
    ]


def test_strings_and_numbers_come_back_as_they_were() -> None:
    found = read([["Item", "数量", ""], ["cup", "12.5", "007"], ["", "-3", " a\nb "]])
    assert found == [
        {"A1": ("inlineStr", "Item"), "B1": ("inlineStr", "数量")},
        {"A2": ("inlineStr", "cup"), "B2": ("n", "12.5"), "C2": ("inlineStr", "007")},
        {"B3": ("n", "-3"), "C3": ("inlineStr", " a\nb ")},
    ]


def test_what_a_stranger_writes_is_text() -> None:
    hostile = [
        "=1+1",
        "@SUM(A1)",
        "+1",
        "-2+3",
        "<f>1</f>",
        "]]>&amp;",
        "a\x00\x0b\ufffe",
        "\ud800",
        "_x0041_",
        "\r",
        "#REF!",
    ]
    (found,) = read([hostile])
    kinds, texts = zip(*found.values(), strict=True)
    assert set(kinds) == {"inlineStr"}
    assert texts == (*hostile[:6], "a", "\ufffd", "_x005F_x0041_", "\r", "#REF!")


def test_columns_go_on_past_z() -> None:
    (found,) = read([["x"] * 703])
    assert list(found)[25:28] == ["Z1", "AA1", "AB1"] and list(found)[-2:] == ["ZZ1", "AAA1"]
