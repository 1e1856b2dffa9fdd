"""A model's name to a folder on this disk: a folder stays where it is, a repository is fetched from the hub.

Fetches safetensors, json and tokenizer files only: code in a repository is never downloaded, let alone run.
"""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from ovis_app.generation import BackendError
from ovis_app.zoo import ModelSpec

FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")


def folder_of(spec: ModelSpec) -> Path:
    """The checkpoint's folder, fetched if need be. Raises BackendError with what to do."""
    if spec.folder is not None:
        return spec.folder
    if spec.bundled or Path(spec.id).is_dir() or spec.id.count("/") != 1:
        raise BackendError(f"There is no model called {spec.name}: name a folder with a config.json, or a repository.")
    try:
        return Path(snapshot_download(spec.id, allow_patterns=list(FILES)))
    except GatedRepoError as error:
        raise BackendError(
            f"{spec.id} asks you to accept its terms: do so on its page, then set HF_TOKEN and try again."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise BackendError(f"There is no model called {spec.id}: check the spelling.") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise BackendError(
            f"{spec.id} couldn't be downloaded: check the network and the free disk space, then try again."
        ) from error
