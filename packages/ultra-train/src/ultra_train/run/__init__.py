"""One run: from a loaded preset to a finished folder.

* ``execution``: ``execute(preset)``, the stages of a run in order.
* ``folder``, ``folder_lock``, ``output_paths``, ``obstructions``: where a run writes, and what is in its way.
* ``device``, ``arguments``, ``trainer_setup``, ``callbacks``: from the keys of a preset to a trainer.
* ``resuming``: the checkpoint to resume from, and the command that does it.
* ``console``, ``events``, ``closing``: what a run prints.
* ``model_folder``, ``card``: the finished model and its model card.
* ``facts``: the record of machine, versions and commands; ``finding``: the runs that a user names.
* ``pushing``: the finished model on the Hugging Face hub.
* ``context``: the run as hooks see it; ``dead_workers``: the error of a killed data loader worker.
"""
