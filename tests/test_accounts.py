"""Who may sign in: hashes that only their password fits, and errors that repeat none."""

from __future__ import annotations

import hashlib
import io
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from ovis_app import serve, settings
from ovis_app.accounts import PasswordHash, accounts, line_for
from ovis_app.cli import main
from ovis_app.errors import UserError
from ovis_app.settings import Settings
from tests.test_settings import read

PASSWORD = "correct horse, battery"


@pytest.fixture(scope="module")
def line() -> str:
    return line_for("anna", PASSWORD)


@pytest.fixture(autouse=True)
def quick(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost little, but for the one above."""
    monkeypatch.setattr("ovis_app.accounts.COST", 10)
    monkeypatch.setattr("ovis_app.accounts.LANES", 1)


def test_a_line_lets_in_whoever_knows_its_password(line: str, tmp_path: Path) -> None:
    file = tmp_path / "people"
    other = line_for("Zoë", unicodedata.normalize("NFD", "été"))
    file.write_text(f"# who may sign in\n\n{line}\n{other}\n", "utf-8")
    people = accounts(("bob:x:y",), str(file))
    assert people is not None
    assert people.check("anna", PASSWORD) and people.check("Zoë", "été") and people.check("bob", "x:y")
    for name, password in (("anna", "correct horse"), ("anna", ""), ("Anna", PASSWORD), ("", PASSWORD), ("bob", "x")):
        assert not people.check(name, password)


def test_nobody_has_to_sign_in_where_nobody_is_named() -> None:
    assert accounts((), "") is None and not Settings().sign_in


def test_a_line_tells_nothing_of_its_password(line: str) -> None:
    assert PASSWORD not in line and line.startswith("anna:$scrypt$ln=14,r=8,p=5$")
    assert line_for("anna", PASSWORD) != line  # a salt of its own
    made = PasswordHash.read(line.partition(":")[2])
    assert made is not None and str(made) == line.partition(":")[2]
    assert line[-20:] not in repr(made) and "$" not in repr(accounts(("anna:x",), ""))


def test_an_unknown_name_costs_what_a_wrong_password_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    people = accounts(("anna:x",), "")
    asked: list[tuple[Any, ...]] = []
    real = hashlib.scrypt

    def counted(password: bytes, **options: Any) -> bytes:
        asked.append((options["n"], options["r"], options["p"]))
        return real(password, **options)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    assert people is not None and not people.check("anna", "y") and not people.check("nobody", "y")
    assert len(asked) == 2 and asked[0] == asked[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nobody"),
        ("anna:hunter2", "line 1 of"),
        ("\n# x\nanna", "line 3 of"),
        ("anna:$scrypt$ln=30,r=8,p=5$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAA", "isn't NAME:HASH"),
        ("anna:$scrypt$ln=14,r=8,p=99$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAA", "isn't NAME:HASH"),
        ("anna:$scrypt$ln=14,r=8,p=5$AAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAA", "isn't NAME:HASH"),
        ("anna:$2b$12$abcdefghijklmnopqrstuuQ", "isn't NAME:HASH"),
    ],
)
def test_a_file_that_makes_no_sense_is_a_sentence_without_what_stands_there(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "people"
    file.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        accounts((), str(file))
    assert "hunter2" not in str(error.value) and "hash-password" in str(error.value)


def test_a_file_that_is_not_there_or_names_somebody_twice_is_a_sentence(line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read"):
        accounts((), str(tmp_path / "none"))
    (tmp_path / "people").write_text(f"{line}\n{line}\n")
    with pytest.raises(UserError, match="named before"):
        accounts((), str(tmp_path / "people"))


def test_passwords_stay_out_of_settings_and_errors() -> None:
    given = read(["--auth", "anna:hunter2", "--auth", "bob:x, y"], {"OVIS_AUTH_FILE": "people"})
    assert given.auth == ("anna:hunter2", "bob:x, y") and given.sign_in
    assert "hunter2" not in repr(given) and "hunter2" not in str(given)
    assert read([], {"OVIS_AUTH": "anna:hunter2 bob:x"}).auth == ("anna:hunter2", "bob:x")
    for wrong in ("hunter2", ":hunter2", "hunter2:"):
        with pytest.raises(ValueError, match="--auth takes NAME:PASSWORD") as error:
            read(["--auth", wrong], {})
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "words",
    [["--auth", "anna:correct", "hunter2"], ["--auht=a:hunter2"], ["--au=a:hunter2"], ["--auth", "a", "-x=hunter2"]],
)  # fmt: skip
def test_a_slip_of_the_hand_repeats_no_password(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        serve.main(words, program="ovis serve")
    said = capsys.readouterr().err
    assert said.startswith("ovis serve: ") and len(said.splitlines()) == 1 and "hunter2" not in said
    assert any(part in said for part in ("words without a flag", "--auht", "--au ", "-x"))


def test_the_help_names_the_file_before_the_flag_that_others_can_see() -> None:
    assert "--auth-file" in settings._HELP["auth"] and "can see" in settings._HELP["auth"]


def test_hash_password_makes_a_line_of_what_is_piped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert main(["hash-password", "anna"]) == 0
    out, err = capsys.readouterr()
    (tmp_path / "people").write_text(out)
    people = accounts((), str(tmp_path / "people"))
    assert people is not None and people.check("anna", PASSWORD) and PASSWORD not in out + err
    for name, password in (("a:b", "x"), ("anna", "")):
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
        assert main(["hash-password", name]) == 2
        assert capsys.readouterr().out == ""
