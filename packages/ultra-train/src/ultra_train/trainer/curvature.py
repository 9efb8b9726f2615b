"""The extra backward pass that optimizers with a curvature estimate ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ultra_blocks.encoder.post_step import after_step
from ultra_core.errors import UltraError
from ultra_optim.contract.traits import traits_of
from ultra_train.trainer.base import TrainerBase
from ultra_train.trainer.norms import total_norm
from ultra_train.trainer.optimizers import unwrapped


class CurvatureMixin(TrainerBase):
    """Runs the curvature pass of optimizers with the trait ``needs_curvature``.

    A part of ``UltraTrainerMixin``. A trainer that can draw labels from its model's predictions overrides
    :meth:`sampled_loss`.
    """

    def sampled_loss(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, int]:
        """Return the mean loss of a micro-batch against labels drawn from the predictions, and their number.

        Args:
            model: the model as it is trained, wrapped for several processes.
            inputs: the micro-batch.

        Raises:
            UltraError: this trainer's task has no such labels.
        """
        raise UltraError(
            f"{type(self).__name__} cannot draw labels from the predictions of its model, which this "
            "optimizer needs for its curvature; choose another training.optimizer.optimizer_class"
        )

    def check_curvature(self, optimizer: Any) -> None:
        """Refuse an optimizer whose curvature pass this trainer cannot run, before training starts.

        Raises:
            UltraError: the optimizer needs curvature, and the task cannot draw labels.
        """
        draws = type(self).sampled_loss is not CurvatureMixin.sampled_loss
        if traits_of(optimizer).needs_curvature and not draws:
            self.sampled_loss(nn.Module(), {})

    def estimate_curvature(self) -> None:
        """Run the pass on the last micro-batch of every process when the optimizer says that it is due.

        The optimizer is given the gradient of the mean loss over the labels of all processes, and the number
        of these labels. When the gradients overflow in fp16, the estimate stays as it is. Modules that count
        for their own step (loads of experts, largest logits) do not count this pass.
        """
        optimizer: Any = unwrapped(self.optimizer)
        if not getattr(optimizer, "curvature_due", False):
            return
        scaler = self.accelerator.scaler
        scale = 1.0 if scaler is None else scaler.get_scale()

        def sampled() -> float:
            inputs = self._prepare_inputs(self.gate.update.micro_batches[-1])
            with self.compute_loss_context_manager(), self.accelerator.autocast():
                loss, own = self.sampled_loss(self.model_wrapped, inputs)
            count, share = self._labels_of_all(own)
            (loss * (scale * share)).backward()
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
            norm = total_norm([g for g in gradients if g is not None])
            if not bool(torch.isfinite(norm)):
                optimizer.zero_grad()
            return count / scale**2

        optimizer.curvature_step(sampled)
        after_step(self.model, taken=False)

    def _labels_of_all(self, own: int) -> tuple[float, float]:
        """Return the number of labels of all processes, and the factor of this process's mean loss.

        The factor corrects that gradients are averaged over processes as if each had as many labels.
        """
        processes = self.accelerator.num_processes
        if processes == 1:
            return own, 1.0
        counted = torch.tensor(float(own), dtype=torch.float64, device=self.accelerator.device)
        count = self.accelerator.reduce(counted, "sum").item()
        return count, processes * own / max(1.0, count)
