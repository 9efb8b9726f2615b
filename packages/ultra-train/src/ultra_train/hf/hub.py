"""Asking the hub for models and data sets before a run begins, once and with a short patience.

The libraries that download them try again for minutes when the hub cannot be reached.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ultra_core.errors import UltraError, listed

PATIENCE = 10.0
"""Seconds to wait for an answer."""


class HubName(NamedTuple):
    """A model, tokenizer or data set of the hub.

    Attributes:
        key: the key of the preset that names it; empty if the command line does.
        name: its id, ``owner/name``.
        kind: kind of its repository.
    """

    key: str
    name: str
    kind: Literal["model", "dataset"]


def require_hub(wanted: Sequence[HubName]) -> str | None:
    """Ask the hub for everything that has to be downloaded.

    When the hub cannot be reached but the cache of this machine has all of it, this process does not ask the
    hub again.

    Args:
        wanted: the names that a preset gives.

    Returns:
        a notice that copies of this machine are used, or None.

    Raises:
        UltraError: the hub cannot be reached, does not have it, or refuses it; the message says how to give
            local copies instead.
    """
    from huggingface_hub import constants

    missing = [item for item in wanted if not _is_cached(item)]
    if constants.HF_HUB_OFFLINE:
        reason: str | None = "HF_HUB_OFFLINE is set"
    else:
        reason = _ask(wanted, missing)
    if reason is None:
        return None
    if missing:
        names = listed(list(dict.fromkeys(item.name for item in missing)))
        raise UltraError(
            f"the Hugging Face hub cannot be reached ({reason}), and this machine has no copy of {names}; "
            f"{_instead(missing)}"
        )
    _stay_offline()
    return f"the Hugging Face hub cannot be reached ({reason}); the copies in its cache are used"


def _ask(wanted: Sequence[HubName], missing: Sequence[HubName]) -> str | None:
    """Return why the hub cannot be reached, or None; what it refuses is an error unless it is cached."""
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError

    for item in {(item.name, item.kind): item for item in wanted}.values():
        what = f"{item.key}: {item.name}" if item.key else item.name
        instead = _instead([i for i in wanted if i.name == item.name])
        try:
            _request(item)
        except EntryNotFoundError:
            continue  # the repository is there, without this file
        except GatedRepoError as error:
            if item in missing:
                raise UltraError(
                    f"{what} is gated: accept its terms on its page of the hub and log in (hf auth login, or "
                    f"HF_TOKEN); {instead}"
                ) from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status not in (401, 403, 404):
                return f"it answers with status {status}"
            if item in missing:
                raise UltraError(f"{what}: {_refusal(item, status)}; {instead}") from error
        except Exception as error:  # those of the HTTP library that the client uses
            return f"{type(error).__name__}: {error}"
    return None


def _request(item: HubName) -> None:
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url

    if item.kind == "model":
        get_hf_file_metadata(hf_hub_url(item.name, "config.json"), timeout=PATIENCE)
    else:
        HfApi().repo_info(item.name, repo_type=item.kind, timeout=PATIENCE)


def _refusal(item: HubName, status: int) -> str:
    from huggingface_hub import get_token

    kind = "data set" if item.kind == "dataset" else item.kind
    if get_token() is None:
        return (
            f"the hub has no public {kind} of this name (status {status}); if it is private, log in "
            "(hf auth login, or HF_TOKEN)"
        )
    return (
        f"the hub refuses it to the token of this machine (status {status}): it does not exist, or the "
        "token is not valid or may not read it (hf auth login, or HF_TOKEN)"
    )


def _instead(missing: Sequence[HubName]) -> str:
    keys = dict.fromkeys(item.key for item in missing if item.key)
    if not keys:
        return "give the path of a local copy"
    return "give local copies: " + " ".join(f"--set {key}=PATH" for key in keys)


def _is_cached(item: HubName) -> bool:
    from huggingface_hub import constants, try_to_load_from_cache

    if item.kind == "model":
        names = ("config.json", "tokenizer.json", "tokenizer_config.json")
        return any(isinstance(try_to_load_from_cache(item.name, name), str) for name in names)
    import datasets.config

    prepared = Path(datasets.config.HF_DATASETS_CACHE) / item.name.replace("/", "___")
    downloaded = Path(constants.HF_HUB_CACHE) / f"datasets--{item.name.replace('/', '--')}"
    return prepared.is_dir() or downloaded.is_dir()


def _stay_offline() -> None:
    """Keep the libraries in this process from asking the hub again."""
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True
    if (config := sys.modules.get("datasets.config")) is not None:
        config.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
