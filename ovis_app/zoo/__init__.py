"""The models: what is known of each, which there are, and how a name finds its own."""

from ovis_app.zoo.resolve import adapted, find, generation, of_folder, resolve
from ovis_app.zoo.rows import FAMILY_ROWS, MINI, MODELS, PAGE_READER
from ovis_app.zoo.spec import MINI_FOLDER, Example, LanguageModel, ModelSpec, Resolution, Task, adapter_name, is_adapter
from ovis_app.zoo.table import table

__all__ = [
    "FAMILY_ROWS",
    "MINI",
    "MINI_FOLDER",
    "MODELS",
    "PAGE_READER",
    "Example",
    "LanguageModel",
    "ModelSpec",
    "Resolution",
    "Task",
    "adapted",
    "adapter_name",
    "find",
    "generation",
    "is_adapter",
    "of_folder",
    "resolve",
    "table",
]
