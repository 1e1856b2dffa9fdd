"""A merged folder is the base's, file by file, with other values; it loads, and is the model with its adapter."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ovis_app import private_folder, zoo
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.load import load
from ovis_app.checkpoints.merge import Merge
from ovis_app.cli import main
from ovis_app.errors import AdapterError, BackendError
from tests.adapters import FAMILIES, MODULE, PREFIX, checkpoint, logits, pair, written
from tests.checkpoints.test_layouts import hf_folder  # noqa: F401 - a fixture
from tests.checkpoints.test_load import split

BASE = checkpoint("ovis2.5")


def merged(base: Path, adapter: Path, out: Path) -> Path:
    Merge.of(base, zoo.adapted(str(base), str(adapter)), out).write()
    return out


def copied(folder: Path, base: Path = BASE) -> Path:
    return Path(shutil.copytree(base, folder))


def described(file: Path) -> dict[str, tuple[str, list[int]]]:
    with safe_open(file, "pt") as stored:
        parts = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
        return {name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_is_the_model_with_its_adapter(family: str, tmp_path: Path) -> None:
    base, adapter = checkpoint(family), written(tmp_path / "a")
    out = merged(base, adapter, tmp_path / "out")
    ours = load(base, adapter=adapter)
    assert torch.equal(logits(load(out)), logits(ours)) and not torch.equal(logits(load(base)), logits(ours))
    Checkpoint.read(out, "out")
    assert sorted(file.name for file in out.iterdir()) == sorted(file.name for file in base.iterdir())
    for file in out.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        if file.suffix != ".safetensors":
            assert file.read_bytes() == (base / file.name).read_bytes()
    assert described(out / "model.safetensors") == described(base / "model.safetensors")
    before, after = (load_file(folder / "model.safetensors") for folder in (base, out))
    assert [name for name in before if not torch.equal(before[name], after[name])] == [f"{MODULE}.weight"]
    assert [path.name for path in tmp_path.iterdir()] == ["a", "out"] or len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_stays_and_is_the_same_to_the_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    """Shards too, beside other files and folders; other formats of the old weights are left out, and checksums."""
    base = copied(tmp_path / "base")
    tensors = {name: value.to(dtype) for name, value in load_file(base / "model.safetensors").items()}
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    split(base)
    (base / "pytorch_model.bin").write_bytes(b"old")
    (base / "SHA256SUMS").write_text("of the old\n")
    (base / "docs").mkdir()
    (base / "docs" / "card.md").write_text("x")
    (base / ".git").mkdir()
    (base / ".git" / "HEAD").write_text("x")
    other = "llm.model.layers.1.self_attn.q_proj"
    adapter = written(tmp_path / "a", pair(MODULE, 96, 64) | pair(other, 64, 64))
    out = merged(base, adapter, tmp_path / "new" / "out")
    shards = sorted(file.name for file in base.glob("*.safetensors"))
    assert len(shards) == 2 and sorted(file.name for file in out.glob("*.safetensors")) == shards
    assert all(described(out / shard) == described(base / shard) for shard in shards)
    assert (out / "docs" / "card.md").exists() and not (out / ".git").exists()
    assert not (out / "pytorch_model.bin").exists() and not (out / "SHA256SUMS").exists()
    for where in (torch.float32, dtype):
        ours, theirs = load(base, dtype=where, adapter=adapter).state_dict(), load(out, dtype=where).state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_hf_layout_keeps_its_names(hf_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:  # noqa: F811
    """Of a weight that we fuse, each part changes where it stands."""
    folder = tmp_path_factory.mktemp("hf")
    block = "visual_tokenizer.backbone.trunk.blocks.0.attn.qkv"
    table = torch.randn(load(hf_folder).visual_tokenizer.backbone.preprocessor.pos_embed.shape)
    tensors = pair(block, 48, 144) | {f"{PREFIX}visual_tokenizer.backbone.preprocessor.pos_embed": table}
    adapter = written(folder / "a", tensors)
    shutil.copy(checkpoint("ovis2") / "tokenizer.json", hf_folder)
    out = merged(hf_folder, adapter, folder / "out")
    assert described(out / "model.safetensors") == described(hf_folder / "model.safetensors")
    ours, theirs = load(hf_folder, adapter=adapter).state_dict(), load(out).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(theirs["visual_tokenizer.backbone.preprocessor.pos_embed"], table)


@pytest.mark.parametrize("quantize", ["int4", "int8"])
def test_quantized_is_quantized_after_the_adapter(quantize: str, tmp_path: Path) -> None:
    mini = zoo.MINI_FOLDER
    adapter = written(tmp_path / "a", pair(MODULE, 512, 192, size=0.1))
    out = merged(mini, adapter, tmp_path / "out")
    ours, theirs, plain = (
        load(folder, quantize=quantize, adapter=one).get_submodule(MODULE).weight.data
        for folder, one in ((mini, adapter), (out, None), (mini, None))
    )
    assert torch.equal(ours, theirs) and not torch.equal(ours, plain)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    base, adapter = copied(tmp_path / "base"), written(tmp_path / "a")
    with pytest.raises(AdapterError, match="is the model itself"):
        merged(base, adapter, base)
    taken = tmp_path / "taken"
    taken.mkdir()
    merged(base, adapter, taken)  # an empty folder is a place
    before = {file.name: file.read_bytes() for file in taken.iterdir()}
    with pytest.raises(AdapterError, match="isn't an empty folder"):
        merged(base, adapter, taken)
    assert before == {file.name: file.read_bytes() for file in taken.iterdir()}
    for inside in (base / "config.json", base / "merged"):
        with pytest.raises(AdapterError, match="is the model itself, or in it"):
            merged(base, adapter, inside)
    with pytest.raises(AdapterError, match="isn't an empty folder"):
        merged(base, adapter, adapter / "adapter_config.json")


def test_a_place_that_cannot_be_is_said_before_anything_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, adapter = copied(tmp_path / "base"), written(tmp_path / "a")
    circle, link, inside, disk = (tmp_path / name for name in ("circle", "link", "inside", "disk"))
    circle.symlink_to(circle)
    inside.symlink_to(base)
    disk.mkdir()
    link.symlink_to(disk)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == disk)
    monkeypatch.setattr(Merge, "write", lambda _: pytest.fail("it was begun"))
    for out, said in [
        (circle, "circle isn't an empty folder: name another one with --out"),
        (circle / "x", "circle isn't a folder, so there can be none in it"),
        (adapter / "adapter_config.json" / "x" / "y", "adapter_config.json isn't a folder, so there can be none in it"),
        (link, "link isn't an empty folder"),
        (inside / "x", "is the model itself, or in it"),
        (tmp_path / ("x" * 300), "can't be written"),
        (Path("/"), "/ isn't an empty folder"),
        (disk, "disk is a disk of its own, which nothing can take the place of: name a folder in it"),
    ]:
        with pytest.raises(AdapterError, match=said):
            merged(base, adapter, out)
    assert not list(disk.iterdir())


def test_no_file_of_elsewhere_is_copied(tmp_path: Path) -> None:
    """Who sent the model could have what isn't theirs laid beside it, for everybody to read. The hub's cache is made of
    links, and weights may lie on another disk."""
    (tmp_path / "secret").write_text("mine alone")
    adapter, base = written(tmp_path / "a"), copied(tmp_path / "base")
    (base / "notes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(AdapterError, match=r"notes.txt in base is a link to a file elsewhere: put a copy"):
        merged(base, adapter, tmp_path / "out")
    (base / "notes.txt").unlink()
    (base / "model.safetensors").rename(tmp_path / "weights")
    (base / "model.safetensors").symlink_to(tmp_path / "weights")
    merged(base, adapter, tmp_path / "other")
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c0ffee", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    shutil.copytree(BASE, blobs)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    out = merged(snapshot, adapter, tmp_path / "out")
    assert not any(file.is_symlink() for file in out.iterdir())


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is too full"),
        (PermissionError(errno.EACCES, "denied"), "can't be written: check its permissions"),
        (KeyboardInterrupt(), None),
    ],
    ids=str,
)
def test_what_fails_midway_leaves_nothing(
    trouble: BaseException, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, out = written(tmp_path / "a"), tmp_path / "out"

    def failing(*_: Any) -> None:
        raise trouble

    with monkeypatch.context() as patched:
        patched.setattr(private_folder, "_name", failing)
        with pytest.raises(BackendError if said else KeyboardInterrupt, match=said):
            merged(BASE, adapter, out)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (merged(BASE, adapter, out) / "config.json").is_file()


@pytest.mark.parametrize("killed", [False, True])
def test_what_was_to_be_replaced_is_there_again(killed: bool, tmp_path: Path) -> None:
    """Where the new folder doesn't get the name: by a failure, or by a kill between the two renames."""
    out, ends = tmp_path / "out", "os.kill(os.getpid(), signal.SIGKILL)" if killed else "raise OSError('busy')"
    out.mkdir()
    (out / "whole").write_text("old")
    program = (
        "import os, signal, sys; from pathlib import Path; from ovis_app import private_folder\n"
        f"def failing(new, place):\n assert not place.exists()\n {ends}\n"
        "private_folder._name = failing\n"
        "with private_folder.made_whole(Path(sys.argv[1]), replaces=True) as new:\n (new / 'whole').write_text('new')"
    )
    assert subprocess.run([sys.executable, "-c", program, out], stderr=subprocess.DEVNULL, check=False).returncode
    private_folder.sweep(tmp_path, private_folder.HIDDEN)
    assert (out / "whole").read_text() == "old" and list(tmp_path.iterdir()) == [out]
    with private_folder.made_whole(out, replaces=True) as new:
        (new / "whole").write_text("new")
    assert (out / "whole").read_text() == "new" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("change", [0, 1])
def test_of_two_at_once_one_comes_out_whole(change: int, tmp_path: Path) -> None:
    """Whoever is done first has the folder, all of it, and the other says that it is taken."""
    adapters = written(tmp_path / "a"), written(tmp_path / "b", pair(MODULE, 96, 64, seed=5))
    alone, out = merged(BASE, adapters[1], tmp_path / "alone"), tmp_path / "out"
    slow, fast = (Merge.of(BASE, zoo.adapted(str(BASE), str(adapter)), out) for adapter in adapters)
    sizes = list[int]()

    def meanwhile(count: int) -> None:
        sizes.append(count)
        if len(sizes) == (1 if change == 0 else len(slow.files) + 1):  # before a weight is changed, or behind one
            fast.write()

    with pytest.raises(AdapterError, match=r"out isn't an empty folder: name another one"):
        slow.write(meanwhile)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == {
        file.name: file.read_bytes() for file in alone.iterdir()
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "alone", "b", "out"]


def test_one_that_is_killed_leaves_no_folder_and_is_swept_by_the_next(tmp_path: Path) -> None:
    adapter, out = written(tmp_path / "a"), tmp_path / "out"
    program = (
        "import os, signal, sys; from pathlib import Path; from ovis_app import zoo\n"
        "from ovis_app.checkpoints.merge import Merge\n"
        "base, adapter, out = sys.argv[1:]\n"
        "merge, files = Merge.of(Path(base), zoo.adapted(base, adapter), Path(out)), []\n"
        "def counted(n):\n files.append(n)\n"
        " if len(files) > len(merge.files): os.kill(os.getpid(), signal.SIGKILL)\n"
        "merge.write(counted)"
    )
    killed = subprocess.run([sys.executable, "-c", program, BASE, adapter, out], check=False)
    assert killed.returncode == -signal.SIGKILL and not out.exists()
    assert all(path.name == "a" or path.name.startswith(".ovis-") for path in tmp_path.iterdir())
    merged(BASE, adapter, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def test_it_needs_room_for_its_files_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes is written over, so it takes no more than the base."""
    merge = Merge.of(BASE, zoo.adapted(str(BASE), str(written(tmp_path / "a"))), tmp_path / "out")
    room = sum(file.stat().st_size for file in BASE.iterdir())
    for free in (room - 1, room):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        if free < room:
            with pytest.raises(BackendError, match=f"takes {room / 1e9:.2f} GB"):
                merge.write()
    merge.write()
    assert (tmp_path / "out" / "config.json").is_file()


def test_what_a_cast_makes_infinite_is_refused(tmp_path: Path) -> None:
    adapter = written(tmp_path / "a", pair(MODULE, 512, 192, size=3e3))
    with pytest.raises(AdapterError, match=r"makes numbers of llm.*that float16 can't hold"):
        merged(zoo.MINI_FOLDER, adapter, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# --- the command ----------------------------------------------------------------------------------------------------


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    try:
        code = main([str(word) for word in words])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr().err


def test_the_command_merges_and_says_how_to_try_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    adapter, out = written(tmp_path / "a"), tmp_path / "out"
    code, err = said(capsys, "merge", "--model", BASE, "--adapter", adapter, "--out", out)
    assert code == 0 and "1 weights changed. Try it: " in err and f"--model {out}" in err
    assert torch.equal(logits(load(out)), logits(load(BASE, adapter=adapter)))


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    adapter, run = written(tmp_path / "a"), written(tmp_path / "run" / "adapter").parent
    dora = written(tmp_path / "dora", use_dora=True)
    for words, wanted in [
        (("merge", "--model", BASE, "--out", tmp_path / "o"), "name the adapter's folder with --adapter"),
        (("merge", "--model", BASE, "--adapter", tmp_path / "no", "--out", tmp_path / "o"), "isn't an adapter: name a"),
        (("merge", "--model", BASE, "--adapter", run, "--out", tmp_path / "o"), f"name {run}/adapter, which has one"),
        (("merge", "--model", adapter, "--adapter", adapter, "--out", tmp_path / "o"), "is an adapter, not a model"),
        (("merge", "--model", BASE, "--adapter", dora, "--out", tmp_path / "o"), "uses DoRA"),
        (("merge", "--model", BASE, "--adapter", adapter, "--out", BASE), "is the model itself"),
        (("ask", "Hello", "--model", adapter), "is an adapter, not a model: name it with --adapter"),
        (("ask", "Hello", "--adapter", f"{tmp_path}/a\nERROR \x1b[2J"), "a�ERROR �[2J isn't an adapter: name a"),
        (("ask", "Hello", "--model", BASE, "--adapter", tmp_path), "isn't an adapter: name a folder with"),
        (("ask", "Hello", "--backend", "fake", "--adapter", adapter), "--adapter is for a model in this process"),
    ]:
        code, err = said(capsys, *words)
        assert code == 2 and wanted in err and len(err.splitlines()) == 1, (words, err)
    assert not (tmp_path / "o").exists()


def test_a_question_is_answered_with_the_adapter(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    adapter = written(tmp_path / "shop", pair("llm.model.layers.4.mlp.down_proj", 512, 192, size=2.0))
    answers = []
    for words in ((), ("--adapter", adapter)):
        code = main(["ask", "Hello", "--max-new-tokens", "8", "--json", "--device", "cpu", *map(str, words)])
        answers.append(json.loads(capsys.readouterr().out))
        assert code == 0
    assert [answer["model"] for answer in answers] == ["Ovis-mini", "Ovis-mini+shop"]
    assert answers[0]["text"] != answers[1]["text"]
