"""One run: from a loaded preset to a finished folder.

* ``execution``: ``execute(preset)``, the stages of a run in order.
* ``request``, ``process``: what is asked for, and the process that does it, before there is a folder.
* ``preparation``, ``trainer_setup``, ``training``, ``finishing``: the stages.
* ``records``, ``facts``, ``events``: what a run writes about itself: machine, versions, commands, events.
* ``folder``, ``folder_lock``, ``output_paths``, ``obstructions``: where a run writes, and what is in its way.
* ``device``, ``strategy``, ``arguments``, ``callbacks``: from the keys of a preset to a trainer.
* ``sameness``: what must be equal on all processes.
* ``resuming``, ``finding``: the checkpoint to resume from, and the runs that a user names.
* ``console``, ``closing``: what a run prints.
* ``model_folder``, ``card``: the finished model and its card.
* ``pushing``, ``checkpoint_pushes``: the way to the hub, of the finished model and of checkpoints.
* ``context``: the run as hooks see it.
* ``dead_workers``, ``memory_explained``: clear errors for killed workers and for too little memory.
"""
