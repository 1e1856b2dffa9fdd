"""The files of deploy/ and the command lines of docs/deploy.md say what the programs understand."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ovis_app import settings
from ovis_app.cli.ask import COMMANDS
from ovis_app.settings import Flags, Settings
from ovis_app.ui.http_routes import route_of
from tests.deploy.lines import DEPLOY, DOC, ROOT, commands, compose, dockerfile, unit

OURS = list(commands("ovis"))
VLLM = list(commands("vllm"))
PARSE_VLLM = """
import json, sys
from vllm.entrypoints.cli.serve import cmd_init
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
[serve] = cmd_init()
serve.subparser_init(parser.add_subparsers())
for words in json.load(sys.stdin):
    args = parser.parse_args(words)
    serve.validate(args)
    print(args.model_tag, args.limit_mm_per_prompt)
"""


def read(words: list[str]) -> Settings:
    parser = Flags("ovis serve")
    settings.add_arguments(parser)
    return settings.read(parser.parse_args(words), {})


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_our_command_lines_are_understood(words: list[str]) -> None:
    assert re.search(rf"^  {words[0]} ", COMMANDS, re.MULTILINE)
    if words[0] == "serve":
        read([word.replace("${CREDENTIALS_DIRECTORY}", "/run/credentials/ovis") for word in words[1:]])


def test_there_are_command_lines() -> None:
    assert len(OURS) > 8 and len(VLLM) >= 5
    assert {"--root-path", "--auth-file", "--backend"} <= {word.partition("=")[0] for words in OURS for word in words}


def test_vllms_command_lines_are_understood_by_vllm() -> None:
    python = os.environ.get("OVIS_VLLM")
    if not python:
        pytest.skip("OVIS_VLLM names no Python that has vLLM")

    def parsed(lines: list[list[str]]) -> subprocess.CompletedProcess[str]:
        command = [python, "-c", PARSE_VLLM]
        return subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True, check=False)

    done = parsed(VLLM)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("AIDC-AI/Ovis2") == len(VLLM) and "'image': 8" in done.stdout
    assert parsed([["serve", "AIDC-AI/Ovis2.5-9B", "--no-such-flag"]]).returncode != 0


@pytest.mark.parametrize("words", VLLM, ids=" ".join)
def test_vllm_is_told_what_the_page_needs_and_no_key(words: list[str]) -> None:
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert {"--trust-remote-code", "--allowed-media-domains", "--enable-prompt-tokens-details"} <= flags
    assert ("Ovis2.5" in " ".join(words)) == ("--reasoning-parser" in flags)
    assert "--api-key" not in flags
    limit = next(word for word in words if word.startswith("{") or '={"' in word)
    assert json.loads(limit[limit.index("{") :])["image"] == 8


def test_the_unit_is_understood_by_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "systemd" / "ovis.service").read_text("utf-8")
    file = tmp_path / "ovis.service"
    file.write_text(text.replace("/opt/ovis/.venv/bin/ovis", shutil.which("true") or ""))
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "ovis.service" not in done.stderr, done.stderr
    file.write_text(file.read_text().replace("[Service]", "[Service]\nNonsense=1"))
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False)
    assert "Nonsense" in done.stderr  # it does look


def test_the_unit_and_nginx_agree() -> None:
    [start] = unit()["ExecStart"]
    conf = (DEPLOY / "nginx" / "page.conf").read_text("utf-8")
    given = read(start.replace("${CREDENTIALS_DIRECTORY}", "/x").split()[2:])
    assert f"location {given.root_path}/ {{" in conf and f"server 127.0.0.1:{given.port};" in conf
    assert given.hosts == set(re.findall(r"server_name (\S+);", conf)) and given.trusted_proxies == ("127.0.0.1",)
    assert given.sign_in and not given.open_to_all and given.model_choice == "off"


def test_compose_and_nginx_agree() -> None:
    """As both files are, so that one host is all that is changed in them."""
    conf = (DEPLOY / "nginx" / "page.conf").read_text("utf-8")
    page, [network] = compose()["services"]["page"], compose()["networks"]["default"]["ipam"]["config"]
    given = read(page["command"])
    assert f"location {given.root_path}/ {{" in conf and f"server {page['ports'][0].rpartition(':')[0]};" in conf
    assert given.hosts == set(re.findall(r"server_name (\S+);", conf)) and given.model_choice == "off"
    assert given.trusted_proxies == (network["gateway"],)  # as which this machine's nginx comes into a container
    assert ipaddress.ip_address(network["gateway"]) in ipaddress.ip_network(network["subnet"])


def test_compose_starts_a_page_that_asks_the_vllm_beside_it() -> None:
    services = compose()["services"]
    page = read(services["page"]["command"])
    assert page.base_url == ("http://vllm:8000/v1",) and page.sign_in
    assert page.model == services["vllm"]["command"][0]
    assert page.auth_file == f"/run/secrets/{services['page']['secrets'][0]}" and "people" in compose()["secrets"]
    [variable] = page.api_key_env
    for name in ("page", "vllm"):  # from a file beside it, and without it compose refuses to start
        assert services[name]["environment"] == {variable: f"${{{variable}:?write it into .env}}"}
    assert services["page"]["ports"] == ["127.0.0.1:7860:7860"] and "ports" not in services["vllm"]
    build = services["page"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_the_dockerfile_keeps_to_the_rules() -> None:
    steps = dockerfile()
    names = [name for name, _ in steps]
    assert names[0] == "FROM" and re.fullmatch(r"python:3\.\d+-slim-[a-z]+", steps[0][1])  # a version, not the latest
    assert "ADD" not in names and names.count("ENTRYPOINT") == names.count("HEALTHCHECK") == 1
    user = next(said for name, said in steps if name == "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) and names.index("USER") > names.index("RUN")
    for name, said in steps:
        if name in ("ENTRYPOINT", "HEALTHCHECK"):
            assert all(isinstance(word, str) for word in json.loads(said[said.index("[") :]))  # no shell between
        if name in ("ENV", "ARG"):
            assert not re.search(r"(?i)key|password|token|secret", said)
        if name == "COPY":
            assert all((ROOT / source).exists() for source in said.split()[:-1])
        if name == "RUN" and "pip install" in said:
            assert "--no-cache-dir" in said and "--constraint requirements.lock" in said
        if name == "ENV":
            for variable in re.findall(r"OVIS_(\w+)=", said):
                assert variable.lower() in settings._HELP


def test_whoever_watches_asks_what_nobody_signs_in_for() -> None:
    asked = [" ".join(compose()["services"]["page"]["healthcheck"]["test"])]
    asked += [said for name, said in dockerfile() if name == "HEALTHCHECK"]
    paths = [path for one in asked for path in re.findall(r"http://127\.0\.0\.1:7860(/\w+)", one)]
    assert paths == ["/readyz", "/healthz"]
    assert all(getattr(route_of("GET", path), "who", "") == "anybody" for path in paths)


def test_what_is_copied_is_not_ignored() -> None:
    """And nothing else gets into the build: no .git, no environment."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    copied = {source for name, said in dockerfile() if name == "COPY" for source in said.split()[:-1]}
    assert "*" in ignored and {line[1:] for line in ignored if line.startswith("!")} == copied


def test_hadolint_finds_nothing() -> None:
    if shutil.which("hadolint") is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(["hadolint", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_file_is_named_in_the_note_and_every_link_leads_somewhere() -> None:
    text = DOC.read_text("utf-8")
    for file in DEPLOY.rglob("*"):
        if file.is_file() and not file.name.endswith(".dockerignore"):
            assert file.name in text, file
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (DOC.parent / link).exists(), link
