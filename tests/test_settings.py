"""Flags over variables over defaults; a wrong value is one clear sentence."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ovis_app import settings
from ovis_app.accounts import accounts
from ovis_app.errors import UserError
from ovis_app.limits import Limits

ROOT = Path(__file__).parent.parent


def read(flags: list[str], environment: dict[str, str]) -> settings.Settings:
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser)
    return settings.read(parser.parse_args(flags), environment)


def test_every_flag_that_the_security_page_names_is_there() -> None:
    named = set(re.findall(r"`(--[a-z-]+)`", (ROOT / "SECURITY.md").read_text("utf-8")))
    parser = argparse.ArgumentParser()
    settings.add_arguments(parser)
    assert len(named) > 10 and named <= set(re.findall(r"--[a-z-]+", parser.format_help()))


def test_a_home_that_nobody_has_is_a_file_that_cannot_be_read() -> None:
    with pytest.raises(ValueError, match="--api-key-file ~nobody-here/keys can't be read"):
        read(["--api-key-file", "~nobody-here/keys"], {})
    with pytest.raises(UserError, match="The file of --auth-file can't be read"):
        accounts((), "~nobody-here/people")


def test_a_flag_beats_a_variable_beats_a_default() -> None:
    assert read([], {}).port == 7860
    assert read([], {"OVIS_PORT": "9000"}).port == 9000
    assert read(["--port", "9001"], {"OVIS_PORT": "9000"}).port == 9001
    assert read([], {"OVIS_SHARE": "1"}).share is True
    assert read(["--share"], {"OVIS_SHARE": "0"}).share is True


def test_what_may_be_given_several_times_is_a_repeated_flag_or_a_list_in_a_variable() -> None:
    two = ("http://a:8000/v1", "b=http://b:8000/v1")
    assert read([], {}).base_url == ()
    assert read(["--base-url", two[0], "--base-url", two[1]], {}).base_url == two
    for separator in (",", " ", ", ", "\n", ",\n  "):
        assert read([], {"OVIS_BASE_URL": f" {two[0]}{separator}{two[1]}\n"}).base_url == two
    assert read(["--base-url", two[1]], {"OVIS_BASE_URL": two[0]}).base_url == two[1:], "flags replace the variable's"


def test_help_says_what_may_be_given_several_times() -> None:
    parser = argparse.ArgumentParser(prog="x")
    settings.add_arguments(parser)
    words = " ".join(parser.format_help().split())
    assert "may be given several times (default: none; variable OVIS_BASE_URL)" in words


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OVIS_PORT", "abc"),
        ("OVIS_BACKEND", "magic"),
        ("OVIS_SHARE", "maybe"),
        ("OVIS_PORT", "-1"),
        ("OVIS_DEADLINE", "nan"),
        ("OVIS_DEVICE", "banana"),
        ("OVIS_DEVICE", "cpu:9"),
        ("OVIS_DEVICE", "cuda:"),
        ("OVIS_QUANTIZE", "int3"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){variable}|port|deadline|video-bytes|device"):
        read([], {variable: value})


@pytest.mark.parametrize("flag", ["--prefix-cache", "--visual-cache", "--unload-after", "--fake-rate"])
def test_what_may_be_nothing_cannot_be_less(flag: str) -> None:
    with pytest.raises(ValueError, match=f"{flag} must be 0 or a number above it"):
        read([flag, "-1"], {})
    assert read([flag, "0"], {})
    start = [sys.executable, "app.py", "--backend", "fake", flag, "-1"]
    ended = subprocess.run(start, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 2 and f"{flag} must be 0" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("environment", "said"),
    [({"OVIS_BACKEND": "remote"}, "a model in this process"), ({"SPACES_ZERO_GPU": "true"}, "ZeroGPU")],
)
def test_only_a_model_that_stays_in_this_process_is_unloaded(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=f"{said}.*--unload-after|--unload-after.*{said}"):
        read(["--unload-after", "10"], environment)
    assert read(["--unload-after", "0"], environment).unload_after == 0


def test_upload_limits_have_the_same_defaults_everywhere() -> None:
    assert settings.Settings().limits() == Limits()


PROBE = """
import runpy, sys
sys.argv = ["x", "--help"]
try:
    {run}
except SystemExit as end:
    assert not end.code, end.code
print("HEAVY", [m for m in ("torch", "transformers", "gradio", "numpy") if m in sys.modules])
"""


def test_a_space_listens_to_the_outside() -> None:
    assert read([], {"SPACE_ID": "someone/ovis"}).server_name == "0.0.0.0"
    assert read([], {}).server_name == "127.0.0.1"


def test_zerogpu_is_what_its_environment_says() -> None:
    assert not read([], {}).zerogpu and not read([], {"SPACES_ZERO_GPU": "false"}).zerogpu
    assert not read([], {"OVIS_ZEROGPU": "1"}).zerogpu
    there = read([], {"SPACE_ID": "someone/ovis", "SPACES_ZERO_GPU": "true", "OVIS_ZEROGPU_SIZE": "xlarge"})
    assert there.zerogpu and there.zerogpu_size == "xlarge" and there.at_once == 8
    with pytest.raises(ValueError, match="OVIS_ZEROGPU_SIZE must be one of large, xlarge"):
        read([], {"OVIS_ZEROGPU_SIZE": "huge"})


def test_allowed_hosts_are_names_and_a_spaces_own_is_among_them() -> None:
    assert read([], {}).hosts == frozenset()
    assert read(["--allowed-hosts", "A.example, b.example."], {}).hosts == {"a.example", "b.example"}
    space = {"SPACE_ID": "someone/ovis", "SPACE_HOST": "someone-ovis.hf.space", "OVIS_ALLOWED_HOSTS": "a.example"}
    assert read([], space).hosts == {"a.example", "someone-ovis.hf.space"}
    for wrong in ("https://a.example", "a.example:80", "*", "a b"):
        with pytest.raises(ValueError, match="--allowed-hosts takes host names"):
            read(["--allowed-hosts", wrong], {})


@pytest.mark.parametrize("name", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST.", "app.localhost", "::1", "[::1]"])
def test_names_of_this_machine(name: str) -> None:
    assert settings.loopback(name) and settings.Settings(server_name=name).private


@pytest.mark.parametrize(
    "name", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.0.0.1.example", "", "2130706433"]
)
def test_names_of_others(name: str) -> None:
    assert not settings.loopback(name)


@pytest.mark.parametrize(
    "run",
    ["runpy.run_path('app.py', run_name='__main__')", "runpy.run_module('ovis_app', run_name='__main__')"],
    ids=["app.py", "ovis_app"],
)
def test_help_imports_nothing_heavy(run: str) -> None:
    out = subprocess.run(
        [sys.executable, "-c", PROBE.format(run=run)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "HEAVY []" in out.stdout
    assert "--model" in out.stdout


@pytest.mark.parametrize(
    ("engine", "gpu", "at_once"),
    [("auto", True, 64), ("auto", False, 32), ("batched", False, 32), ("solo", True, 4), ("plain", True, 4)],
)
def test_the_page_gives_many_answers_at_once_where_the_engine_may(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str, gpu: bool, at_once: int
) -> None:
    monkeypatch.setattr(settings, "NVIDIA", tmp_path if gpu else tmp_path / "none")
    assert settings.Settings(engine=engine).at_once == at_once


KEYS = ("a-first-key", "a-second-key")


def test_keys_come_from_a_flag_a_variable_and_a_file_and_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# for the lab\n{KEYS[0]}\n\n  {KEYS[1]}\n")
    assert read(["--api-key-file", str(file)], {}).api_key == KEYS
    assert read([], {"OVIS_API_KEY": " ".join(KEYS)}).api_key == KEYS
    assert read(["--api-key", KEYS[0], "--api-key", KEYS[1]], {}).api_key == KEYS
    found = read(["--api-key", KEYS[0]], {"OVIS_API_KEY_FILE": str(file), "OVIS_API_KEY": "of-the-variable"})
    assert found.api_key == (KEYS[0], *KEYS), "flags replace the variable's, the file's come behind them"
    assert not any(key in repr(found) for key in found.api_key)


@pytest.mark.parametrize("key", ["short", "with space", "schlüssel-mit-umlaut", "new\nline-new", ""])
def test_a_key_that_cant_be_sent_is_refused_without_being_repeated(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="API key") as refused:
        read(["--api-key", key], {})
    assert not key or key not in str(refused.value)


def test_a_file_of_keys_that_cant_be_used_is_one_sentence(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("# nothing\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for file in (empty, binary, tmp_path, tmp_path / "gone"):
        with pytest.raises(ValueError, match="--api-key-file"):
            read(["--api-key-file", str(file)], {})


def test_the_api_is_there_for_this_machine_alone_or_with_keys() -> None:
    assert settings.Settings().serves_api
    for strangers in ({"server_name": "0.0.0.0"}, {"share": True}, {"server_name": "0.0.0.0", "space": True}):
        assert not settings.Settings(**strangers).serves_api
        assert settings.Settings(**strangers, api_key=KEYS).serves_api


def test_a_page_lies_below_a_path_that_browsers_leave_as_it_is() -> None:
    for path in ("", "/chat", "/a.b/..c/d"):
        assert read(["--root-path", path], {}).root_path == path
    for path in ("chat", "/", "/chat/", "//chat", "/chat/..", "/./chat", "/a%2e", "/a b", "/a?b", "http://a/b", "/a\n"):
        with pytest.raises(ValueError, match="--root-path is a path such as /chat"):
            read(["--root-path", path], {})


@pytest.mark.parametrize(
    ("words", "environment", "who"),
    [
        ([], {}, "off"),
        (["--metrics"], {}, "here"),
        (["--metrics", "everyone"], {"OVIS_METRICS": "off"}, "everyone"),
        ([], {"OVIS_METRICS": "1"}, "here"),
        ([], {"OVIS_METRICS": "everyone"}, "everyone"),
        (["--metrics", "--port", "7"], {}, "here"),
    ],
)
def test_figures_are_for_this_machine_unless_others_are_named(
    words: list[str], environment: dict[str, str], who: str
) -> None:
    assert read(words, environment).metrics == who
