"""The state of a training: everything that a step or an epoch changes, taken out and put back without losing a bit.

Shuffles, augmentations and attacks belong to (seed, epoch, row) and have no state. Dropout and its kind draw from
torch's global generators, so those are part of it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from xaicli.errors import InputError
from xaicli.models.classifier import Classifier
from xaicli.train.rate import learning_rate
from xaicli.train.watchdog import DROP

_COUNTS = (
    "epoch",
    "step",
    "sums",
    "rows",
    "lr",
    "history",
    "best_rank",
    "best_epoch",
    "good_accuracy",
    "rollbacks",
)


@dataclass
class Training:
    """One training between two steps. `average` keeps the mean of the weights, if the recipe wants it."""

    classifier: Classifier
    optimizer: torch.optim.Optimizer
    rate: LRScheduler | None
    average: AveragedModel | None
    epoch: int = 1  # that goes on, from 1
    step: int = 0  # steps done in it
    sums: dict[str, float] = field(default_factory=dict)  # of the loss and its terms, over the rows done in it
    rows: int = 0
    lr: float = 0.0  # of the last step
    history: list[dict[str, Any]] = field(default_factory=list)
    best_rank: tuple[float, ...] = ()
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)  # the state of the classifier after that epoch
    kept: Tensor | None = None  # [rows of a batch, C, H, W], what a step leaves to the next one
    good: dict[str, Tensor] = field(default_factory=dict)  # what steps change, when the watchdog was last content
    good_accuracy: float = 0.0  # that it measured then
    rollbacks: int = 0  # how often it was put back

    @classmethod
    def begin(cls, classifier: Classifier, options: Mapping[str, Any], steps: int, batch_rows: int = 0) -> Training:
        """Before the first of `steps` steps on at most `batch_rows` rows.

        options: the recipe's, of which lr, momentum, ... are used here. `replays` wants something kept between steps.
        """
        optimizer = _optimizer(classifier, options)
        rate = learning_rate(options["schedule"], optimizer, steps)
        training = cls(classifier, optimizer, rate, _average(classifier, options["ema"]))
        if "replays" in options:
            training.kept = torch.zeros((batch_rows, *classifier.shape), device=training.device)
        return training

    @property
    def device(self) -> torch.device:
        """Where the classifier is."""
        return next(self.classifier.parameters()).device

    @property
    def judged(self) -> Classifier:
        """What an epoch is judged by and leaves behind: the averaged classifier, if there is one."""
        return cast(Classifier, self.average.module) if self.average is not None else self.classifier

    def count(self, losses: Mapping[str, float], rows: int) -> None:
        """Note the mean `loss` of some rows, and of its terms. Raises InputError if it is not finite."""
        if not math.isfinite(losses["loss"]):
            raise InputError(f"the training diverged in epoch {self.epoch}: the loss is not finite; lower lr.")
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss * rows
        self.rows += rows

    @property
    def losses(self) -> dict[str, float]:
        """The means over the rows done in this epoch; a loss of 0 without any."""
        return {name: total / max(self.rows, 1) for name, total in self.sums.items()} or {"loss": 0.0}

    def update(self) -> None:
        """Take the step for which gradients have been collected."""
        self.lr = float(self.optimizer.param_groups[0]["lr"])
        self.optimizer.step()
        if self.rate is not None:
            self.rate.step()
        if self.average is not None:
            self.average.update_parameters(self.classifier)
        self.step += 1

    def close_epoch(self, figures: Mapping[str, float], rank: tuple[float, ...], watched: float | None = None) -> None:
        """Note how the epoch was judged, keep its weights if none was better, and turn to the next one.

        watched: what the watchdog measured. When that has dropped too far, all that steps change is put back to where
        the epoch began, and the history says so; the learning rate and the order of the rows go on.
        """
        self.history.append({"epoch": self.epoch, **figures, "lr": self.lr})
        if not self.best_rank or rank >= self.best_rank:
            self.best_rank, self.best_epoch = rank, self.epoch
            self.best = copy.deepcopy(self.judged.state_dict())
        if watched is not None:
            self.history[-1]["watched_accuracy"] = watched
            self._watch(watched)
        self.epoch, self.step, self.sums, self.rows = self.epoch + 1, 0, {}, 0

    def _watch(self, accuracy: float) -> None:
        if accuracy < self.good_accuracy - DROP:
            self._put(self.good)
            self.rollbacks += 1
            self.history[-1]["rolled_back"] = True
        else:
            self.good = {name: tensor.detach().clone() for name, tensor in self._changing().items()}
            self.good_accuracy = accuracy

    def capture(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What fits into JSON, and arrays by name that may share memory with the training."""
        state = {name: getattr(self, name) for name in _COUNTS}
        state["rates"] = [group["lr"] for group in self.optimizer.param_groups]
        state["schedule"] = self.rate.state_dict() if self.rate is not None else None
        tensors = {
            **self._changing(),
            **_prefixed("best", self.best),
            **_prefixed("good", self.good),
            **_random_states(self.device),
        }
        return state, {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def restore(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on where `capture` was called, in a training that has just begun.

        Raises KeyError, TypeError, ValueError or RuntimeError for what `capture` of another training has given.
        """
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self._put(tensors)
        for group, lr in zip(self.optimizer.param_groups, state["rates"], strict=True):
            group["lr"] = float(lr)
        if self.rate is not None:
            self.rate.load_state_dict(state["schedule"])
        for name in _COUNTS:
            setattr(self, name, state[name])
        self.best_rank = tuple(self.best_rank)
        self.best = {name: tensor.to(self.device) for name, tensor in _below("best", tensors).items()}
        self.good = {name: tensor.to(self.device) for name, tensor in _below("good", tensors).items()}
        _set_random_states(tensors, self.device)

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `_changing` gave, at this or at another time."""
        for name, mine in self._tensors().items():
            _fill(mine, tensors[name])
        for number, parameter in enumerate(self._parameters()):
            for name, tensor in _below(f"optimizer.{number}", tensors).items():
                # of the parameter's memory layout: in another one, sums could round differently
                same = tensor.shape == parameter.shape
                mine = torch.empty_like(parameter, dtype=tensor.dtype) if same else torch.empty_like(tensor)
                _fill(mine, tensor)
                self.optimizer.state[parameter][name] = mine

    def _changing(self) -> dict[str, Tensor]:
        """Everything that a step changes in memory, by name."""
        tensors = self._tensors()
        for number, parameter in enumerate(self._parameters()):
            tensors |= _prefixed(f"optimizer.{number}", self.optimizer.state.get(parameter, {}))
        return tensors

    def _tensors(self) -> dict[str, Tensor]:
        average = self.average if self.average is not None else nn.Module()
        return {
            **_prefixed("model", _all_tensors(self.classifier)),
            **_prefixed("average", _all_tensors(average)),
            **_prefixed("kept", {"step": self.kept}),
        }

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


def random_devices(device: torch.device) -> list[torch.device]:
    """The devices, other than the CPU, whose random generator a model on this one draws from."""
    return [device] if device.type == "cuda" else []


def _random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"random.cpu": torch.get_rng_state()}
    for one in random_devices(device):
        states["random.cuda"] = torch.cuda.get_rng_state(one)
    return states


def _set_random_states(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(tensors["random.cpu"])
    for one in random_devices(device):
        if "random.cuda" in tensors:  # not if the training began on the CPU
            torch.cuda.set_rng_state(tensors["random.cuda"], one)


def _all_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, also those that the state dict leaves out."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _prefixed(prefix: str, tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items() if tensor is not None}


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def _fill(mine: Tensor, given: Tensor) -> None:
    if mine.shape != given.shape or mine.dtype != given.dtype:
        raise ValueError(f"{given.dtype} {list(given.shape)} where {mine.dtype} {list(mine.shape)} is needed")
    with torch.no_grad():
        mine.copy_(given)


def _optimizer(classifier: Classifier, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    """SGD, or Adam for a recipe that has no momentum to give it."""
    if "momentum" not in options:
        return torch.optim.Adam(classifier.parameters(), lr=options["lr"])
    return torch.optim.SGD(
        classifier.parameters(),
        lr=options["lr"],
        momentum=options["momentum"],
        weight_decay=options["weight_decay"],
        nesterov=bool(options["momentum"]),
    )


def _average(classifier: Classifier, decay: float) -> AveragedModel | None:
    if not decay:
        return None
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(mine: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        if mine[0].is_floating_point():
            average(mine, current, updates)
        else:  # counters, whose average would be rounded down
            torch._foreach_copy_(list(mine), list(current))

    return AveragedModel(classifier, multi_avg_fn=update, use_buffers=True)
