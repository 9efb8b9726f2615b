"""A tiny collection in the layout of BEIR."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

DOCUMENTS = {
    "d0": ("Puertas", "Cómo se abre la puerta del garaje."),
    "d1": ("Luces", "Cómo se enciende la luz de la cocina."),
    "d2": ("Música", "Cómo se pone la música en el salón."),
    "d3": ("", "Las persianas del dormitorio suben y bajan con un botón."),
    "d4": ("Persianas", "Cómo se bajan las persianas del salón."),
    "d5": ("Temperatura", "La calefacción del baño se pone a veinte grados."),
}
QUERIES = {
    "q0": "abrir la puerta",
    "q1": "encender luces",
    "q2": "poner música",
    "q3": "bajar una persiana",
    "q4": "calefacción",
    "q5": "persianas del salón",
}
JUDGEMENTS = {
    "train": {"q0": {"d0": 1}, "q5": {"d4": 1}},
    "dev": {"q1": {"d1": 1}, "q4": {"d5": 1}},
    "test": {"q2": {"d2": 1}, "q3": {"d4": 2, "d3": 1}},
}


def write_collection(
    folder: Path,
    *,
    documents: Mapping[str, tuple[str, str]] = DOCUMENTS,
    queries: Mapping[str, str] = QUERIES,
    judgements: Mapping[str, Mapping[str, Mapping[str, int]]] = JUDGEMENTS,
) -> Path:
    """Write a collection into a new folder, and return the folder."""
    (folder / "qrels").mkdir(parents=True)
    _write(folder / "corpus.jsonl", ({"_id": i, "title": t, "text": x} for i, (t, x) in documents.items()))
    _write(folder / "queries.jsonl", ({"_id": i, "text": text} for i, text in queries.items()))
    for split, found in judgements.items():
        lines = [f"{q}\t{d}\t{grade}\n" for q, answers in found.items() for d, grade in answers.items()]
        (folder / "qrels" / f"{split}.tsv").write_text("".join(["query-id\tcorpus-id\tscore\n", *lines]))
    return folder


def _write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
