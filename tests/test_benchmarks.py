"""The benchmarks measure what they say: same answers on both sides, ratios the right way round, one form of results."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from tokenizers import Tokenizer
from torch import Tensor

from benchmarks import decode, gpu_check, plots, users, vllm, vllm_server, ways
from benchmarks import keep as keeping
from benchmarks.__main__ import SMALL, summary
from benchmarks.plain import Plain
from benchmarks.report import Headline, finish, table
from benchmarks.server import SERVED, app
from benchmarks.shapes import MINI, SHAPES, checkpoint, random_model, released_config
from benchmarks.talk import backend, conversation, first_token, pictures
from benchmarks.turns import Ways, by_turns, gap_while_prefill, second_turn, session_over
from ovis_app.backend import Backend
from ovis_app.doctor import speed
from ovis_app.generation import Answer, GenerationSettings, Request
from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis

HERE = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("tiny", tmp_path_factory.mktemp("shapes") / "random-tiny", seed=3)


@pytest.fixture(scope="module")
def ours(folder: Path) -> Iterator[Backend]:
    with backend(folder, device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def tiny() -> Ovis:
    return random_model("tiny", seed=5)


class Kept:
    """A streamer that keeps ids."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def put(self, value: Tensor) -> None:
        self.ids += value.flatten().tolist()

    def end(self) -> None: ...


@pytest.mark.parametrize(
    ("unit", "ours", "other", "ratio"),
    [("s", 1.0, 3.0, 3.0), ("tokens/s", 30.0, 10.0, 3.0), ("GB", 2.0, 1.0, 0.5), ("tokens/s", 1.0, 2.0, 0.5)],
)
def test_a_ratio_above_one_is_ours_being_better(unit: str, ours: float, other: float, ratio: float) -> None:
    assert Headline("x", ours, other, unit).ratio == pytest.approx(ratio)


def test_results_have_their_one_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "deep" / "x.json"
    rows = [Headline("first_token_turn_2", 0.5, 2.0, "s", goal=3.0)]
    finish(Namespace(json=file), "turns", rows, details={"by_turns": {1: (1.0, 2.0)}}, unmeasured=["a GPU."])
    found = json.loads(file.read_text())
    assert {"machine", "versions", "commit", "headline", "by_turns"} <= set(found)
    assert found["headline"] == [{"name": "first_token_turn_2", "ours": 0.5, "other": 2.0, "ratio": 4.0, "unit": "s"}]
    assert found["versions"]["python"] and found["machine"]["kind"] in ("cpu", "gpu")
    printed = capsys.readouterr().out
    assert "| 4 x | 3 x | first_token_turn_2 | 0.5 | 2 | s |" in printed and "Not measured: a GPU." in printed


def test_tables_are_markdown() -> None:
    assert table(("a", "b"), [("x", 1234.5), (1500, 0.01234)]).splitlines() == [
        "| a | b |", "| --- | --- |", "| x | 1,234 |", "| 1,500 | 0.0123 |",
    ]  # fmt: skip


def test_the_large_shapes_are_the_released_sizes() -> None:
    from ovis_app import zoo

    torch = pytest.importorskip("torch")
    for shape, name in (("2b", "Ovis2.5-2B"), ("9b", "Ovis2.5-9B"), ("30b-a3b", "Ovis2.6-30B-A3B")):
        spec = zoo.find(name)
        with torch.device("meta"):
            model = Ovis(OvisConfig.from_released(released_config(shape)))
        assert spec is not None
        assert sum(value.numel() for value in model.parameters()) / 1e9 == pytest.approx(spec.parameters, rel=0.01)
    assert set(SHAPES) == {"tiny", "vllm", "44m", "2b", "9b", "30b-a3b"}


def test_both_ways_give_the_same_answer(tmp_path: Path) -> None:
    plain = Plain(MINI)
    words = Tokenizer.from_file(str(MINI / "tokenizer.json"))
    settings = GenerationSettings(max_new_tokens=8)
    with backend(MINI, device="cpu") as ours:
        for turns in (1, 3):
            talk = conversation(turns, pictures(tmp_path, 64, seed=turns), seed=turns)
            events = list(ours.stream(Request(talk, settings)))
            said = "".join(event.text for event in events if isinstance(event, Answer))
            other = words.decode(plain.answer(talk, tokens=8).tolist())
            assert said and other.strip().startswith(said.strip())


def test_people_at_once_get_the_answers_that_each_gets_alone(tiny: Ovis) -> None:
    settings = GenerationSettings(max_new_tokens=6)
    asked = ways.prompts(tiny, 4, 40, 12)
    assert len({prompt.keys for prompt in asked}) == 4
    with ways.engine_over(tiny, people=4, tokens=64) as engine:
        by_ways = []
        for way in (ways.ours(engine, settings), ways.one_at_a_time(tiny, settings)):
            heard = [Kept() for _ in asked]
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(way, asked, heard))
            by_ways.append([one.ids for one in heard])
    assert by_ways[0] == by_ways[1] and all(len(ids) == 6 for ids in by_ways[0])


def test_users_measures_both_ways_with_and_without_pictures(tiny: Ovis) -> None:
    options = Namespace(new=4, repeats=1, visual=None, tokens=[64], gpu=False)
    with ways.engine_over(tiny, people=16, tokens=300) as engine:
        found = users.measured(engine, (1, 2), options, 64)
        waits = users.with_pictures(engine, options)
    assert [row.name for row in users.summary(found, options)] == ["users_1", "users_2"]
    assert all(rate.tokens > 0 and rate.first > 0 for pair in found.values() for rate in pair) and min(waits) > 0
    assert min(users.first_answer(tiny, people=1, tokens=64)) > 0


def test_sixteen_at_once_stand_beside_one_person_by_ours() -> None:
    found = {1: (users.Rate(30.0, 1), users.Rate(10.0, 1)), 16: (users.Rate(240.0, 1), users.Rate(10.0, 1))}
    beside = users.summary(found, Namespace(gpu=True, tokens=[64]))[-1]
    assert (beside.name, beside.ratio, beside.goal) == ("users_16_beside_one", 8.0, 8.0)


def test_a_token_must_read_all_but_an_input_table_of_its_own(tiny: Ovis) -> None:
    """A table that is the head's too is read by the head."""
    weights = sum(value.nbytes for value in tiny.llm.parameters())
    keys_and_values = 2 * 2 * 2 * 16 * 4 * 100  # both, layers, groups, head size, float32, tokens
    assert speed.needed_bytes(tiny, 100) == weights + keys_and_values
    config = released_config("tiny")
    config["tie_word_embeddings"] = config["llm_config"]["tie_word_embeddings"] = False
    untied = Ovis(OvisConfig.from_released(config))
    assert speed.needed_bytes(untied, 100) == weights + keys_and_values


def test_quantized_decoding_is_measured(tiny: Ovis) -> None:
    pytest.importorskip("bitsandbytes")
    made = decode.quantized(random_model("tiny"), "int4")
    held = sum(value.nbytes for value in made.llm.parameters())
    assert held < sum(value.nbytes for value in tiny.llm.parameters())
    assert decode.ours_alone(made, Namespace(new=4, repeats=1), 20) > 0


def test_the_gap_is_one_in_a_stream_that_lives(ours: Backend, folder: Path, tmp_path: Path) -> None:
    with session_over(folder, "cpu") as session:
        gap, whole = gap_while_prefill(Ways(ours, Plain(folder), tmp_path), session, 784, repeats=1)
    assert gap > 0 and whole > 0


def test_turns_measures_every_way_and_turn(ours: Backend, folder: Path, tmp_path: Path) -> None:
    ways = Ways(ours, Plain(folder), tmp_path)
    second = second_turn(ways, 64, seed=1)
    assert list(second) == ["first_token_turn_2", "first_token_regenerate", "first_token_edit"]
    grown = by_turns(ways, 64, (1, 3), seed=2)
    assert list(grown) == [1, 3]
    assert all(seconds > 0 for pair in (*second.values(), *grown.values()) for seconds in pair)
    assert first_token(ours, conversation(1, ())) > 0


def test_the_pulse_is_told_past_the_guard() -> None:
    with app("--rate", "500", what=SERVED) as (url, _):
        assert httpx.get(f"{url}/pulse").json() == {"beats": 0, "worst": 0.0}
        for _ in range(200):
            if (beats := httpx.get(f"{url}/pulse").json()["beats"]) > 0:
                break
            time.sleep(0.05)
        assert beats > 0 and httpx.get(f"{url}/other").status_code == 404


def test_pictures_are_of_as_many_visual_tokens_as_asked(ours: Backend, tmp_path: Path) -> None:
    for tokens, seen in ((64, 64), (256, 256), (1568, 1568)):
        talk = conversation(1, pictures(tmp_path, tokens, seed=9))
        *_, done = ours.stream(Request(talk, GenerationSettings(max_new_tokens=1)))
        assert done.stats.visual_tokens == seen  # type: ignore[union-attr]


def test_plots_hold_every_point_and_say_what_they_are(tmp_path: Path) -> None:
    result: dict[str, Any] = {"machine": {"kind": "cpu", "gpu": None, "cores": 2}, "shape": "44m", "date": "2026-01-01"}
    grown: dict[str, Any] = {"1": [4.0, 4.0], "2": [0.1, 4.2], "16": [0.2, 5.0]}
    result |= {"by_turns": grown, "by_visual_tokens": {"64": [1, 2], "256": [1, 3]}}
    (tmp_path / "turns-cpu.json").write_text(json.dumps(result))
    plots.draw_all(tmp_path)
    svg = ET.fromstring((tmp_path / "turns-cpu.svg").read_text())
    names = [element.tag.rpartition("}")[2] for element in svg.iter()]
    assert names.count("circle") == 2 * len(grown) and names.count("polyline") == 2
    assert "2 CPU cores, shape 44m, 2026-01-01" in "".join(svg.itertext())
    assert (tmp_path / "tokens-cpu.svg").is_file() and not list(tmp_path.glob("*gpu*"))


def test_what_is_kept_stands_in_the_readme(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"Before\n{keeping.BEGIN}old\n{keeping.END}After\n")
    row = {"name": "video_frames", "ours": 1.0, "other": 4.0, "ratio": 4.0, "unit": "s"}
    result = {"benchmark": "video", "date": "2026-01-01", "commit": "abc", "headline": [row], "unmeasured": ["x."]}
    result["load"] = [0.6, 2.4]
    keeping.keep({"video": {**result, "machine": {"kind": "gpu", "gpu": "A GPU"}}}, tmp_path / "results", readme)
    said = readme.read_text()
    assert said.startswith("Before") and said.endswith("After\n") and "old" not in said
    assert "| 4 x | video_frames | 1 | 4 | s |" in said and "Not measured yet" in said and "Not measured: x." in said
    assert "### video: 2026-01-01, at a load of 1 to 2, commit abc" in said


def test_the_readme_holds_the_kept_results() -> None:
    assert keeping.section() in (HERE / "README.md").read_text("utf-8")


def test_the_summary_tells_failures_too() -> None:
    row = {"name": "stream", "ours": 1.0, "other": 1.0, "ratio": 1.0, "unit": "tokens/s"}
    said = summary({"stream": {"headline": [row], "unmeasured": ["a GPU."]}, "video": None})
    assert "| 1 x | stream | stream |" in said and "video: failed" in said and "stream: not measured: a GPU." in said


@pytest.mark.parametrize("name", SMALL)
def test_every_benchmark_of_the_suite_is_there_and_in_its_readme(name: str) -> None:
    assert importlib.util.find_spec(f"benchmarks.{name}") is not None
    assert f"benchmarks.{name}" in (HERE / "README.md").read_text("utf-8")


class Noted:
    """A server that notes what it is asked."""

    def __init__(self, order: list[Noted]) -> None:
        self.order, self.asked = order, []  # type: ignore[var-annotated]

    def answer(self, content: Any, tokens: int) -> vllm.Heard:
        self.order.append(self)
        self.asked.append((str(content), tokens))
        return vllm.Heard(first=0.5 * tokens, prompt=8, tokens=tokens)


def test_beside_vllm_both_get_the_same_new_questions_and_take_turns() -> None:
    order: list[Noted] = []
    ours, theirs = Noted(order), Noted(order)
    runs = vllm.compared(ours, theirs, Namespace(repeats=2, tokens=16, new=4))  # type: ignore[arg-type]
    assert sorted(ours.asked) == sorted(theirs.asked) and len(set(ours.asked)) == len(ours.asked) == 3 * 11
    assert [one is ours for one in order[::11]] == [False, True, True, False, False, True]
    names = [row.name for row in vllm.summary(runs)]
    assert names == ["vllm_first_token", "vllm_first_token_picture", "vllm_users_1", "vllm_users_8"]


def test_without_vllm_its_benchmark_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(vllm_server.VARIABLE, str(tmp_path / "bin" / "python"))
    monkeypatch.setattr(sys, "argv", ["vllm", "--json", str(tmp_path / "vllm.json")])
    vllm.main()
    said = capsys.readouterr().out.strip()
    assert said.startswith("Not measured: vLLM isn't installed: `make test-vllm`") and "\n" not in said
    assert json.loads((tmp_path / "vllm.json").read_text())["headline"] == []


def test_the_script_for_a_gpu_tells_what_failed_and_goes_on(tmp_path: Path) -> None:
    def part(name: str, code: str) -> gpu_check.Part:
        return gpu_check.Part(name, "9b", ("-c", code))

    row = {"name": "decode_of_limit", "ours": 200.0, "other": 314.0, "ratio": 0.637, "unit": "tokens/s"}
    kept = tmp_path / "users-9b.json"
    code = f"import pathlib; pathlib.Path({str(kept)!r}).write_text({json.dumps({'headline': [row]})!r})"
    found = gpu_check.all_of([part("decode", "1 / 0"), part("users", code)], tmp_path, 60)
    said = gpu_check.summary([*found, *gpu_check.all_of([part("turns", "")], tmp_path, 1)])
    assert "decode 9b: failed with 1" in said and "turns 9b: no time was left" in said
    assert "| 9b | decode_of_limit | 0.637 x | 200 | 314 | tokens/s | 0.75 x | no |" in said


def test_the_script_for_a_gpu_needs_neither_av_nor_gradio() -> None:
    modules = ["benchmarks.gpu_check", *(f"benchmarks.{name}" for name in gpu_check.SIZES)]
    code = f"""
import importlib, sys
for missing in ("av", "gradio", "gradio_client", "moviepy", "playwright", "httpx"):
    sys.modules[missing] = None
for name in {modules}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=HERE.parent)
    assert done.returncode == 0, done.stderr
