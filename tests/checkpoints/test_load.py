"""Weights reach their places as the files have them, memory is given back, and damaged checkpoints are a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovis_app import zoo
from ovis_app.backends.local import model_pool
from ovis_app.checkpoints import safetensors, tokenizer
from ovis_app.checkpoints.checkpoint import Checkpoint
from ovis_app.checkpoints.load import load
from ovis_app.errors import BackendError
from ovis_app.models import joined_weights
from ovis_app.models.joined_weights import QKV
from tests.models_on_cpu import loaded_on_cpu

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests" / "fixtures" / "golden"
CHECKPOINT = GOLDEN / "ovis2.5" / "public-a" / "checkpoint"
FAMILIES = ("ovis1.6", "ovis2", "ovis2.5")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy that a test may break."""
    copy = tmp_path / "mine"
    copy.mkdir()
    for file in CHECKPOINT.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def split(folder: Path) -> list[Path]:
    """The weights as two shards and an index."""
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / shard)
    places = {name: shard for shard, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "model.safetensors").unlink()
    return [folder / shard for shard in shards]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_the_files(family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a tensor is read in many pieces."""
    monkeypatch.setattr(safetensors, "PIECE", 1000)
    checkpoint = GOLDEN / family / "public-a" / "checkpoint"
    model = load(checkpoint, dtype=dtype)
    stored = load_file(checkpoint / "model.safetensors")
    stored = {name: tensor for name, tensor in stored.items() if ".vision_model.head." not in name}  # nobody uses it
    places = model.state_dict()
    for name, tensor in stored.items():
        assert torch.equal(places[name], tensor.to(dtype)), name
    assert all(value.dtype == dtype for value in model.parameters())
    assert set(places) - set(stored) <= {"llm.lm_head.weight"}
    assert model.llm.lm_head.weight is model.llm.get_input_embeddings().weight
    assert not any(value.is_meta for value in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_read_together_is_loaded_together(family: str) -> None:
    """Joined afterwards, weights would be copied: half of the time of loading."""
    model = load(GOLDEN / family / "public-a" / "checkpoint")
    for layer in model.llm.get_submodule("model.layers"):
        for parts in ([layer.self_attn.get_submodule(name) for name in QKV], [layer.mlp.gate_proj, layer.mlp.up_proj]):
            where = [part.weight.data_ptr() for part in parts]
            weight, bias = joined_weights.join(parts)
            assert where == [part.weight.data_ptr() for part in parts] and joined_weights.together(parts, weight, bias)


def test_shards_are_one_checkpoint(folder: Path) -> None:
    whole = load(folder)
    split(folder)
    assert same(load(folder), whole)


def test_a_head_of_its_own_stays_its_own(folder: Path) -> None:
    """Where config.json ties the head and the file has one all the same: equal is tied, other values are kept."""
    tensors = load_file(folder / "model.safetensors")
    table = tensors["llm.model.embed_tokens.weight"]
    save_file({**tensors, "llm.lm_head.weight": table.clone()}, folder / "model.safetensors")
    model = load(folder)
    assert model.llm.lm_head.weight is model.llm.get_input_embeddings().weight
    save_file({**tensors, "llm.lm_head.weight": table + 1}, folder / "model.safetensors")
    assert torch.equal(load(folder).llm.lm_head.weight, table + 1)


def test_loading_tells_bytes_and_may_be_ended(folder: Path) -> None:
    heard: list[tuple[str, float | None]] = []
    load(folder, progress=lambda words, share: heard.append((words, share)))
    total = sum(value.nbytes for value in load_file(folder / "model.safetensors").values())
    assert heard[-1] == (f"Loading mine: {total / 1e3:.1f} of {total / 1e3:.1f} kB", 1.0)
    shares = [share for _, share in heard if share is not None]
    assert shares == sorted(shares)

    def end(words: str, share: float | None) -> None:
        if share is not None and share > 0.5:
            raise KeyError("enough")

    spec = zoo.resolve(str(folder))
    with pytest.raises(KeyError, match="enough"):
        loaded_on_cpu(spec, "float32", progress=end)
    assert loaded_on_cpu(spec, "float32").model.vte.weight.any()


def truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def header_only(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def zeroed_start(folder: Path) -> None:
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(bytes(4096) + data[4096:])


def zeroed(file: Path, tensor: safetensors.Stored) -> None:
    data = bytearray(file.read_bytes())
    data[tensor.begin : tensor.end] = bytes(tensor.end - tensor.begin)
    file.write_bytes(data)


def zeroed_tail(folder: Path) -> None:
    zeroed(folder / "model.safetensors", max(safetensors.stored(folder).values(), key=lambda tensor: tensor.end))


def longer(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes() + b"more")


def eight_bits(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["vte.weight"] = tensors["vte.weight"].to(torch.float8_e4m3fn)
    save_file(tensors, folder / "model.safetensors")


def missing_shard(folder: Path) -> None:
    split(folder)[1].unlink()


def bad_index(folder: Path) -> None:
    split(folder)
    (folder / "model.safetensors.index.json").write_text("{")


def wrong_shapes(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["vte.weight"] = tensors["vte.weight"][:-1].clone()
    save_file(tensors, folder / "model.safetensors")


def missing_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["vte.weight"]
    save_file(tensors, folder / "model.safetensors")


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def no_tokenizer(folder: Path) -> None:
    for name in tokenizer.FILES:
        (folder / name).unlink(missing_ok=True)


def damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model": 3}')


def foreign_tokenizer(folder: Path) -> None:
    rows = json.loads((folder / "config.json").read_text())["llm_config"]["vocab_size"]
    content = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary[next(iter(vocabulary))] = rows
    (folder / "tokenizer.json").write_text(json.dumps(content))


def crowded_index(folder: Path) -> None:
    split(folder)
    (folder / "model.safetensors.index.json").write_bytes(b'{"weight_map": [' + b"{}, " * 300_001)


def unknown_generation(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}')


DAMAGES = pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncated, "model.safetensors is incomplete; download it again"),
        (header_only, "model.safetensors is damaged or incomplete; download it again"),
        (zeroed_start, "model.safetensors is damaged or incomplete; download it again"),
        (zeroed_tail, "has zeros where its last weights should be; download it again"),
        (longer, "is longer than its header says; download it again"),
        (eight_bits, "holds F8_E4M3 numbers, which this app can't read"),
        (missing_shard, "model-00002-of-00002.safetensors is missing; download it again"),
        (bad_index, "model.safetensors.index.json is damaged; download it again"),
        (
            crowded_index,
            "In mine, model.safetensors.index.json tells of more than 100,000 tensors, which this app can't",
        ),
        (wrong_shapes, "don't fit its config.json (1 tensors differ)"),
        (missing_tensor, "don't fit its config.json (1 tensors differ)"),
        (pickle_only, "no .safetensors weights"),
        (no_tokenizer, "has no tokenizer: add"),
        (damaged_tokenizer, "The tokenizer of mine is damaged"),
        (foreign_tokenizer, "The tokenizer of mine doesn't belong to its weights"),
        (unknown_generation, "no Ovis that this app knows"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)


def test_so_many_tensors_as_no_model_has_are_refused_in_shards_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = split(folder)
    monkeypatch.setattr(safetensors, "MOST_TENSORS", len(safetensors.stored(folder)) - 1)
    assert all(safetensors.stored_in(shard) for shard in shards)
    with pytest.raises(safetensors.Unknown, match="tells of more than"):
        safetensors.stored(folder)


@DAMAGES
def test_a_damaged_checkpoint_is_a_sentence_and_a_whole_one_loads_next(
    folder: Path, damage: Callable[[Path], None], said: str
) -> None:
    spec = zoo.resolve(str(folder))
    whole = {file: file.read_bytes() for file in folder.iterdir()}
    damage(folder)
    with pytest.raises(BackendError) as caught:
        loaded_on_cpu(spec, "float32")
    assert said in str(caught.value) and str(folder.parent) not in str(caught.value)
    for file in folder.iterdir():
        file.unlink()
    for file, data in whole.items():
        file.write_bytes(data)
    assert loaded_on_cpu(spec, "float32").model.vte.weight.any()


@DAMAGES
def test_damage_is_found_before_weights_are_read(
    folder: Path, damage: Callable[[Path], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but what only the weights show: so the present model needn't be given up for it."""
    monkeypatch.setattr(safetensors.Reader, "read", lambda *_: pytest.fail("weights were read"))
    spec = zoo.resolve(str(folder))
    Checkpoint.read(folder, spec.name)
    damage(folder)
    if damage is zeroed_tail:
        return
    with pytest.raises(BackendError) as caught:
        Checkpoint.read(folder, spec.name)
    assert said in str(caught.value) and str(folder.parent) not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_checkpoint_passes(family: str) -> None:
    folder = GOLDEN / family / "public-a" / "checkpoint"
    Checkpoint.read(folder, "mine")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_may_not_be_read_is_a_sentence(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.open

    def denied(self: Path, *rest: Any, **more: Any) -> Any:
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self, *rest, **more)

    spec = zoo.resolve(str(folder))
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(BackendError, match=r"check (its|their) permissions") as caught:
        Checkpoint.read(folder, spec.name)
    assert str(folder.parent) not in str(caught.value)


def test_a_matrix_of_zeros_is_no_damage(folder: Path) -> None:
    """It may have been trained like that: only a file that ends in one was never written to its end."""
    tensors = safetensors.stored(folder)
    name = next(name for name in tensors if name.endswith("o_proj.weight"))
    zeroed(folder / "model.safetensors", tensors[name])
    assert not load(folder).get_parameter(name).any()


@pytest.fixture
def snapshot(folder: Path, tmp_path: Path) -> Path:
    """The checkpoint as the hub's cache has it: links to blobs."""
    blobs, snapshot = tmp_path / "models--a--Tiny" / "blobs", tmp_path / "models--a--Tiny" / "snapshots" / "c0ffee"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        (blobs / file.name).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(blobs / file.name)
    return snapshot


@pytest.mark.parametrize("damage", [truncated, zeroed_start, zeroed_tail])
def test_a_half_written_file_of_the_hubs_cache_is_fetched_anew(snapshot: Path, damage: Callable[[Path], None]) -> None:
    """It is removed, or the next try would take it for whole."""
    damage(snapshot)
    blob = (snapshot / "model.safetensors").resolve()
    with pytest.raises(BackendError, match=r"a/Tiny are damaged.*downloaded again at the next try"):
        load(snapshot)
    assert not (snapshot / "model.safetensors").is_symlink() and not blob.exists()
    assert (snapshot / "config.json").is_file()


@pytest.mark.parametrize("damage", [longer, wrong_shapes, missing_tensor, eight_bits])
def test_what_would_come_again_as_it_is_stays(snapshot: Path, damage: Callable[[Path], None]) -> None:
    """Gigabytes aren't fetched a second time for the same sentence."""
    damage(snapshot)
    with pytest.raises(BackendError):
        load(snapshot)
    assert (snapshot / "model.safetensors").is_file()


RESIDENT = """
import sys
from pathlib import Path
import psutil
from benchmarks.shapes import checkpoint
from ovis_app import zoo
from ovis_app.backends.local import model_pool
from tests.models_on_cpu import loaded_on_cpu
large, small = sys.argv[1:]
def resident(): return psutil.Process().memory_info().rss
def load(folder): return loaded_on_cpu(zoo.resolve(folder), "bfloat16")
load(small)  # what libraries keep is not a model's
model_pool.release()
before = resident()
model = load(large)
own = sum(value.nbytes for value in model.model.parameters())
with_large = resident()
del model
model_pool.release()
load(small)
print(before, own, with_large, resident())
"""


def test_a_released_model_leaves_its_memory(tmp_path: Path) -> None:
    """In a process of its own: after the next model is loaded, as much is resident as before, and that model's own."""
    from benchmarks.shapes import checkpoint

    large = checkpoint("44m", tmp_path / "large", dtype=torch.bfloat16)
    run = subprocess.run(
        [sys.executable, "-c", RESIDENT, str(large), str(CHECKPOINT)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    before, own, with_large, after = map(int, run.stdout.split())
    assert own > 80e6 and with_large - before > 0.9 * own
    assert after - before < 0.1 * own


PEAK = """
import sys
from pathlib import Path
import psutil
import torch
from ovis_app import zoo
from ovis_app.checkpoints.load import load
folder, quantize = sys.argv[1:]
torch.set_num_threads(1)
load(zoo.MINI_FOLDER, dtype=torch.bfloat16, quantize=quantize)  # what libraries keep is not a model's
before = psutil.Process().memory_info().rss
model = load(Path(folder), dtype=torch.bfloat16, quantize=quantize)
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak - before, sum(value.nbytes for value in set(model.parameters())))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system tells no peak of a process's memory")
@pytest.mark.parametrize("quantize", [pytest.param("int8", marks=pytest.mark.long), "int4"])
def test_quantizing_holds_less_than_a_layer_unquantized(
    quantize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what is loaded in the end: neither what it takes to quantize nor what the allocator keeps of that."""
    from benchmarks import shapes

    monkeypatch.setitem(shapes.SHAPES, "wide", shapes.Shape(1024, 2, 8, 4, 12288, shapes.SHAPES["tiny"].tower))
    folder = shapes.checkpoint("wide", tmp_path / "wide", dtype=torch.bfloat16)
    of_first = [name for name in safetensors.stored(folder) if name.startswith("llm.model.layers.0.")]
    layer = sum(safetensors.stored(folder)[name].size for name in of_first)
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(folder), quantize], capture_output=True, text=True, cwd=ROOT, check=True
    )
    peak, held = map(int, run.stdout.split())
    assert layer > 80e6 and held < peak < held + layer


def test_a_model_is_in_memory_once_until_it_is_released() -> None:
    model_pool.release()
    mini = loaded_on_cpu(zoo.MINI)
    assert loaded_on_cpu(zoo.MINI) is mini
    assert model_pool.loaded_bytes() == sum(value.nbytes for value in mini.model.parameters())
    model_pool.release()
    assert model_pool.loaded_bytes() == 0


def test_on_gpus_everything_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers and pages too: all that this process has taken of every GPU, not the weights alone."""
    model_pool.release()
    mini = loaded_on_cpu(zoo.MINI, "auto")
    monkeypatch.setattr(type(mini.model), "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda number: (3 + number) * 10**9)
    assert model_pool.loaded_bytes() == 7 * 10**9
    model_pool._models.clear()
    assert model_pool.loaded_bytes() == 0


def test_what_is_held_may_be_asked_while_another_thread_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    model_pool.release()
    mini = loaded_on_cpu(zoo.MINI, "auto")
    parameters = mini.model.parameters

    def meanwhile() -> object:
        model_pool._models[("another", "cpu", "float32", "none")] = mini
        return parameters()

    monkeypatch.setattr(mini.model, "parameters", meanwhile)
    assert model_pool.loaded_bytes() > 0
    model_pool._models.clear()
