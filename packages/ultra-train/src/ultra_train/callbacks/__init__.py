"""Callbacks of the trainer: what a run measures, shows and reacts to.

* ``metrics`` writes ``metrics_file`` (JSON lines), ``csv_table`` and TensorBoard files.
* ``gradients`` measures gradient norms; ``hooks`` adds the metrics of plugins.
* ``progress`` shows the progress; ``interrupt`` stops on signals; ``gpu`` guards against overheating.
"""
