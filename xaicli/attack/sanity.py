"""Can the numbers of an attack be trusted? Checks that a broken attack or a model that hides its gradients fails.

After Carlini et al. (2019), On Evaluating Adversarial Robustness, and Athalye et al. (2018): a robust accuracy is only
as good as the attack that measured it. A check says something about a few rows, and what it cannot ask it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import torch

from xaicli.attack.library.distance import distance
from xaicli.attack.plan import Series
from xaicli.attack.trial import Suspect, Trial, can
from xaicli.attack.verdicts import Verdict

ROWS = 64  # the first of the command's
FORWARDS = 64 * 64  # of an attack as it is, over the rows: costly attacks are tried on fewer
FEWEST_ROWS = 8
MOST, FEW = 0.75, 0.05  # shares of rows
OUTSIDE = 1e-6  # in pixel values, or as a share of a radius above 1: float32 adds up no better
UNLIKE = 1e-3  # of the logits' spread: float32 differs by 1e-6, bfloat16 by 1e-2
LOUDER = 1000.0
CHANGED = 0.1  # share of rows by which robust accuracy may change where nothing should

Check = Callable[[Trial], Verdict]


def bounds(trial: Trial) -> Verdict:
    """No image leaves [0, 1] or the attack's ball; the largest excess, in pixel values."""
    done, attack = trial.run(), trial.suspect.attack
    images, clean = done.images.double(), trial.images.double()
    excess = torch.stack([-images.min(), images.max() - 1])
    if attack.eps is not None:
        excess = torch.cat([excess, distance(images - clean, attack.norm) - attack.eps])
    value = float(excess.max().clamp(min=0)) if images.isfinite().all() else 1.0
    return Verdict(value <= OUTSIDE * max(1.0, attack.eps or 0.0), value)


def verdict(trial: Trial) -> Verdict:
    """Logits and success are those of the stored image in full precision; the largest deviation of a logit."""
    done = trial.run()
    logits = trial.calls.logits(done.images)
    goal = logits.argmax(1) == done.target if trial.suspect.targeted else logits.argmax(1) != trial.labels
    value = float(((logits - done.logits).abs().amax(1) / logits.std().clamp_min(1e-12)).nan_to_num(nan=1.0).max())
    return Verdict(value <= UNLIKE and bool((done.success == (goal & trial.right)).all()), value)


def deterministic(trial: Trial) -> Verdict:
    """The same rows in another order give the same images; the share of rows that differ."""
    value = float((trial.run().images != trial.backwards().images).flatten(1).any(1).double().mean())
    return Verdict(value == 0, value)


def steps(trial: Trial) -> Verdict:
    """The loss grows with the steps; the share of rows on which it does.

    Of the rows that noise of the same size does not break: more steps are better than one, or one than no step.
    """
    noise = trial.control()
    rows = trial.right & ~noise.success
    start, end = trial.loss(noise.logits), trial.loss(trial.run().logits)
    clean = trial.loss(trial.run().clean_logits)
    several = trial.suspect.steps is not None and trial.suspect.steps > 1
    first = trial.loss(trial.run(**trial.suspect.after(1)).logits) if several else end
    grown = ((first > start) & (first > clean)) | (end > first)
    return _share_at_least(grown[rows], MOST)


def noise(trial: Trial) -> Verdict:
    """Noise of the same size is weaker; the share of rows on which the attack's loss is higher."""
    control = trial.control()
    rows = trial.right & ~control.success
    grown = trial.loss(trial.run().logits) > trial.loss(control.logits)
    found = _share_at_least(grown[rows], MOST)
    return Verdict(found.passed and trial.robust(trial.run()) <= trial.robust(control) + _few(trial), found.value)


def eps(trial: Trial) -> Verdict:
    """Half the radius breaks no more rows; by how much robust accuracy is lower there."""
    radius = trial.suspect.eps
    assert radius is not None
    half = trial.robust(trial.run(**trial.suspect.at(radius / 2)))
    value = max(0.0, trial.robust(trial.run()) - half)
    return Verdict(value <= _few(trial), value)


def unbounded(trial: Trial) -> Verdict:
    """Without a radius nothing holds: robust accuracy there, which is to be about 0."""
    attack = trial.suspect.attack
    if trial.suspect.eps is None:
        value = trial.robust(trial.run())
    else:
        values = prod(trial.calls.classifier.shape)
        value = trial.robust(trial.run(**trial.suspect.at({"linf": 1.0, "l2": values**0.5}.get(attack.norm, values))))
    return Verdict(value <= _few(trial), value)


def black_box(trial: Trial) -> Verdict:
    """Searching without gradients breaks nothing that the attack does not; the share of rows where it does."""
    better = trial.black_box().success & ~trial.run().success
    value = float(better[trial.right].double().mean())
    return Verdict(value <= _few(trial), value)


def gradients(trial: Trial) -> Verdict:
    """The model has gradients to follow; the share of images at which they vanish."""
    value = float((trial.gradients()[trial.right] == 0).double().mean())
    return Verdict(value <= _few(trial), value)


def scale(trial: Trial) -> Verdict:
    """Logits a thousand times as large change nothing; by how much robust accuracy changes."""
    value = abs(trial.robust(trial.scaled(LOUDER)) - trial.robust(trial.run()))
    return Verdict(value <= max(CHANGED, _few(trial)), value)


def checks_of(suspect: Suspect) -> dict[str, str]:
    """The checks that can be asked of an attack, by name, and what each means."""
    return {name: (check.__doc__ or "").splitlines()[0] for name, check in _asked(suspect).items()}


def rows_of(suspect: Suspect, forwards: int, available: int) -> int:
    """How many rows are tried."""
    return min(available, ROWS, max(FORWARDS // forwards, FEWEST_ROWS))


def sanity(trial: Trial) -> list[Verdict]:
    """The verdicts, in the order of `checks_of`. Where no row is right to begin with, nothing is shown, nor refuted."""
    if not trial.right.any():
        return [Verdict(True, 0.0) for _ in _asked(trial.suspect)]
    return [check(trial) for check in _asked(trial.suspect).values()]


def _asked(suspect: Suspect) -> Mapping[str, Check]:
    attack = suspect.attack
    sized = suspect.eps is not None and can("uniform-noise", attack.norm) and not suspect.control
    many = suspect.eps is not None and (suspect.steps or 1) > 1
    applies: dict[str, tuple[Check, bool]] = {
        "bounds": (bounds, True),
        "verdict": (verdict, True),
        "deterministic": (deterministic, True),
        "steps": (steps, sized),
        "noise": (noise, sized),
        "eps": (eps, sized),
        "unbounded": (unbounded, not suspect.control and not suspect.targeted and (many or attack.eps is None)),
        "black-box": (
            black_box,
            sized and not suspect.targeted and not suspect.blind and not isinstance(attack, Series),
        ),
        "gradients": (gradients, not suspect.control and not suspect.blind),
        "scale": (scale, not suspect.control),
    }
    return {name: check for name, (check, asked) in applies.items() if asked}


def _few(trial: Trial) -> float:
    """The share of rows that chance may account for: a twentieth, and one row at least."""
    return max(FEW, 1 / int(trial.right.sum()))


def _share_at_least(rows: torch.Tensor, least: float) -> Verdict:
    value = float(rows.double().mean()) if len(rows) else 1.0
    return Verdict(value >= least, value)
