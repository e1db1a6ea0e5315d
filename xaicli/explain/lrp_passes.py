"""One forward and one walk back through the canonical form of the network: relevance of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaicli.errors import UnavailableError, UsageError
from xaicli.explain.block import Block, Scored, anchor, score_of
from xaicli.explain.lrp_operations import has_attention
from xaicli.explain.lrp_rules import alpha_beta_rule, box_rule, epsilon_rule, gamma_rule, stabilised
from xaicli.explain.lrp_visit import Rules
from xaicli.explain.relevance import Walk
from xaicli.models.classifier import Classifier
from xaicli.run.calls import Answer
from xaicli.run.plan import forwards


@dataclass(frozen=True)
class RelevancePass(Scored):
    """What reaches the image and what stays on the way."""

    relevance: Tensor  # [n, C, H, W]
    absorbed: Tensor  # float64 [n], by biases and other constants


@anchor
@forwards(1)
def relevance_pass(
    block: Block, *, rule: str = "composite", epsilon: float = 1e-6, gamma: float = 0.25, alpha: float = 2.0
) -> RelevancePass:
    """Relevance by LRP's rules."""
    return _walked(block, lrp_rules(rule, epsilon, gamma, alpha))


@anchor
@forwards(1)
def attention_relevance_pass(
    block: Block, *, attention: Literal["constant", "shared"] = "constant", epsilon: float = 1e-6
) -> RelevancePass:
    """Relevance through attention."""
    if not has_attention(block.calls.canonical()):
        raise UnavailableError("transformer-lrp explains attention, and this network has none; use lrp.")
    return _walked(block, attention_rules(attention, epsilon))


def lrp_rules(rule: str, epsilon: float = 1e-6, gamma: float = 0.25, alpha: float = 2.0) -> Rules:
    """The rules of `lrp` by their name. Raises UsageError for an alpha below 1."""
    if rule == "alpha-beta" and alpha < 1:
        raise UsageError(f"alpha={alpha:g} would make beta = alpha - 1 negative; use 1 or more.")
    if rule == "epsilon":
        absorbing = epsilon_rule(epsilon, absorbing=True)
        return Rules("lrp", epsilon, absorbing, absorbing, linear=True)
    if rule == "composite":
        return Rules("lrp", epsilon, alpha_beta_rule(1.0), epsilon_rule(epsilon, absorbing=False), box_rule)
    one = gamma_rule(gamma) if rule == "gamma" else alpha_beta_rule(1.0 if rule == "z-plus" else alpha)
    return Rules("lrp", epsilon, one, one)


def attention_rules(attention: Literal["constant", "shared"], epsilon: float = 1e-6) -> Rules:
    """The rules of `transformer-lrp`."""
    absorbing = epsilon_rule(epsilon, absorbing=True)
    return Rules("transformer-lrp", epsilon, absorbing, absorbing, linear=True, attention=attention)


def _walked(block: Block, rules: Rules) -> RelevancePass:
    network, classifier = block.calls.canonical(), block.calls.classifier

    def ask(images: Tensor, labels: Tensor) -> Answer:
        normal, black, white = ((x - classifier.mean) / classifier.std for x in (images, 0.0, 1.0))
        walk = Walk(network, normal, rules, (black, white))
        logits = walk.logits.detach().requires_grad_()
        with torch.enable_grad():
            target, against, value = score_of(block, logits, labels)
            (slope,) = torch.autograd.grad(value.sum(), logits)
        start = logits.detach() * slope
        absorbed = value.detach().double() - start.double().sum(1)
        for cut in walk.back(start):
            last = cut
        relevance, absorbed = last.held[walk.image], absorbed + last.absorbed
        if rules.linear:
            relevance, taken = _through_border(classifier, images, normal, relevance, rules.epsilon)
            absorbed = absorbed + taken
        return logits.detach(), target, against, value.detach(), relevance, absorbed

    with torch.no_grad():
        return RelevancePass(*block.calls.each(ask, block.images, block.labels))


def _through_border(
    classifier: Classifier, images: Tensor, normal: Tensor, relevance: Tensor, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Through the normalisation (x - mean) / std, a layer as well: relevance of pixels, and what its bias takes."""
    quotient = relevance / classifier.std / stabilised(normal, len(images), epsilon)
    return images * quotient, (-classifier.mean * quotient).double().sum((1, 2, 3))


QUERIES = (relevance_pass, attention_relevance_pass)
