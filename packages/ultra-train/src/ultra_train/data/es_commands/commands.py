"""The embedded data sets: commands to a smart home, in Spanish and four other languages.

The sentences are expanded at run time from the templates of the package ``home-assistant-intents``
(Apache-2.0), which the extra ``ultra-train[es-commands]`` installs; ultra contains none of them. They depend
only on the versions of that package and on the language files.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from ultra_train.data.cache import Notify, set_aside
from ultra_train.data.errors import DataError
from ultra_train.data.es_commands.expand import Expander, Span
from ultra_train.data.es_commands.frame import Frame, frame_of
from ultra_train.data.es_commands.grammar import Grammar

LANGUAGES = ("es", "nb", "da", "sv", "en")

_log = logging.getLogger(__name__)
_FORMAT = 5
_PACKAGES = ("home-assistant-intents", "hassil")
_SENTENCES_A_TEMPLATE = 120
_SENTENCES_AN_INTENT = 2500
_SENTENCES_A_TIMER_INTENT = 700  # a third of all templates is about timers
_MAX_VAIN_DRAWS = 80  # in a row without a new sentence, after which a template counts as exhausted


class Sentence(NamedTuple):
    """A sentence.

    Attributes:
        text: the sentence.
        template: the template that it was expanded from.
        frame: what it asks for: the intent, and the values of its slots. Paraphrases have the same one.
        spans: (slot, first character, end) of the values of slots in the text.
    """

    text: str
    template: str
    frame: Frame = Frame()
    spans: tuple[Span, ...] = ()


def sentences(
    language: str, *, cache_dir: str | Path | None = None, notify: Notify = _log.warning
) -> list[Sentence]:
    """Return the distinct commands of a language, always in the same order.

    Args:
        language: one of ``LANGUAGES``.
        cache_dir: folder that caches them; None builds them in memory.
        notify: is called with a line when the cached file is damaged.

    Raises:
        DataError: the package with the templates is not installed.
    """
    key = hashlib.sha256(json.dumps(versions(language)).encode()).hexdigest()[:16]
    if cache_dir is None:
        return list(_built(language))
    path = Path(os.path.expanduser(cache_dir)) / f"{language}-commands-{key}.json.gz"
    damaged = False
    try:
        return _read_cached(path)
    except FileNotFoundError:
        pass
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        notify(f"notice: {path} is damaged ({error}); it is set aside, and the sentences are built again")
        damaged = True
    built = list(_built(language))
    with suppress(OSError):  # the cache only saves time: the disk may be full or read-only
        if damaged:
            set_aside(path)
        _write_cached(built, path)
    return built


def _read_cached(path: Path) -> list[Sentence]:
    """Read the cached sentences; the checksum of gzip detects every change."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = json.load(stream)
    if not isinstance(rows, list) or not rows:
        raise ValueError("it holds no sentences")
    try:
        return [_sentence(*row) for row in rows]
    except TypeError as error:
        raise ValueError("it does not hold sentences") from error


def _sentence(
    text: str,
    template: str,
    frame: tuple[str, str, list[tuple[str, str]]],
    spans: list[tuple[str, int, int]],
) -> Sentence:
    intent, domain, slots = frame
    if not all(isinstance(part, str) for part in (text, template, intent, domain)):
        raise ValueError("it does not hold texts")
    found = Frame(intent, domain, tuple((name, value) for name, value in slots))
    return Sentence(text, template, found, tuple((name, start, end) for name, start, end in spans))


def _write_cached(built: list[Sentence], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with gzip.open(partial, "xt", encoding="utf-8") as stream:
            json.dump(built, stream, ensure_ascii=False)
        partial.replace(path)  # another process may have written the same file meanwhile
    finally:
        partial.unlink(missing_ok=True)


def versions(language: str) -> dict[str, object]:
    """Return the versions that the sentences of a language depend on.

    Raises:
        DataError: the package with the templates is not installed.
    """
    try:
        packages = {name: metadata.version(name) for name in _PACKAGES}
    except metadata.PackageNotFoundError as error:
        raise DataError(
            f"ultra:{language}-commands is built from the package {error.name}, which is not installed. "
            "Install it with: pip install 'ultra-train[es-commands]'"
        ) from error
    return {"format": _FORMAT, "file": hashlib.sha256(_language_file(language)).hexdigest(), **packages}


def _language_file(language: str) -> bytes:
    return resources.files("ultra_train.data.es_commands").joinpath(f"languages/{language}.yaml").read_bytes()


@lru_cache(maxsize=len(LANGUAGES))
def _language(language: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(_language_file(language))


def _built(language: str) -> Iterator[Sentence]:
    import home_assistant_intents

    files = resources.files(home_assistant_intents)
    package = json.loads(files.joinpath(f"data/{language}.json").read_text(encoding="utf-8"))
    intents = json.loads(files.joinpath("intents.json").read_text(encoding="utf-8"))
    own = _language(language)
    slots: Mapping[str, Mapping[str, list[object]]] = own["slots"]
    values = {name: [str(value) for group in by.values() for value in group] for name, by in slots.items()}
    devices = {
        name.removeprefix("name "): names for name, names in values.items() if name.startswith("name ")
    }
    grammar = Grammar(own.get("grammar", {}), _heads(slots), values["area"] + values["floor"])
    listed = {
        name: [value["in"] for value in entry.get("values", [])] for name, entry in package["lists"].items()
    }
    expander = Expander({**package["expansion_rules"], **own.get("rules", {})}, {**listed, **values})
    skipped = tuple(own.get("skip", []))
    seen: set[str] = set()
    for intent, entry in package["intents"].items():
        most = _SENTENCES_A_TIMER_INTENT if "Timer" in intent else _SENTENCES_AN_INTENT
        blocks = [
            (template, block)
            for block in entry["data"]
            for template in block["sentences"]
            if not any(part in template for part in skipped)
        ]
        if not blocks:
            continue
        quota = max(3, min(_SENTENCES_A_TEMPLATE, most // len(blocks)))
        domain = intents.get(intent, {}).get("domain", "")
        for template, block in blocks:
            names = _names(block, devices)
            # Every template has a generator of its own, so that a changed template does not change the
            # sentences of the others.
            random = Random(f"{language}/{intent}/{template}/{sorted(names)}")
            tried: set[str] = set()
            found = vain = 0
            while found < quota and vain < _MAX_VAIN_DRAWS:
                drawn = expander.draw(template, random, {"name": names})
                vain += 1
                text = drawn.text if drawn is not None else ""
                if drawn is None or " " not in text or text in tried or text in seen:
                    continue
                tried.add(text)
                if grammar.accepts(text):
                    seen.add(text)
                    found, vain = found + 1, 0
                    frame = frame_of(intent, block, drawn.slots, domain, devices)
                    yield Sentence(text, template, frame, drawn.spans)


def _names(block: Mapping[str, Any], devices: Mapping[str, list[str]]) -> list[str]:
    """Return the devices, rooms or people that ``{name}`` may stand for in a block of templates."""
    domains = block.get("requires_context", {}).get("domain", [])
    wanted = [domains] if isinstance(domains, str) else domains
    return [name for domain in wanted for name in devices.get(domain, [])]


def _heads(slots: Mapping[str, Mapping[str, list[object]]]) -> dict[str, list[str]]:
    heads: dict[str, list[str]] = {}
    for by in slots.values():
        for kind, group in by.items():
            heads.setdefault(kind, []).extend(str(value) for value in group)
    return heads
