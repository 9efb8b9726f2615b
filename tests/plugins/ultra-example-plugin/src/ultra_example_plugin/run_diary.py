"""The hook: a line in ``diary.txt`` of the run's folder when the run is over."""

from ultra_core.plugins.hooks import hookimpl


@hookimpl
def ultra_run_finished(run):
    """Write down that the run is over."""
    (run.path / "diary.txt").write_text(f"run {run.path.name} is over\n", encoding="utf-8")
