"""`make audit` says that nothing is known only where everything was looked up; a stand-in says what pip-audit says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.audit import LOCK, Answer, reasons, rounds, told
from tools.lock import OFFLINE, pins

ROOT = Path(__file__).parent.parent
# Says of each package that it is asked about what ANSWERS has of it, as pip-audit does, or fails with what it has.
STAND_IN = """
import json, os, sys
answers = json.loads(os.environ["ANSWERS"])
if isinstance(answers, str):
    sys.exit(answers)
rows = open(sys.argv[-1], encoding="utf-8").read().split()
found = []
for row in rows:
    name, _, version = row.partition("==")
    said = answers.get(row, answers.get("*"))
    skipped = {"name": name, "skip_reason": "Dependency not found on PyPI and could not be audited"}
    found.append(skipped if said is None else {"name": name, "version": version, "vulns": said})
print(json.dumps({"dependencies": found, "fixes": []}))
"""
LOCKED = "# a lock\none==1.0\ntwo==2.0 ; sys_platform == 'win32'\ntwo==2.1 ; sys_platform != 'win32'\n"
BAD = [{"id": "PYSEC-1", "fix_versions": ["2.2"], "aliases": ["CVE-1"], "description": "x"}]
CUT_OFF = "requests.exceptions.ProxyError: Max retries exceeded (Caused by NewConnectionError)"


def audited(folder: Path, answers: object) -> subprocess.CompletedProcess[str]:
    (folder / "requirements.lock").write_text(LOCKED)
    (folder / "pip_audit.py").write_text(STAND_IN)
    command = [sys.executable, "-m", "tools.audit", "--lock", folder / "requirements.lock", sys.executable]
    environment = os.environ | {"ANSWERS": json.dumps(answers)}
    words = [*command, folder / "pip_audit.py"]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ({"*": []}, 0, ["No vulnerability is known of the 3 versions in requirements.lock."]),
        ({}, 3, ["The database of vulnerabilities can't be reached, so nothing is known of the 3 versions in"]),
        (CUT_OFF, 3, ["The database of vulnerabilities can't be reached, so nothing is known of the 3 versions in"]),
        ({"one==1.0": [], "two==2.1": []}, 3, ["doesn't have 1 of the 3 versions in requirements.lock: two==2.0."]),
        ({"*": [], "two==2.0": BAD}, 1, ["two 2.0: PYSEC-1, CVE-1, mended in 2.2", "Take a version that isn't"]),
        ({"one==1.0": BAD}, 1, ["one 1.0: PYSEC-1", "doesn't have 2 of the 3", "Take a version that isn't"]),
        ("a bug of its own", 4, ["a bug of its own", "pip-audit failed"]),
    ],
    ids=["clean", "nothing there", "cut off", "one missing", "for another system", "found and missing", "broken"],
)
def test_an_audit_says_what_it_knows(tmp_path: Path, answers: object, code: int, said: list[str]) -> None:
    done = audited(tmp_path, answers)
    assert done.returncode == code
    lines = done.stdout + done.stderr
    assert all(words in lines for words in said) and ("No vulnerability" in lines) == (code == 0)


def test_what_is_excused_is_called_gone_only_where_all_was_looked_up() -> None:
    excused = {"CVE-9": "it doesn't matter here"}
    assert "CVE-9 is no longer found: take it out of pyproject.toml." in told(Answer(), LOCK, excused)[1]
    code, lines = told(Answer(missing=("gradio==1.0",)), LOCK, excused)
    assert code == 3 and not any("CVE-9" in line for line in lines)


def test_an_index_that_is_not_reached_is_not_the_fault_of_bounds(tmp_path: Path) -> None:
    environment = os.environ | {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    environment |= {"UV_CACHE_DIR": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1"}
    words = [sys.executable, "-m", "tools.lock", "audit", "--out", tmp_path / "found.lock"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode and done.stderr.splitlines()[-1] == OFFLINE and not (tmp_path / "found.lock").exists()


def test_an_environment_that_is_there_is_not_resolved_anew(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = ["make", "--dry-run", "-C", tmp_path, "-f", ROOT / "Makefile", "-o", "install-dev", "audit"]

    def planned() -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "tools.lock audit" in planned()
    (tmp_path / ".venv-audit").mkdir()
    (tmp_path / ".venv-audit" / ".installed").touch()
    assert "tools.audit" in planned() and "tools.lock" not in planned()


def test_every_version_of_the_lock_is_asked_about() -> None:
    asked = [row for one in rounds(LOCK) for row in one]
    assert sorted(asked) == sorted(pin.partition(" ;")[0] for pin in pins(LOCK))


def test_what_is_excused_has_a_reason() -> None:
    assert all(len(why) > 20 for why in reasons().values())
