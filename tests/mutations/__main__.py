"""Makes random source lines wrong, one at a time, and tells whether the tests notice.

``python tests/mutations --count 60 --seed 10`` draws 60 lines of the four packages. ``--mutants FILE`` takes
those of a file instead (written there if it does not exist yet), also in a tree in which they have moved:
``--tree`` says which. A clone of the tree's last commit is changed, never the tree itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import queue
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import mutants
from judging import judge
from mutants import Mutant
from tracing import add_probes, trace

ROOT = Path(__file__).parents[2]


def main() -> int:
    options = parse()
    options.results.mkdir(parents=True, exist_ok=True)
    chosen, lost = choose(options)
    for mutant in lost:
        print(f"{mutant.name} not found in {options.tree}: {mutant.file}: {mutant.before}")
    traced = options.results / "trace.json"
    if not traced.exists():
        with tempfile.TemporaryDirectory() as folder:
            tree = clone(options.tree, Path(folder))
            add_probes(tree, chosen)
            parallel = ["-n", str(options.jobs), "--dist", "worksteal"] if options.jobs > 1 else []
            found = trace(tree, chosen, parallel, options.results / "trace")
        traced.write_text(json.dumps(found), "utf-8")
    known = json.loads(traced.read_text("utf-8"))
    judge_all(options, chosen, known)
    return report(options.results, chosen, lost)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/mutations", description=__doc__)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the workspace whose last commit is mutated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--mutants", type=Path, help="a file of mutants; --places corrects where they are")
    parser.add_argument(
        "--places", type=Path, help="JSON, name of a mutant -> fields that are others in this tree"
    )
    parser.add_argument(
        "--results", type=Path, required=True, help="a folder; what is in it is not done again"
    )
    parser.add_argument(
        "--seconds", type=float, default=100, help="of tests for each mutant, by their usual times"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that run tests")
    options = parser.parse_args()
    options.tree = options.tree.resolve()
    options.results = options.results.resolve()
    return options


def choose(options: argparse.Namespace) -> tuple[list[Mutant], list[Mutant]]:
    """Return the mutants where this tree has them, and those that it has not."""
    if options.mutants is None or not options.mutants.exists():
        drawn = mutants.draw(options.tree, options.seed, options.count)
        mutants.write(options.mutants or options.results / "mutants.json", drawn)
        return drawn, []
    places = json.loads(options.places.read_text("utf-8")) if options.places else {}
    chosen, lost = [], []
    for mutant in mutants.read(options.mutants):
        there = mutants.locate(dataclasses.replace(mutant, **places.get(mutant.name, {})), options.tree)
        (chosen if there else lost).append(there or mutant)
    return chosen, lost


def clone(tree: Path, folder: Path) -> Path:
    """Clone the last commit of a tree into an empty folder."""
    subprocess.run(["git", "clone", "-q", str(tree), str(folder)], check=True)
    return folder


def judge_all(options: argparse.Namespace, chosen: Sequence[Mutant], known: dict) -> None:
    """Judge every mutant that has no verdict yet, in as many clones at a time as there are jobs."""
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in chosen:
        if not (options.results / f"{mutant.name}.json").exists():
            waiting.put(mutant)

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            tree = clone(options.tree, Path(folder))
            while not waiting.empty():
                mutant = waiting.get()
                verdict = judge(tree, mutant, known, options.seconds)
                (options.results / f"{mutant.name}.json").write_text(json.dumps(verdict), "utf-8")
                print(mutant.name, verdict["verdict"], verdict["by"], mutant.file, mutant.before, flush=True)

    workers = [threading.Thread(target=work) for _ in range(options.jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def report(results: Path, chosen: Sequence[Mutant], lost: Sequence[Mutant]) -> int:
    """Write the table of all mutants; return 0 if none survived."""
    rows = ["| mutant | where | line | becomes | verdict |", "|---|---|---|---|---|"]
    survived = 0
    for mutant in chosen:
        verdict = json.loads((results / f"{mutant.name}.json").read_text("utf-8"))
        survived += verdict["verdict"] == "survived"
        where = f"{mutant.file.partition('/src/')[2]}:{mutant.line}"
        words = [
            mutant.name,
            where,
            f"`{mutant.before}`",
            f"`{mutant.after}`",
            f"{verdict['verdict']}: {verdict['by']}",
        ]
        rows.append("| " + " | ".join(word.replace("|", "\\|") for word in words) + " |")
    (results / "table.md").write_text("\n".join(rows) + "\n", "utf-8")
    print(
        f"{len(chosen)} mutants, {len(chosen) - survived} caught, {survived} survived, {len(lost)} not found"
    )
    return int(survived > 0)


if __name__ == "__main__":
    raise SystemExit(main())
