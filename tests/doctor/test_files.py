"""What a checkpoint's files say is held against its kind: honest ones of all families pass, and one planted lie is
found and named, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from ovis_app import zoo
from ovis_app.backend import Examination
from ovis_app.backends.local.backend import LocalBackend
from ovis_app.checkpoints.checkpoint import files_of
from ovis_app.cli import main
from ovis_app.doctor import quick, templates
from ovis_app.doctor.finding import Finding
from ovis_app.kept_examination import keep
from ovis_app.limits import Limits
from ovis_app.settings import Settings
from ovis_app.ui.panels import models
from tests.doctor.checkpoints import FAMILIES, edit, honest
from tests.waiting import until

ON_CPU = Settings(device="cpu")
CHATML = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
)
LOOP, END = "{% for one in range(99999) %}", "{% endfor %}"
ENDLESS = 3 * LOOP + 3 * END


def found(folder: Path, settings: Settings = ON_CPU) -> dict[str, Finding]:
    """By name."""
    return {one.name: one for one in quick.findings(zoo.resolve(str(folder)), settings, lambda words, share: None)}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_honest_checkpoint_gives_no_warning(family: str, tmp_path: Path) -> None:
    lines = found(honest(family, tmp_path / "mine"))
    assert not [one for one in lines.values() if one.verdict != "ok"]
    assert len(lines) == 17, "a group of checks said nothing"


def config(**facts: Any) -> Callable[[Path], None]:
    """Of the language model."""
    return lambda folder: edit(folder / "config.json", lambda raw: raw["llm_config"].update(facts))


def pixels(**facts: Any) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "preprocessor_config.json", lambda raw: raw.update(facts))


def template(text: str) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "tokenizer_config.json", lambda raw: raw.update(chat_template=text))


def without_thinking(folder: Path) -> None:
    """Thinking can't be switched off any more."""
    edit(
        folder / "tokenizer_config.json",
        lambda raw: raw.update(chat_template=raw["chat_template"].replace("enable_thinking is false", "false")),
    )


def swapped(folder: Path) -> None:
    def swap(raw: dict[str, Any]) -> None:
        told = raw["added_tokens_decoder"]
        told["609"], told["610"] = told["610"], told["609"]

    edit(folder / "tokenizer_config.json", swap)


def other_end(folder: Path) -> None:
    edit(folder / "generation_config.json", lambda raw: raw.update(eos_token_id=[609]))


def tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return changed


NORM = "llm.model.layers.1.input_layernorm.weight"
LIES: dict[str, tuple[Callable[[Path], None], str, str]] = {  # what is planted, the line that finds it, and its words
    "another filter": (pixels(resample=3), "resize filter", "bicubic"),
    "another mean": (pixels(image_mean=[0.48, 0.46, 0.41]), "mean and deviation", "mean 0.48 0.46 0.41"),
    "other limits": (pixels(min_pixels=1000, max_pixels=90000), "picture sizes", "1,000 to 90,000"),
    "another template": (template(CHATML + "{%- endfor %}"), "chat template", "50 of 50"),
    "a template that always thinks": (without_thinking, "chat template", "of 50 conversations differ"),
    "a template that refuses": (template("{{ raise_exception('no') }}"), "chat template", "refused"),
    "a swapped id": (swapped, "special ids, ends of answers", "<|im_end|> 610, 609 is used"),
    "another end": (other_end, "ends of answers", "<|im_start|> 609"),
    "a missing tensor": (tensors(lambda weights: weights.pop(NORM)), "tensor names", f"{NORM} is missing"),
    "a layer too many": (
        tensors(lambda weights: weights.update({NORM.replace(".1.", ".7."): weights[NORM].clone()})),
        "tensor names", "layers.7.input_layernorm.weight has no place",
    ),
    "another shape": (tensors(lambda w: w.update({NORM: w[NORM][:8].clone()})), "tensor shapes", f"{NORM} is 8"),
    "numbers of another kind": (
        tensors(lambda weights: weights.update({NORM: weights[NORM].double()})), "tensor types", "1 float64",
    ),
    "a wrong rope base": (config(rope_theta=10_000), "rope base", "10,000"),
    "scaled positions": (config(rope_scaling={"rope_type": "linear", "factor": 4.0}), "rope base", "linear"),
    "a shorter context": (config(max_position_embeddings=8192), "context", "8,192"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found_and_named_and_nothing_else_is(lie: str, tmp_path: Path) -> None:
    plant, name, words = LIES[lie]
    folder = honest("ovis2.5", tmp_path / "mine")
    plant(folder)
    lines = found(folder)
    assert ", ".join(one.name for one in lines.values() if one.verdict != "ok") == name
    name = name.partition(",")[0]
    assert lines[name].verdict == "differs" and words in lines[name].found
    assert lines[name].expected and lines[name].does and lines[name].report


def test_of_tiles_their_side_and_who_writes_the_prompts(tmp_path: Path) -> None:
    folder = honest("ovis2", tmp_path / "mine")
    pixels(crop_size={"height": 28, "width": 28})(folder)
    edit(folder / "config.json", lambda raw: raw.update(conversation_formatter_class="GemmaConversationFormatter"))
    template(CHATML + "{%- endfor %}")(other := honest("ovis2", tmp_path / "other"))
    wrong = {one.name: one for one in found(folder).values() if one.warns}
    assert set(wrong) == {"picture sizes", "chat template"} and "GemmaConv" in wrong["chat template"].found
    line = found(other)["chat template"]  # that of its language model, which the original's code doesn't read
    assert line.verdict == "not judged" and "50 of 50" in line.found and "original's own code" in line.does


@pytest.mark.parametrize(
    ("family", "facts", "verdict"),
    [
        ("ovis2", {"crop_size": 56}, "ok"),  # as older files have it
        ("ovis2", {"crop_size": 28}, "differs"),
        ("ovis2", {"crop_size": None, "size": 56}, "ok"),
        ("ovis2", {"crop_size": ["56"]}, "not judged"),
        ("ovis2", {"size": {"height": "wide"}, "crop_size": None}, "not judged"),
        ("ovis2.5", {"max_pixels": "many"}, "not judged"),
        ("ovis2.5", {"min_pixels": [1], "max_pixels": {}}, "not judged"),
        ("ovis2.5", {"min_pixels": None, "max_pixels": None}, "ok"),
    ],
)
def test_odd_sizes_are_a_line_and_all_else_is_judged(
    family: str, facts: dict[str, Any], verdict: str, tmp_path: Path
) -> None:
    folder = honest(family, tmp_path / "mine")
    pixels(**facts)(folder)
    lines = found(folder)
    assert lines.pop("picture sizes").verdict == verdict
    assert len(lines) == 16 and {one.verdict for one in lines.values()} == {"ok"}


def test_a_template_that_takes_for_ever_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "BOUNDS", replace(templates.BOUNDS, seconds=1.0))
    folder = honest("ovis2.5", tmp_path / "mine")
    template(ENDLESS)(folder)
    assert found(folder)["chat template"].verdict == "not judged"


def test_a_damaged_file_is_a_line_and_the_others_are_judged(tmp_path: Path) -> None:
    folder = honest("ovis2.5", tmp_path / "mine")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1000])
    lines = found(folder)
    assert lines["tensor names"].verdict == "failed" and "incomplete" in lines["tensor names"].found
    assert lines["resize filter"].verdict == lines["chat template"].verdict == "ok"
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").unlink()
    (folder / "model.safetensors").write_bytes(data)
    lines = found(folder)
    assert lines["special ids"].verdict == "failed" and "has no tokenizer" in lines["special ids"].found
    assert lines["tensor names"].verdict == "ok"
    (folder / "config.json").write_text("{}")
    lines = found(folder)
    assert lines["config"].verdict == "failed" and lines["device"].verdict == "ok"


@pytest.mark.parametrize(
    ("name", "settings", "line", "words"),
    [
        ("Nope", ON_CPU, "files", "There is no model called Nope"),
        ("someone/ovis-nobody", ON_CPU, "files", "is not on this disk and HF_HUB_OFFLINE is set"),
        ("Ovis2.5-2B", Settings(device="cuda:7"), "device", "no device cuda:7"),
        ("Ovis2.6-80B-A3B", ON_CPU, "model", "linear attention"),
    ],
)
def test_what_cant_be_is_one_sentence(
    name: str, settings: Settings, line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    lines = {one.name: one for one in quick.findings(zoo.resolve(name), settings, lambda words, share: None)}
    assert [one.name for one in lines.values() if one.verdict == "failed"] == [line] and words in lines[line].found
    assert line == "device" or lines["device"].verdict == "ok"


def test_a_model_that_has_no_room_isnt_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("ovis_app.checkpoints.memory_fit.bytes_available", lambda *_: 10**9)
    monkeypatch.setattr(quick, "folder_of", None)
    lines = {one.name: one for one in quick.findings(zoo.resolve("Ovis2.5-9B"), ON_CPU, lambda words, share: None)}
    assert lines["memory"].verdict == "failed" and "GB are free" in lines["memory"].does
    assert lines["files"].verdict == "not judged"


def test_a_report_has_no_path_and_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = honest("ovis2.5", tmp_path / "secret-project")
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert main(["doctor", str(folder), "--quick", "--json", "--device", "cpu"]) == 1
    out = capsys.readouterr().out
    said = json.loads(out)
    assert "secret-project" not in out and str(tmp_path) not in out
    assert said["model"] == "of your own" and said["versions"]["torch"]
    wrong = next(one for one in said["findings"] if one["verdict"] == "failed")
    assert wrong["found"].startswith("The weights in the model are damaged")


def test_a_report_says_where_prompts_differ_and_has_no_word_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    folder = honest("ovis2.5", tmp_path / "mine")
    template("{{ '<|im_start|>system secret words' }}" + CHATML + "{%- endfor %}")(folder)
    for json_too in ([], ["--json"]):
        main(["doctor", str(folder), "--quick", "--device", "cpu", *json_too])
        out = capsys.readouterr().out
        assert (
            "50 of 50 conversations differ, 36 of them refused; number 1 from character 19 on, at <|im_start|>" in out
        )
        assert ("secret words" in out) == (not json_too), "a template's words are for whoever looks here"


def test_the_page_says_how_the_last_look_went_as_long_as_the_files_are_the_same(
    tmp_path: Path, own_folder: Path
) -> None:  # fmt: skip
    folder = honest("ovis2.5", tmp_path / "mine")
    backend = LocalBackend(Settings(model=str(folder), device="cpu"), Limits())

    def shown() -> str:
        backend.warm()
        until(lambda: backend.status().phase == "ready")
        return "\n".join(models.on_this_machine(backend.status()))

    try:
        assert "ooked over" not in shown()
        assert main(["doctor", str(folder), "--quick", "--json", "--device", "cpu"]) == 0
        backend._give_up()
        assert "Its files looked over on" in shown() and ": 17 lines as expected." in shown() and own_folder.is_dir()
        whole = Examination("2026-11-27", 30, 28, 2, quick=False)
        keep(files_of(folder), whole)
        assert main(["doctor", str(folder), "--quick", "--json", "--device", "cpu"]) == 0
        backend._give_up()
        which = "(`ovis doctor` tells which), 2 couldn't be judged."
        assert f"Looked over on 2026-11-27: 2 of 28 lines not as expected {which}" in shown()
        pixels(resample=3)(folder)
        assert main(["doctor", str(folder), "--quick", "--json", "--device", "cpu"]) == 0
        backend._give_up()
        assert "1 of 17 lines not as expected" in shown()
        pixels(resample=2)(folder)
        backend._give_up()
        assert "ooked over" not in shown()
    finally:
        backend.close()


def test_the_table_has_a_line_for_each_and_ends_with_a_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = honest("ovis2.5", tmp_path / "mine")
    tensors(lambda weights: weights.update({"llm.model.layers.9.\x1b[2Jx.weight": weights[NORM].clone()}))(folder)
    pixels(resample=3)(folder)
    assert main(["doctor", str(folder), "--quick", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "DIFFERS resize filter       bicubic\n" in out and "expected: bilinear" in out
    assert "the app: follows the file" in out and "please: report this table" in out
    assert "\x1b" not in out, "a stranger's name of a tensor moves the terminal's cursor"
    assert out.endswith("15 as expected, 2 not (resize filter, tensor names).\n")
