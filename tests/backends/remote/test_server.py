"""How servers are named, whose key is whose, and what is known of their models."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovis_app import zoo
from ovis_app.backends.remote.server import Server, means, served_model, served_models, servers
from ovis_app.errors import BackendError
from ovis_app.settings import Settings


def named(*urls: str, keys: tuple[str, ...] = (), **environment: str) -> tuple[Server, ...]:
    return servers(Settings(backend="remote", base_url=urls, api_key_env=keys), environment)


@pytest.mark.parametrize(
    ("written", "name", "url", "root"),
    [
        ("http://gpu:8000/v1", "gpu:8000", "http://gpu:8000/v1", "http://gpu:8000"),
        ("http://gpu:8000", "gpu:8000", "http://gpu:8000/v1", "http://gpu:8000"),
        ("https://models.example/v1/", "models.example", "https://models.example/v1", "https://models.example"),
        ("box=http://[::1]:8000/", "box", "http://[::1]:8000/v1", "http://[::1]:8000"),
        ("box=https://x.example/a/v1", "box", "https://x.example/a/v1", "https://x.example/a"),
        ("http://gpu/openai", "gpu", "http://gpu/openai", "http://gpu/openai"),
    ],
)
def test_a_server_is_an_address_or_a_name_and_an_address(written: str, name: str, url: str, root: str) -> None:
    (server,) = named(written)
    assert (server.name, server.url, server.root) == (name, url, root)


@pytest.mark.parametrize(
    "written",
    ["", "gpu:8000", "ftp://gpu/v1", "http://", "box=", "http://gpu:99999/v1", "http://[::1/v1", "file:///etc/passwd"],
)
def test_what_is_no_address_is_refused(written: str) -> None:
    with pytest.raises(BackendError, match=r"--base-url takes an address such as http://host:8000/v1, or NAME=URL\."):
        named(written)


@pytest.mark.parametrize("written", ["http://me:secret@gpu/v1", "http://gpu/v1?key=secret", "http://gpu/v1#secret"])
def test_a_secret_has_no_place_in_an_address(written: str) -> None:
    """Addresses stand in process lists."""
    with pytest.raises(BackendError, match="name the variable that holds a key with --api-key-env") as refused:
        named(written)
    assert "secret" not in str(refused.value)


def test_each_server_has_its_own_key() -> None:
    one, two, three = named(
        "a=http://a/v1", "b=http://b/v1", "c=http://c/v1", keys=("a=KEY_A", "c=KEY_C"), KEY_A="sk-a", KEY_C=" sk-c\n"
    )
    assert (one.key, two.key, three.key) == ("sk-a", "", "sk-c")
    assert "sk-a" not in repr(one)
    (only,) = named("http://a/v1", keys=("KEY",), KEY="sk-a")
    assert only.key == "sk-a"


@pytest.mark.parametrize(
    ("urls", "keys", "environment", "sentence"),
    [
        ((), (), {}, "--backend remote needs a server"),
        (("http://a/v1", "http://a/v1"), (), {}, "Two servers have one name"),
        (("a=http://a", "b=http://b"), ("KEY",), {"KEY": "x"}, "must say whose key it is"),
        (("a=http://a",), ("b=KEY",), {"KEY": "x"}, "names b, and --base-url has no server of that name"),
        (("a=http://a",), ("KEY",), {}, "names the variable KEY, which isn't set"),
        (("a=http://a",), ("KEY",), {"KEY": "  "}, "names the variable KEY, which isn't set"),
        (("a=http://a",), ("KEY",), {"KEY": "sk\nx: secret"}, "The variable KEY holds no key"),
        (("a=http://a",), ("KEY",), {"KEY": "sécret"}, "The variable KEY holds no key"),
    ],
)
def test_what_does_not_fit_together_is_said(
    urls: tuple[str, ...], keys: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(BackendError, match=sentence) as refused:
        named(*urls, keys=keys, **environment)
    assert "secret" not in str(refused.value)


BOX = Server("box", "http://box:8000/v1")


@pytest.mark.parametrize(
    "name", ["AIDC-AI/Ovis2.5-9B", "ATH-MaaS/Ovis2.5-9B", "ovis2.5-9b", "/models/Ovis2.5-9B", "x/Ovis2.5-9B"]
)
def test_a_known_model_is_known_by_any_of_its_names(name: str) -> None:
    model = served_model(BOX, name, 4096)
    known = zoo.resolve("Ovis2.5-9B")
    assert (model.id, model.spec.name, model.spec.context) == (name, "Ovis2.5-9B", 4096)
    assert model.spec.single == known.single and model.spec.thinking and model.spec.id != known.id
    assert all(means(wanted, model) for wanted in (name, "Ovis2.5-9B", "aidc-ai/ovis2.5-9b", f"{name} on box"))
    assert not means("Ovis2.5-2B", model)
    for asked in (
        name,
        "Ovis2.5-9B",
        "aidc-ai/ovis2.5-9b",
        "ATH-MaaS/Ovis2.5-9B",
    ):  # by programs, of /v1 in front of it
        assert model.spec.is_called(asked)
    assert not model.spec.is_called("Ovis2.5-2B") and model.spec.public_id == "Ovis2.5-9B"


def test_an_unknown_model_is_taken_for_one_of_native_resolution() -> None:
    model = served_model(BOX, "my-tune")
    assert model.spec.name == "my-tune" and model.spec.guessed and model.spec.thinking
    assert not model.spec.link and model.spec.folder is None and model.spec.context > 0
    assert model.spec.is_called("my-tune") and model.spec.aliases == ("my-tune",)


def test_a_name_that_is_a_folder_here_opens_nothing(tmp_path: Path) -> None:
    """A server names what it likes; files of this machine are none of its business."""
    (tmp_path / "config.json").write_text('{"text_config": {}, "model_type": "ovis2"}')
    assert zoo.resolve(str(tmp_path)).family == "ovis2"
    model = served_model(BOX, str(tmp_path))
    assert model.spec.family == "ovis2_5" and model.spec.folder is None


def test_a_long_list_is_cut() -> None:
    assert len(served_models(BOX, {"data": [{"id": f"m{n}"} for n in range(5000)]})) == 200
