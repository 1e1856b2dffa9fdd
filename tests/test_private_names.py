"""Other packages' private names are a short list that only shrinks: each may change in any release.

The versions that were tried are pyproject.toml's bounds. A name that is used and not listed fails, and so does one that
is listed and not used any more.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.private_names import Uses, private_names

PACKAGE = Path(__file__).resolve().parent.parent / "ovis_app"
ATTENTION = "the attention of a model that is loaded, where transformers' setter would check what it doesn't know"
HOOK = "a hook that transformers means for authors of models, underscored though it is"

LISTED = {
    "checkpoints/download_process.py": {
        "huggingface_hub.file_download.repo_folder_name": "the folder where a download leaves what is half written"
    },
    "checkpoints/load.py": {
        "transformers.initialization.no_init_weights": "weights are read straight into place, not first made up"
    },
    "media/image_decoder.py": {
        "Image.MAX_IMAGE_PIXELS =": "Pillow's documented way to set its limit; the job has its own"
    },
    "media/picture_opening.py": {
        "Image.MAX_IMAGE_PIXELS =": "the same: a phone's pictures of 200 million pixels are read smaller"
    },
    "models/devices.py": dict.fromkeys(
        ("_is_amx_tile_supported", "_is_avx512_bf16_supported"),
        "torch has no public question for it, and bfloat16 is slow without; absent, it counts as no",
    ),
    "models/ovis.py": dict.fromkeys(
        (
            "_init_weights",
            "_is_hf_initialized",
            "_keys_to_ignore_on_load_unexpected",
            "_no_split_modules",
            "_supports_flash_attn",
            "_supports_sdpa",
            "_tied_weights_keys",
        ),
        HOOK,
    ),
    "training/mini/packing.py": {"_attn_implementation": ATTENTION},
    "ui/http_addresses.py": dict.fromkeys(
        (
            "gradio.processing_utils",
            "processing_utils.async_ssrf_protected_download =",
            "processing_utils.async_ssrf_protected_get =",
        ),
        "Gradio fetches addresses that clients give as files, and has no switch for it",
    ),
    "ui/page.py": {"gradio.utils.get_upload_folder": "files are kept below the folder from which alone it takes them"},
    "ui/unread.py": dict.fromkeys(
        ("queueing.AsyncQueue =", "queueing.Queue ="),
        "Gradio keeps without end what nobody fetches, and forgets who listens; it has no switch for either",
    ),
}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_private_names_are_listed_with_their_reason(file: Path) -> None:
    used, listed = private_names(file, PACKAGE), set(LISTED.get(str(file.relative_to(PACKAGE)), {}))
    assert used - listed == set(), "another package's private names: find a public way"
    assert listed - used == set(), "not used any more: take them off the list"


def test_the_list_names_files_that_are_there() -> None:
    assert [name for name in LISTED if not (PACKAGE / name).exists()] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from torch._dynamo import mark", {"torch._dynamo.mark"}),
        ("import gradio.utils", {"gradio.utils"}),
        ("import torch\ntorch._C", {"_C"}),
        ("def f(a):\n    return a.b._c", {"_c"}),
        ("def f(a):\n    return getattr(a, '_b', None)", {"_b"}),
        ("import gradio\ngradio.Slider = 3", {"gradio.Slider ="}),
        ("def g(): ...\ndef f(a):\n    a.b = g", {"a.b ="}),
        ("def f(a):\n    a.b = lambda: 1", {"a.b ="}),
        ("import os\nos._exit(1)", set()),
        (
            "class A:\n    def __init__(self):\n        self._a = 1\n    def f(self, other):\n        return other._a",
            set(),
        ),
        ("def f(a):\n    a.b = 1", set()),
    ],
)
def test_what_counts_as_private(source: str, found: set[str]) -> None:
    assert Uses(ast.parse(source)).found == found
