"""What comes out of a training: an adapter's folder, and the model in the layout that it was released in.

Knows what learnt and where it goes. Refuses to know how it was learnt.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from ovis_app.checkpoints.adapter import WEIGHTS
from ovis_app.checkpoints.adapter_config import CONFIG
from ovis_app.checkpoints.merge import Merge
from ovis_app.private_folder import made_whole
from ovis_app.training.finetune import learner
from ovis_app.training.finetune.plan import Plan
from ovis_app.training.finetune.run_folder import ADAPTER, LEARNT, MERGED, RunFolder

ABOUT = """# An adapter of {model}

Made by `ovis finetune`, in the format of peft. Try it:

    ovis "..." --model {model} --adapter DIR

`ovis merge --model {model} --adapter DIR --out FOLDER` makes one model of both.
"""


def write_adapter(plan: Plan, model: Any, folder: RunFolder) -> Path:
    """The adapter of a model that peft wrapped."""
    with made_whole(folder.path / ADAPTER, replaces=True) as partial:
        model.save_pretrained(partial, save_embedding_layers=False)  # by itself it would ask a hub whether it must
        (partial / WEIGHTS).chmod(0o644)  # whoever trains isn't always who serves
        file = partial / CONFIG
        config = {**json.loads(file.read_text(encoding="utf-8")), "base_model_name_or_path": plan.spec.public_id}
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(ABOUT.format(model=plan.spec.public_id), encoding="utf-8")
    return folder.path / ADAPTER


def write_merged(plan: Plan, adapter: Path, folder: RunFolder) -> Path:
    """The model with an adapter in it. Raises BackendError."""
    merged = folder.path / MERGED
    Merge.of(plan.checkpoint.folder, replace(plan.spec, adapter=adapter), merged, replaces=True).write()
    return merged


def write_whole(plan: Plan, model: nn.Module, folder: RunFolder) -> Path:
    """A model that learnt itself. Raises BackendError."""
    merged, values = folder.path / MERGED, folder.path / LEARNT
    try:
        save_file({name: value.cpu().contiguous() for name, value in learner.unwrapped(model)}, values)
        Merge.of_values(plan.checkpoint.folder, values, merged, replaces=True).write()
    finally:
        values.unlink(missing_ok=True)
    return merged
