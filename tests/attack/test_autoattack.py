"""AutoAttack and its parts against the official code, on small networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import pyautoattack
import pytest
import torch
from pyautoattack.autoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from tests.attack.runs import attacked
from tests.attack.trained import Trained, train_digits
from tests.nets import linear
from xaicli.attack.apgd import apgd, apgd_t
from xaicli.attack.autoattack import autoattack, protocol_of
from xaicli.attack.loss import DLR_TINY, aimed_dlr, aimed_margin, dlr, margin
from xaicli.attack.network import Network
from xaicli.attack.plan import stages_of
from xaicli.attack.square import _level, _pattern, _sides, _uniform
from xaicli.attack.walk import Block, Walk
from xaicli.run.calls import Calls
from xaicli.run.random import Stream

THEIRS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
EPS = {"linf": 0.15, "l2": 0.8, "l1": 2.5}
ROWS = 96


@pytest.fixture(scope="module")
def robust() -> Trained:
    return train_digits(robust=True)


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng():  # the official code seeds the global generator
        yield
    torch.set_default_dtype(torch.float32)


def official(trained: Trained, norm: str, stages: list[str] | None, *, steps: int = 100, queries: int = 5000) -> Tensor:
    """Which samples are still right after the official attacks; all of them for None."""
    version = "standard" if stages is None else "custom"
    code = AutoAttack(trained.net, norm=THEIRS[norm], eps=EPS[norm], seed=0, version=version, attacks=stages)
    code.verbose = False
    if stages is not None:
        code.apgd.n_restarts, code.apgd_targeted.n_target_classes = (5, 5) if norm == "l1" else (1, 9)
        code.apgd.use_largereps = code.apgd_targeted.use_largereps = norm == "l1"
        code.fab.n_restarts, code.fab.n_target_classes = 1, 9
    for part in (code.apgd, code.apgd_targeted, code.fab):
        part.n_iter = part.n_iter_orig = steps
    for part in (code.apgd, code.apgd_targeted):
        part.n_iter_2, part.n_iter_min, part.size_decr = (max(int(s * steps), 1) for s in (0.22, 0.06, 0.03))
    code.square.n_queries = queries
    images, labels = trained.images[:ROWS], trained.labels[:ROWS]
    found, _ = code.run_standard_evaluation(images, labels, batch_size=ROWS)
    return trained.net(found).argmax(1) == labels


def ours(trained: Trained, text: str, norm: str, **options: int) -> Tensor:
    added = "".join(f",{name}={value}" for name, value in options.items())
    images, labels = trained.images[:ROWS], trained.labels[:ROWS]
    done = attacked(f"{text}:norm={norm},eps={EPS[norm]}{added}", trained.net, images, labels, batch_size=ROWS)
    return done.logits.argmax(1) == labels


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("stage", ["apgd-ce", "apgd-t", "fab-t", "square"])
def test_every_stage_breaks_what_the_official_one_breaks(robust: Trained, stage: str, norm: str) -> None:
    options = {"apgd-ce": {"steps": 40}, "apgd-t": {"steps": 25}, "fab-t": {"steps": 25}, "square": {"queries": 120}}[
        stage
    ]
    theirs = official(robust, norm, [stage], **options)
    if stage == "apgd-ce" and norm == "l1":
        options = {**options, "restarts": 5}
    if stage == "apgd-t" and norm == "l1":
        options = {**options, "targets": 5}
    mine = ours(robust, stage, norm, **options)
    assert 5 < theirs.sum() < ROWS - 5, "a network that attacks can tell apart"
    agreement = (mine == theirs).float().mean().item()
    # FAB draws no random numbers; the random starts and squares of the others are not the same
    assert agreement >= {"fab-t": 1.0, "square": 0.85}.get(stage, 0.95), (mine.sum(), theirs.sum(), agreement)
    assert mine.sum() <= theirs.sum() + {"fab-t": 0, "square": 5}.get(stage, 2)


@pytest.mark.slow
def test_all_stages_together_find_at_least_as_many_errors(robust: Trained) -> None:
    left = [0, 0]
    for norm in ("linf", "l2", "l1"):
        theirs = official(robust, norm, None, steps=40, queries=150)
        mine = ours(robust, "autoattack", norm, steps=40, queries=150)
        assert (mine == theirs).float().mean() >= 0.97
        left[0] += int(mine.sum())
        left[1] += int(theirs.sum())
    assert left[0] <= left[1], left


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", ["ce", "dlr", "dlr-targeted"])
def test_auto_pgd_goes_the_official_way_step_by_step(robust: Trained, kind: str, norm: str) -> None:
    net = deepcopy(robust.net).double()
    images, labels = robust.images[:40].double(), robust.labels[:40]
    eps = {"linf": 0.01, "l2": 0.05}[norm]  # breaks few samples: ours stop there
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)).double()
    start = (images + eps / 8 * noise).clamp(0, 1)
    logits = net(images)
    block = Block(images, labels, logits, Stream(0, "attack", tuple(range(40))), start)
    rows = (logits.argmax(1) == labels).nonzero().flatten()
    attack = {
        "ce": apgd(norm=norm, eps=eps, steps=70),
        "dlr": apgd(norm=norm, eps=eps, steps=70, loss="dlr"),
        "dlr-targeted": apgd_t(norm=norm, eps=eps, steps=70, targets=1),
    }[kind]
    tries = Walk(attack, Network(Calls(net, batch_size=40)), block, rows.tolist()).run()
    code = APGDAttack_targeted(net, n_iter=70, norm=THEIRS[norm], eps=eps, device="cpu")
    code.loss, code.y_target = kind, logits.sort(dim=1).indices[:, -2]
    code.init_hyperparam(images)
    torch.set_default_dtype(torch.float64)  # they keep losses in the default type
    best, right, _, _ = code.attack_single_run(images, labels, x_init=start)
    rows = rows[right[rows] == 1]
    assert len(rows) > 30 and not tries.broken[rows].any()
    away = (tries.best.point - best)[rows].flatten(1).abs().amax(1) / eps
    assert (away < 1e-6).double().mean() >= 0.95, away
    assert ((best - start)[rows].flatten(1).abs().amax(1) / eps).min() > 0.05


def test_sparse_steps_get_as_far_as_the_official_ones_on_a_linear_network() -> None:
    w = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    net = linear(w, torch.tensor([12.0, 0.0, 0.0]))
    images = 0.4 + 0.2 * torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(16, dtype=torch.int64)
    code = APGDAttack(net, n_iter=100, norm="L1", eps=1.0, device="cpu", use_largereps=True)
    schedule = [3.0, 2.0, 1.0], [30, 30, 40]
    code.init_hyperparam(images)
    torch.manual_seed(0)
    theirs = code.decr_eps_pgd(images, labels, *schedule)[0]
    mine = attacked("apgd:norm=l1,eps=1", net, images, labels, batch_size=16).images
    gained = [(odds(net(found)) - odds(net(images))).mean().item() for found in (mine, theirs)]
    assert gained[0] == pytest.approx(gained[1], rel=0.01) and gained[0] > 3


def odds(logits: Tensor) -> Tensor:
    return logits[:, 1:].logsumexp(1) - logits[:, 0]


@pytest.mark.parametrize("classes", [4, 10])
def test_ratios_of_logits_are_the_official_ones_and_slopes_their_derivatives(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(20, classes, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.randint(classes, (20,), generator=generator)
    aim = (labels + torch.randint(1, classes, (20,), generator=generator)) % classes
    code = pyautoattack.autopgd_base.APGDAttack_targeted(None, eps=1.0)
    code.y_target = aim
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    rows = torch.arange(20)
    for loss, expected in (
        (dlr, code.dlr_loss(logits, labels)),
        (aimed_dlr, code.dlr_loss_targeted(logits, labels)),
        (margin, other - logits[rows, labels]),
        (aimed_margin, logits[rows, aim] - logits[rows, labels]),
    ):
        value, slope = loss(logits.detach(), labels, aim)
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
        (expected_slope,) = torch.autograd.grad(expected.sum(), logits, retain_graph=True)
        torch.testing.assert_close(slope, expected_slope, rtol=0, atol=1e-9)
    assert code.dlr_loss(logits * 5, labels).allclose(code.dlr_loss(logits, labels), atol=10 * DLR_TINY)


def test_with_fewer_than_four_classes_the_ratio_is_the_margin() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0]])
    one, two = torch.tensor([1]), torch.tensor([2])
    assert dlr(logits, one, one)[0].item() == -3 and aimed_dlr(logits, one, two)[1].tolist() == [[0, -1, 1]]


def test_patterns_and_schedule_of_square_are_the_official_ones() -> None:
    for norm in ("l2", "l1"):
        code = SquareAttack(None, norm=THEIRS[norm], eps=1.0, device="cpu")
        for side in (3, 4, 7, 12, 29):
            turned = {_pattern(side, norm), _pattern(side, norm).T}
            theirs = code.eta(side).double()
            assert min((theirs - mine).abs().max() for mine in turned) < 1e-6
    code = SquareAttack(None, eps=1.0, p_init=0.8, resc_schedule=False)
    asked = torch.tensor([0, 10, 11, 50, 51, 200, 201, 500, 501, 1001, 2001, 4001, 4999, 6001, 8001])
    for number, level in zip(asked.tolist(), _level(asked).tolist(), strict=True):
        assert code.p_selection(number) == 0.8 / 2**level
        side = max(round(math.sqrt(0.8 / 2**level * 32 * 32)), 1)
        assert _sides(0.8, "linf", 32, 32)[level] == side
    assert _sides(0.8, "l2", 32, 32)[:5] == (29, 21, 15, 11, 7) and _sides(0.8, "l1", 6, 6)[-1] == 3


def test_random_numbers_of_square_are_uniform_and_independent() -> None:
    steps = torch.arange(50_000)
    numbers = _uniform(torch.full_like(steps, 12345), steps, 6)
    assert numbers.mean(0).tolist() == pytest.approx([0.5] * 6, abs=0.006)
    assert numbers.square().mean(0).tolist() == pytest.approx([1 / 3] * 6, abs=0.006)
    related = torch.corrcoef(torch.cat([numbers[1:], numbers[:-1]], 1).T) - torch.eye(12)
    assert related.abs().max() < 0.02
    others = _uniform(steps, torch.zeros_like(steps), 6)
    assert (torch.corrcoef(torch.cat([numbers, others], 1).T) - torch.eye(12)).abs().max() < 0.02


def test_the_protocol_is_official_only_when_nothing_is_changed() -> None:
    standard = protocol_of(autoattack(), 10)
    assert standard.official and standard.name == "autoattack standard linf"
    changed = [
        protocol_of(autoattack(steps=99), 10),
        protocol_of(autoattack(targets=5), 10),
        protocol_of(autoattack(queries=4999), 10),
        protocol_of(autoattack(eps=(0.1, 0.2)), 10),
        protocol_of(autoattack(), 3),
    ]
    assert not any(one.official for one in changed)
    other = [protocol_of(autoattack(eps=0.1), 10), protocol_of(autoattack(norm="l2"), 10)]
    assert all(one.official for one in other)
    assert len({one.hash for one in (standard, *changed, *other)}) == 8
    assert standard.hash == protocol_of(autoattack(eps=8 / 255), 10).hash
    searches = [stage.search for stage in stages_of(autoattack())]
    assert [search.steps for search in searches] == [100, 100, 100, 5000]
    assert [search.tries(10) for search in searches] == [1, 9, 9, 1] and [s.tries(4) for s in searches] == [1, 3, 3, 1]
    sparse = [stage.search for stage in stages_of(autoattack(norm="l1"))]
    assert [search.tries(10) for search in sparse] == [5, 5, 9, 1]
    assert replace(searches[3], share=0.5) != searches[3]


def test_the_stage_that_breaks_a_sample_is_told() -> None:
    net, images, labels = (trained := train_digits(robust=False)).net, trained.images[:40], trained.labels[:40]
    done = attacked("autoattack:eps=0.08,steps=8,queries=40", net, images, labels, batch_size=40)
    alone = attacked("apgd:eps=0.08,steps=8", net, images, labels, batch_size=40)
    assert torch.equal(done.stage > 0, done.success)
    assert abs(int((done.stage == 1).sum()) - int(alone.success.sum())) <= 2  # other random starts
    assert set(done.stage.tolist()) >= {0, 1} and done.stage.max() <= 4
    assert isinstance(net, nn.Module)
