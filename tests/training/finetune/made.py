"""Files of samples, and pictures for them, as people who fine-tune have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from ovis_app.limits import Limits
from ovis_app.training.finetune.entries import sources
from ovis_app.training.finetune.samples import Found, Sample, read


def picture(path: Path, size: tuple[int, int] = (48, 32), color: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def human(text: str) -> dict[str, str]:
    return {"from": "human", "value": text}


def gpt(text: str) -> dict[str, str]:
    return {"from": "gpt", "value": text}


def entry(asked: str = "Hi", answer: str = "Hello.", **others: Any) -> dict[str, Any]:
    """A sample of one question, in the original's format."""
    return {"conversations": [human(asked), gpt(answer)], **others}


def written(path: Path, content: object) -> Path:
    """The content as JSON or, where the name says so, as JSON lines."""
    lines = path.suffix == ".jsonl" and isinstance(content, list)
    text = "\n".join(map(json.dumps, content)) if lines else json.dumps(content)  # type: ignore[call-overload]
    path.write_text(text, encoding="utf-8")
    return path


def found(path: Path, **how: Any) -> Found:
    return read(sources(path, **how), Limits())


def samples(path: Path, **how: Any) -> tuple[Sample, ...]:
    return found(path, **how).usable(skip_bad=False)
