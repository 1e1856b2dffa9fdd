"""Samples as people have them are read; what can't be learnt from is named with its file, its id and the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ovis_app.errors import DataError, MediaError
from ovis_app.limits import Limits
from ovis_app.media.images import UNSEEN, Checked
from ovis_app.training.finetune import samples as samples_module
from ovis_app.training.finetune.samples import Sample, fingerprint
from tests.training.finetune.made import entry, found, gpt, human, picture, samples, written

FILES = Path(__file__).parents[2] / "media" / "files"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures a.png, b.png and pics/c.png, a clip, and a picture that is damaged."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("a.png", "b.png", "pics/c.png"):
        picture(folder / name)
    shutil.copy(FILES / "anim_from_gif.mp4", folder / "clip.mp4")
    (folder / "torn.png").write_bytes((folder / "a.png").read_bytes()[:60])
    return folder


def files(sample: Sample) -> list[str]:
    return [media.path.name for media in sample.media]


def test_the_originals_list(folder: Path) -> None:
    turns = [{"from": "system", "value": "Be brief."}, human("Hi"), {"from": "ignored_gpt", "value": "Yo"}, human("?")]
    read = samples(
        written(
            folder / "list.json",
            [
                entry("<image>\nWhat?", id="one", image="a.png"),
                entry("First <image>, then\n<image>: which?", id=2, image=["a.png", "pics/c.png"]),
                entry("<video>\nWhat moves?", video="clip.mp4"),
                entry("<video>\nAnd here?", video_frames=["a.png", "b.png"]),
                {"conversations": [*turns, gpt("Yes.")]},
            ],
        )
    )
    assert [sample.id for sample in read] == ["one", "2", "sample 3", "sample 4", "sample 5"]
    assert [sample.kind for sample in read] == ["one picture", "several pictures", "a clip", "a clip", "text only"]
    assert [files(sample) for sample in read] == [["a.png"], ["a.png", "c.png"], ["clip.mp4"], ["a.png", "b.png"], []]
    assert [turn.role for turn in read[4].turns] == ["system", "human", "ignored_gpt", "human", "gpt"]


def test_swifts_lines(folder: Path) -> None:
    said = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "Red."}]
    parts = [{"type": "image", "image": "b.png"}, {"type": "text", "text": "Colour?"}]
    later = [said[0], {**said[1], "loss": False}, {"role": "user", "content": "And <image>?"}, said[1]]
    read = samples(
        written(
            folder / "swift.jsonl",
            [
                {"messages": said, "images": ["a.png", {"path": "b.png"}]},
                {"messages": later, "images": ["a.png"]},
                {"messages": [{"role": "user", "content": parts}, said[1]]},
                {"messages": said, "videos": ["clip.mp4"]},
            ],
        )
    )
    assert read[0].turns[0].text == "<image>\n<image>\nWhat?" and files(read[0]) == ["a.png", "b.png"]
    assert [turn.role for turn in read[1].turns] == ["human", "ignored_gpt", "human", "gpt"]
    assert read[2].turns[0].text == "<image>\nColour?" and files(read[2]) == ["b.png"]
    assert read[3].turns[0].text == "<video>\nWhat?" and files(read[3]) == ["clip.mp4"]


def test_several_sets_of_a_datainfo(folder: Path) -> None:
    written(folder / "talk.json", [entry(id="t")])
    written(folder / "seen.jsonl", [entry("<image>?", id="s", image="c.png")])
    written(folder / "captions.json", [{"image": "a.png", "caption": " A red <image>field. "}])
    info = {
        "talk": {"meta_file": "talk.json", "data_format": "conversation", "image_dir": ""},
        "seen": {"meta_file": "seen.jsonl", "storage_type": "hybrid", "image_dir": "pics"},
        "told": {"meta_file": "captions.json", "data_format": "caption", "caption_template": "See <image>: "},
    }
    data = written(folder / "info.json", info)
    assert [sample.id for sample in samples(data, sets="talk|seen")] == ["t", "s"]
    captioned = samples(data)[2]
    assert captioned.caption and [turn.text for turn in captioned.turns] == ["See <image>: ", "A red field."]
    with pytest.raises(DataError, match="has no set “seem”: it has talk, seen, told"):
        samples(data, sets="talk|seem")


BROKEN: list[tuple[dict[str, Any] | str, str]] = [
    (entry("<image>", image="gone.png"), "there is no file “gone.png”"),
    (entry("<image>", image="torn.png"), "“torn.png” is damaged"),
    (entry("<image>", image="../outside.png"), "“../outside.png” lies outside the folder"),
    (entry("<image>", image="/etc/hostname"), "“/etc/hostname” lies outside the folder"),
    (entry("<image>", image="list.txt"), "“list.txt”"),
    (entry("<image>", image="pics"), "“pics” is no file"),
    (entry("<image>", image="a\0.png"), "can't be read"),
    (entry("<image>", image={"bytes": 5}), "has a file in image that isn't given by its name"),
    (entry("<video>", video="a.png"), "“a.png” is a picture, not a clip"),
    (entry("<image> and <image>", image="a.png"), "has 2 <image> in its text and 1 picture"),
    (entry("Which?", image=["a.png", "b.png"]), "has 0 <image> in its text and 2 pictures"),
    (entry("<video>", image="a.png"), "has 0 <image> in its text and 1 picture"),
    (entry("Hi <image>"), "has 1 <image> in its text and 0 pictures"),
    (entry("<video><video>", video="clip.mp4"), "has 2 <video> in its text and 1 clip"),
    (entry("<image><video>", image="a.png", video="clip.mp4"), "has pictures and a clip"),
    (entry("<video>", video="clip.mp4", video_frames=["a.png"]), "has 2 clips"),
    (entry("Hi", "See <image>"), "has an <image> or <video> in turn 2, of gpt"),
    ({"conversations": [{"from": "system", "value": "<image>"}, human("Hi"), gpt("Yo")]}, "in turn 1, of system"),
    ({"conversations": [human("Hi"), {"from": "bot", "value": "Yo"}]}, "has a turn 2 of an unknown role, “bot”"),
    ({"conversations": [human("Hi"), {"value": "Yo"}]}, "has a turn 2 of an unknown role"),
    ({"conversations": [human("Hi")]}, "has no turn of gpt"),
    ({"conversations": []}, "has no turn of gpt"),
    ({"conversations": [gpt("Yo")]}, "has no turn of a human"),
    ({"conversations": [human("Hi"), gpt("Yo"), {"from": "system", "value": "x"}]}, "has a turn 3 of the system"),
    (entry("Hi", " \n"), "has an empty answer in turn 2"),
    ({"conversations": [human("Hi"), {"from": "gpt", "value": 7}]}, "has a turn 2 without text"),
    ({"conversations": [human("Hi"), "Yo"]}, "has a turn 2 that is no object"),
    ({"conversations": "Hi"}, "has no list of conversations"),
    ({"image": "a.png"}, "has no list of messages"),
    ({"image": "a.png", "caption": ""}, "has an empty caption"),
    ({"image": ["a.png", "b.png"], "caption": "x"}, "has a caption and 2 pictures"),
    ("Hi", "is no object"),
]


def test_what_cant_be_used_is_named_with_its_reason(folder: Path) -> None:
    (folder / "list.txt").write_text("no picture", encoding="utf-8")
    read = found(written(folder / "broken.json", [entry(id="good"), *(value for value, _ in BROKEN)]))
    assert [sample.id for sample in read.samples] == ["good"]
    told = {problem.id: problem for problem in read.problems}
    for number, (value, reason) in enumerate(BROKEN, 2):
        problem = told[f"sample {number}"]
        assert problem.file == "broken.json" and reason in problem.reason, (value, problem.reason)
        assert str(folder) not in problem.reason
    with pytest.raises(DataError) as refused:
        read.usable(skip_bad=False)
    lines = str(refused.value).split("\n")
    assert lines[0] == f"{len(BROKEN)} samples can't be used: mend what is named, or leave them out with --skip-bad."
    assert len(lines) == 7 and lines[-1] == f"  and {len(BROKEN) - 5} more"
    assert all(line.startswith("  broken.json, sample ") for line in lines[1:6])
    assert [sample.id for sample in read.usable(skip_bad=True)] == ["good"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.json", '[{"a": 1},\n{"a": ]', r"Line 2 of x.json is not JSON"),
        ("x.json", "", r"x.json is empty"),
        ("x.jsonl", " \n\n", r"x.jsonl is empty"),
        ("x.json", "[]", r"x.json is an empty list"),
        ("x.json", '{"a": 1}', r"x.json is neither a list of samples nor a datainfo"),
        ("x.json", '{"a": {"meta_file": 7}}', r"The set “a” of x.json needs a meta_file"),
        ("x.json", '{"a": {"meta_file": "gone.json"}}', r"There is no file gone.json, which x.json names for “a”"),
        ("x.json", '{"a": {"meta_file": "' + "x" * 5000 + '"}}', r"There is no file x+…x+, which x.json names for “a”"),
        ("x.json", '{"a": {"meta_file": "~no-such/a"}}', r"There is no file ~no-such/a, which x.json names for “a”"),
        ("x.json", "[" * 100_000, r"x.json holds numbers or lists within lists"),
        ("x.json", "[1]\0", r"Line 1 of x.json holds zero bytes"),
        ("x.jsonl", "Hello", r"1 sample can't be used.*\n  x.jsonl, sample 1: line 1 is not JSON"),
        ("x.jsonl", '\n{"conversations"', r"x.jsonl, sample 1: line 2 is not JSON"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_samples(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        samples(tmp_path / name)


def test_other_encodings_and_lines_that_are_called_a_list(tmp_path: Path) -> None:
    for name, encoding in (("a.json", "utf-8-sig"), ("b.json", "utf-16")):
        (tmp_path / name).write_text(json.dumps([entry("Bär?")], ensure_ascii=False), encoding=encoding)
        assert samples(tmp_path / name)[0].turns[0].text == "Bär?"
    (tmp_path / "c.json").write_text("\n".join([json.dumps(entry())] * 2), encoding="utf-8")
    (tmp_path / "d.json").write_text(json.dumps(entry(), indent=1), encoding="utf-8")
    assert [len(samples(tmp_path / name)) for name in ("c.json", "d.json")] == [2, 1]
    (tmp_path / "e.json").write_bytes(b"\x93\xff[]")
    (tmp_path / "f.json").write_bytes(bytes(range(256)))
    for name, why in (("e", "isn't UTF-8: save it as UTF-8 or"), ("f", r"holds no text: it is damaged, or")):
        with pytest.raises(DataError, match=f"{name}.json {why}"):
            samples(tmp_path / f"{name}.json")


def test_pictures_in_another_folder(tmp_path: Path) -> None:
    there = picture(tmp_path / "seen" / "x.png")
    (tmp_path / "words").mkdir()
    names = ("seen/x.png", str(there), "seen\\x.png")
    data = written(tmp_path / "words" / "a.json", [entry("<image>", image=name) for name in names])
    assert len(found(data).problems) == 3
    assert [files(sample) for sample in samples(data, image_dir=tmp_path)] == [["x.png"]] * 3


def test_pictures_for_which_a_call_had_no_time_are_looked_at_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [picture(tmp_path / f"{number}.png").name for number in range(70)]
    calls = list[int]()

    def slow(files: Sequence[tuple[Path, str]], limits: Limits) -> list[MediaError | Checked]:
        calls.append(len(files))
        return [Checked(1, moves=False) if place < 30 else MediaError(f"“x” {UNSEEN}") for place in range(len(files))]

    monkeypatch.setattr(samples_module, "check_images", slow)
    data = written(tmp_path / "data.json", [entry("<image>", image=name) for name in names])
    assert len(samples(data)) == 70 and calls == [64, 40, 10]


def test_a_digest_changes_with_words_and_pictures_and_not_with_the_folder(tmp_path: Path) -> None:
    digests = []
    for name, answer, size in (("a", "Red.", 32), ("b", "Red.", 32), ("c", "Blue.", 32), ("d", "Red.", 90)):
        picture(tmp_path / name / "x.png", (size, size))
        data = written(tmp_path / name / "data.json", [entry("<image>", answer, image="x.png")])
        digests.append(fingerprint(samples(data)))
    assert digests[0] == digests[1] and len(set(digests)) == 3
