"""The cache of trained tokenizers: runs on the same texts share one, and each has a copy."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ultra_train.system import files
from ultra_train.system.checksums import checksum, checksums
from ultra_train.system.owned_files import OwnedFiles
from ultra_train.system.run_files import CHECKPOINTS, TOKENIZER
from ultra_train.trainer.checkpoints.folders import MANIFEST, list_checkpoints, read_manifest

VOCABULARY = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
Say = Callable[[str], None]


def provide(
    run: Path, *, cache: Path, about: Mapping[str, Any], train: Callable[[Path], object], say: Say
) -> Path:
    """Return the folder of the run's tokenizer, which is restored, copied from the cache or trained.

    A run that has trained keeps the tokenizer that its checkpoints hold. A new one takes what the cache holds
    for the same texts and settings, or trains it into the cache, so that no training is ever lost.

    Args:
        run: folder of the run.
        cache: folder of caches (``training.cache_dir``).
        about: everything that the tokenizer depends on.
        train: trains it into a folder.
        say: prints what is trained, reused or set aside.
    """
    folder, made = run / TOKENIZER, OwnedFiles(run)
    if (source := _checkpoint_with_one(run)) is not None:
        if not _is_that_of(source, folder, made):
            recorded, aside = made.get("tokenizer").get("files"), _clear(folder, say)
            _copy(source, folder, [n for n in read_manifest(source)["files"] if _is_tokenizer_file(n)])
            if aside is not None and isinstance(recorded, dict):
                _copy_whole(aside, folder, recorded)
            made.put("tokenizer", {"files": checksums(folder)})
            say(f"the tokenizer of the run was damaged or missing; it is taken from {source}")
        return folder
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]
    recorded = made.get("tokenizer")
    if recorded.get("key") == key and folder.is_dir() and checksums(folder) == recorded.get("files"):
        return folder
    _clear(folder, say)
    cached = cache / f"tokenizer-{key}"
    if not _is_whole(cached):
        cached = _train(cached, run, train, say)
    else:
        say(f"tokenizer: {cached} was trained on the same texts")
    names = [name for name in checksums(cached) if name != MANIFEST]
    made.put("tokenizer", {"key": key, "files": {name: checksum(cached / name) for name in names}})
    _copy(cached, folder, names)
    return folder


def _train(cached: Path, run: Path, train: Callable[[Path], object], say: Say) -> Path:
    """Train into the cache; into the run alone where the cache cannot be written."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(cached.parent, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        train(run / TOKENIZER)
        return run / TOKENIZER
    temporary = cached.with_name(f".{cached.name}-{secrets.token_hex(4)}")
    try:
        train(temporary)
        listed = {
            n: {"bytes": (temporary / n).stat().st_size, "sha256": d} for n, d in checksums(temporary).items()
        }
        files.write_text(temporary / MANIFEST, json.dumps({"files": listed}, indent=1))
        _put_in_place(temporary, cached, say)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return cached


def _put_in_place(trained: Path, cached: Path, say: Say) -> None:
    """Give a tokenizer its name in the cache, unless another process was faster and its tokenizer is whole.

    What has the name and is damaged is renamed.
    """

    def make_way() -> None:
        with suppress(FileNotFoundError):  # another process renamed it
            say(f"{cached} was damaged; it is now {files.set_aside(cached).name}")

    if not files.put_in_place(trained, cached, lambda: _is_whole(cached), make_way):
        say(f"tokenizer: another run has put the same one into {cached} meanwhile; that one is used")


def _is_whole(folder: Path) -> bool:
    try:
        listed = read_manifest(folder)["files"]
        return VOCABULARY in listed and all(checksum(folder / n) == f["sha256"] for n, f in listed.items())
    except (OSError, ValueError):
        return False


def _checkpoint_with_one(run: Path) -> Path | None:
    """Return the newest checkpoint whose tokenizer is as it was written."""
    for checkpoint in list_checkpoints(run / CHECKPOINTS):
        try:
            listed = {
                n: f for n, f in read_manifest(checkpoint.path)["files"].items() if _is_tokenizer_file(n)
            }
            if VOCABULARY in listed and all(
                checksum(checkpoint.path / n) == f["sha256"] for n, f in listed.items()
            ):
                return checkpoint.path
        except (OSError, ValueError):
            continue
    return None


def _is_tokenizer_file(name: str) -> bool:
    return name.startswith("tokenizer") or name in ("special_tokens_map.json", "added_tokens.json")


def _is_that_of(source: Path, folder: Path, made: OwnedFiles) -> bool:
    """Whether the run's tokenizer is as recorded, or, without a record, equal to that of a checkpoint."""
    if recorded := made.get("tokenizer").get("files"):
        return folder.is_dir() and checksums(folder) == recorded
    loose = {"truncation", "padding"}  # lengths that it cuts and pads to
    try:
        here, there = (
            [files.read_json(f / name) for name in (VOCABULARY, SETTINGS)] for f in (folder, source)
        )
    except (OSError, ValueError):
        return False
    if not all(isinstance(content, dict) for content in (*here, *there)):
        return False
    special = {name for name in there[1] if name.endswith("_token")}
    return all(here[0].get(k) == there[0].get(k) for k in {*here[0], *there[0]} - loose) and all(
        here[1].get(k) == there[1][k] for k in special
    )


def _clear(folder: Path, say: Say) -> Path | None:
    """Make room for a tokenizer; return the new place of one that is of other texts, or damaged."""
    if not os.path.lexists(folder):
        return None
    aside = files.set_aside(folder, f"unused-{folder.name}")
    say(f"notice: {folder} is not the tokenizer of this run; it is now {aside.name}")
    return aside


def _copy_whole(source: Path, target: Path, recorded: Mapping[str, Any]) -> None:
    """Copy what checkpoints do not hold (``sentencepiece.model``) and is as it was written."""
    for name in checksums(source):
        if not (target / name).exists() and checksum(source / name) == recorded.get(name):
            shutil.copyfile(source / name, target / name)


def _copy(source: Path, target: Path, names: list[str]) -> None:
    if source == target:
        return
    with files.new_whole_folder(target) as folder:
        for name in names:
            shutil.copyfile(source / name, folder / name)
