"""``scandi_qa``: about 100,000 questions with passages that answer them, from up to five data sets.

* NorQuAD, ``ltg/norquad``: ``question`` and ``context``; splits train, validation and test.
* OpenBookQA in Norwegian, ``ltg/noropenbookqa``, configuration ``nb``: ``question_stem`` and ``fact``; splits
  train and test, of which half of the second is dev. Rows without a fact are left out.
* ScandiQA, ``alexandrainst/scandi-qa``, folders ``no``, ``da`` and ``sv`` of the Parquet branch of the hub:
  ``question`` and ``context``; splits train and test, and dev where the hub has it, else a tenth of train.
  Passages that do not hold the answer (``answers.answer_start`` is -1) are left out.
* Supervised-DA, ``jealk/supervised-da``: ``query`` and ``pos``; one split, divided 80 : 10 : 10.
* PAWS-X in Norwegian, only from files: ``nb/translated_train.json``, ``nb/translated_dev_2k.json`` and
  ``nb/translated_test_2k.json`` in ``paws_data_dir``, JSON lines with ``sentence1``, ``sentence2`` and
  ``label``, of which those with the label 1 are paraphrases.

The columns and splits are those that public training code reads; the data sets themselves were not at hand
when this was written. Not verified: whether ``fact`` is filled in the test split of OpenBookQA, the name of
the dev split of ScandiQA, and whether ``pos`` is a text or a list (both are read).
"""

from __future__ import annotations

import attrs

from ultra_train.data.errors import DataError
from ultra_train.data.pairs.builders.options import BuilderOptions, language_codes
from ultra_train.data.pairs.builders.part import Part
from ultra_train.data.pairs.splitting import shares_of
from ultra_train.data.sources.rows import Row
from ultra_train.system.files import expand_user

_LANGUAGES = ("no", "da", "sv")


def parts(options: BuilderOptions) -> list[Part]:
    """Return what ``scandi_qa`` consists of.

    Raises:
        DataError: nothing of it is asked for, or a language is unknown.
    """
    languages = language_codes("scandi_qa", options.languages, _LANGUAGES)
    scandiqa = language_codes("scandi_qa", options.scandiqa_languages, _LANGUAGES)
    found: list[Part] = []
    if options.use_norquad and "no" in languages:
        found.append(_pairs("ltg/norquad", "norquad", "question", "context"))
    if options.use_openbookqa and "no" in languages:
        part = _pairs("ltg/noropenbookqa", "noropenbookqa", "question_stem", "fact")
        found.append(attrs.evolve(part, config="nb", divide={"test": (0.0, 0.5, 0.5)}))
    if options.use_scandiqa:
        found += [_scandiqa(code, options) for code in scandiqa if code in languages]
    if options.use_supervised_da and "da" in languages:
        part = _pairs("jealk/supervised-da", "supervised-da", "query", "pos")
        found.append(attrs.evolve(part, divide={"train": shares_of(options.split_ratio or (0.8, 0.1, 0.1))}))
    if "no" in languages and (paws := _paws(options)) is not None:
        found.append(paws)
    if not found:
        raise DataError("scandi_qa: nothing of it is used; set one of the keys use_... to true.")
    return found


def without_paws(options: BuilderOptions) -> bool:
    """Return whether PAWS-X is asked for, but there are no files of it."""
    return options.use_paws and _paws(options) is None


def _pairs(hub: str, folder: str, query: str, passage: str) -> Part:
    return Part(hub=hub, folder=folder, columns={"anchor": query, "positive": passage})


def _scandiqa(code: str, options: BuilderOptions) -> Part:
    return Part(
        hub="alexandrainst/scandi-qa",
        folder=f"scandi-qa/{code}",
        columns={"anchor": "question", "positive": "context"},
        data_dir=code,
        revision="refs/convert/parquet",
        keeps=_holds_answer,
        divide={"train": shares_of(options.split_ratio or 0.9)},
    )


def _paws(options: BuilderOptions) -> Part | None:
    """Return the part PAWS-X, or None when it is not asked for or there are no files of it."""
    source = expand_user(options.source) / "paws-x" if options.source else None
    folder = expand_user(options.paws_data_dir) if options.paws_data_dir else source
    if not options.use_paws or folder is None or (options.paws_data_dir is None and not folder.is_dir()):
        return None
    inner = folder / "nb"
    return Part(
        hub="PAWS-X in Norwegian",
        folder="paws-x",
        columns={"anchor": "sentence1", "positive": "sentence2"},
        path=str(inner if inner.is_dir() else folder),
        keeps=_is_paraphrase,
    )


def _holds_answer(row: Row) -> bool:
    answers = row.get("answers")
    starts = answers.get("answer_start") if isinstance(answers, dict) else None
    return not starts or starts[0] != -1


def _is_paraphrase(row: Row) -> bool:
    return str(row.get("label")) == "1"
