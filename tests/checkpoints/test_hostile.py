"""No code of a model's or an adapter's folder is ever run: what there could run leaves a mark, and none is left."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ovis_app import zoo
from ovis_app.checkpoints import page_reader
from ovis_app.checkpoints.load import load
from ovis_app.cli import main
from ovis_app.doctor import quick
from ovis_app.errors import BackendError
from ovis_app.settings import Settings
from tests.adapters import MODULE, written
from tests.backends.test_page_reader import folder as reader  # noqa: F401 - a fixture
from tests.models_on_cpu import loaded_on_cpu, on_cpu

ROOT = Path(__file__).parent.parent.parent
CHECKPOINT = ROOT / "tests" / "fixtures" / "golden" / "ovis2.5" / "public-a" / "checkpoint"
PICKLES = (
    "pytorch_model.bin", "model.pt", "model.ckpt", "adapter_model.bin", "training_args.bin", "optimizer.pt",
    "rng_state.pth", "tokenizer.model", "spiece.model",
)  # fmt: skip
CODE = ("modeling_evil", "configuration_evil", "tokenization_evil", "processing_evil", "torch", "json", "sitecustomize")
MODELS = ("AutoModel", "AutoModelForCausalLM", "AutoModelForImageTextToText")
AUTO: dict[str, object] = dict.fromkeys(MODELS, f"{CODE[0]}.Evil")
AUTO |= {"AutoConfig": f"{CODE[1]}.Evil", "AutoTokenizer": [f"{CODE[2]}.Evil"] * 2, "AutoProcessor": f"{CODE[3]}.Evil"}
OWN = "somebody/kernel"  # of the hub, which transformers would fetch and run


class Payload:
    """What runs where its pickle is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.mark,)


def poison(folder: Path, mark: Path) -> None:
    """Puts beside honest files everything that could run: modules that the configs name, pickles, a template."""
    code = f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n"
    for name in CODE:
        (folder / f"{name}.py").write_text(code)
    (folder / "custom_generate").mkdir(exist_ok=True)
    (folder / "custom_generate" / "generate.py").write_text(code)
    for name in PICKLES:
        (folder / name).write_bytes(pickle.dumps(Payload(mark)))
    shell = f"{{{{ cycler.__init__.__globals__.os.system('touch {mark}') }}}}"
    shell += "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ messages.__class__.__init__.__globals__ }}"
    (folder / "chat_template.jinja").write_text(shell)
    for file in ("config.json", "tokenizer_config.json", "preprocessor_config.json", "generation_config.json"):
        raw = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
        raw |= {"auto_map": AUTO, "trust_remote_code": True, "custom_pipelines": {"x": {"impl": "modeling_evil.Evil"}}}
        raw |= {"attn_implementation": OWN} if file == "config.json" else {}
        for part in ("llm_config", "vit_config", "text_config", "vision_config"):
            if part in raw:
                raw[part] |= {"auto_map": AUTO, "attn_implementation": OWN, "_attn_implementation": OWN}
        (folder / file).write_text(json.dumps(raw))


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What must not be there in the end. Whoever is asked whether to trust would say yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    yield tmp_path / "mark"
    assert not (tmp_path / "mark").exists(), "code of a model's folder was run"


def hostile(folder: Path, mark: Path, honest: Path = CHECKPOINT) -> Path:
    shutil.copytree(honest, folder)
    poison(folder, mark)
    return folder


def test_the_payload_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_a_hostile_folder_loads_as_the_honest_one_and_runs_nothing(mark: Path, tmp_path: Path) -> None:
    folder = hostile(tmp_path / "mine", mark)
    found, honest = (loaded_on_cpu(zoo.resolve(str(one)), "float32").model for one in (folder, CHECKPOINT))
    assert torch.equal(found.vte.weight, honest.vte.weight)
    lines = list(quick.findings(zoo.resolve(str(folder)), Settings(device="cpu"), lambda words, share: None))
    assert len(lines) > 10


def test_a_hostile_page_reader_runs_nothing(mark: Path, tmp_path: Path, reader: Path) -> None:  # noqa: F811
    folder = hostile(tmp_path / "OvisOCR2", mark, reader)
    model = page_reader.load(folder, "mine", on_cpu(zoo.resolve(str(folder)), "float32")).model
    assert model.config.text_config._attn_implementation == "sdpa"


def test_a_folder_of_pickles_alone_is_refused_unread(mark: Path, tmp_path: Path) -> None:
    folder = hostile(tmp_path / "mine", mark)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BackendError, match=r"no .safetensors weights; other formats could run code"):
        loaded_on_cpu(zoo.resolve(str(folder)), "float32")


def test_a_hostile_adapter_loads_as_the_honest_one_and_runs_nothing(mark: Path, tmp_path: Path) -> None:
    honest, folder = written(tmp_path / "honest"), written(tmp_path / "mine")
    poison(folder, mark)
    found, wanted = (load(CHECKPOINT, adapter=one).get_parameter(f"{MODULE}.weight") for one in (folder, honest))
    assert torch.equal(found, wanted) and not torch.equal(found, load(CHECKPOINT).get_parameter(f"{MODULE}.weight"))


def test_pickled_adapters_are_refused_unread(mark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = written(tmp_path / "mine")
    (adapter / "adapter_model.safetensors").unlink()
    poison(adapter, mark)
    words = ["ask", "Hi", "--model", str(CHECKPOINT), "--adapter", str(adapter), "--device", "cpu"]
    assert main(words) == 1 and "is pickled, which could run code" in capsys.readouterr().err


def calls(folder: str) -> Iterator[tuple[Path, str, dict[str, ast.expr]]]:
    """Every call in the source by its name, with its named arguments."""
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield file, ast.unparse(node.func), {word.arg: word.value for word in node.keywords if word.arg}


def test_nothing_in_the_source_reads_what_could_run() -> None:
    """Of pickles one is read, which this app made for a process of its own."""
    seen = set()
    for folder in ("ovis_app", "benchmarks", "tools"):
        for file, name, given in calls(folder):
            last = name.rpartition(".")[2]
            said = {word: ast.unparse(value) for word, value in given.items()}
            if last == "from_pretrained":
                assert (
                    said.get("trust_remote_code") == "False"
                    or said.get("use_safetensors") == "True"
                    or (name == "Ovis.from_pretrained")
                ), file
            assert name != "torch.load" or said.get("weights_only") == "True", file
            assert last != "load" or "allow_pickle" not in said, file
            assert name not in {"eval", "exec", "yaml.load", "marshal.loads", "joblib.load", "shelve.open"}, file
            if name in {"pickle.load", "pickle.loads", "pickle.Unpickler"}:
                seen.add(file.relative_to(ROOT).as_posix())
    assert seen == {"ovis_app/backends/local/gpu_answer.py"}
