"""The tokenizer reads back what it wrote, keeps letters of words apart and reserves the released marks."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from ovis_app.training.mini.tokenizer import MARKS, learn, write
from ovis_app.training.mini.world.corpus import sentences


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write(learn(sentences("test", 200), 800), folder)
    return folder


def test_text_comes_back_as_it_was(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    for text in ("What is at the top left?", "图中左上角有一个红色圆形。", "naïve 😀\n\n  x", "<box>(0.04,0.06)</box>"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_the_marks_are_single_ids_and_only_the_released_ones_are_special(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    for mark, special in MARKS.items():
        ids = tokenizer(mark, add_special_tokens=False).input_ids
        assert len(ids) == 1 and (ids[0] in tokenizer.all_special_ids) == special


def test_capitals_and_digits_never_merge(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    assert tokenizer.tokenize("THE7K") == ["T", "H", "E", "7", "K"]
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"
