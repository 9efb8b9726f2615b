"""``ultra-train report RUN...``: the page of one run, or of several beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ultra_train.cli.options import runs_option


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File to write [report.html in the folder of the run; needed for several runs].",
)
@runs_option
def report(runs: Sequence[str], output: Path | None, output_dir: Path) -> None:
    """Write one self-contained HTML page about one or several runs.

    RUN is the name of a run or its folder; the run may be finished, in progress, stopped or killed. Several
    runs are drawn over each other, with the settings in which they differ. A pipeline has a page of its own;
    its steps are runs such as PIPELINE/STEP.
    """
    from ultra_core.errors import UltraError
    from ultra_train.pipeline.page import page_of_pipeline
    from ultra_train.report.run_page import page_of
    from ultra_train.report.run_record import read_run
    from ultra_train.run.finding import find_runs
    from ultra_train.run.folder_lock import is_held
    from ultra_train.system.run_files import REPORT

    folders = find_runs(runs, output_dir)
    if output is None and len(folders) > 1:
        raise UltraError("a page of several runs needs a file to be written to: -o page.html")
    output = output if output is not None else next(iter(folders.values())) / REPORT
    if output.is_dir():
        raise UltraError(f"-o: {output} is a folder; name a file, such as {output / REPORT}")
    if not output.parent.is_dir():
        raise UltraError(f"-o: there is no folder {output.parent}; create it, or name another file")
    if len(folders) == 1 and (page := page_of_pipeline(next(iter(folders.values())))) is not None:
        page.write(output)
        click.echo(f"report: {output}")
        return
    records = [read_run(path, name=name, running=is_held(path)) for name, path in folders.items()]
    for record in records:
        for note in record.notes:
            click.echo(f"notice: {record.name}: {note}", err=True)
    page_of(records).write(output)
    click.echo(f"report: {output}")
