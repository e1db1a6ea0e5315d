"""Layer-wise relevance propagation: the explained quantity handed back through the network to the pixels."""

from __future__ import annotations

from typing import Literal

from xaicli.explain.explanation import ROW, ChannelMaps, Explanation, stores
from xaicli.explain.lrp_passes import RelevancePass
from xaicli.signatures import NonNegative, Positive


@stores(bias_share=ROW)
def lrp(
    relevance_pass: RelevancePass,
    *,
    rule: Literal["composite", "epsilon", "gamma", "alpha-beta", "z-plus"] = "composite",
    epsilon: Positive = 1e-6,
    gamma: NonNegative = 0.25,
    alpha: Positive = 2.0,
) -> Explanation[ChannelMaps]:
    """Every layer hands its relevance to its inputs in proportion to their contributions (Bach et al., 2015).

    Returns [n, C, H, W], signed, in units of the quantity. `rule=composite` mixes rules by layer: zB on the image, as
    pixels lie between black and white, alpha 1 beta 0 in convolutions and other linear maps of every position, epsilon
    in dense layers. Biases get nothing, so the map sums to f(x). `z-plus` (alpha 1 beta 0), `alpha-beta` (beta = alpha
    - 1) and `gamma` apply one rule to all layers; only gamma lets the biases of layers take their part. In all these,
    norms and activations hand on what they get, a product gives all to what is no gate, a sum shares by magnitude, the
    winner of a maximum takes all, and an output without contributions of the sign asked for shares by the size of all,
    or evenly. `rule=epsilon` takes norms, sums and biases as parts of linear layers: on a ReLU network it is input x
    gradient. `epsilon` is a share of a layer's largest output for the row.

    The stored gap is sum(map) + bias_share - f(x), 0 up to epsilon and rounding. A quantity that is not linear in the
    logits (probability) starts from its gradient times the logits; the rest counts in bias_share. Attention, and any
    operation without a rule, is refused and named.
    """
    return _explained(relevance_pass)


@stores(bias_share=ROW)
def transformer_lrp(
    attention_relevance_pass: RelevancePass,
    *,
    attention: Literal["constant", "shared"] = "constant",
    epsilon: Positive = 1e-6,
) -> Explanation[ChannelMaps]:
    """Relevance handed back through attention, the attention weights taken as constants (Ali et al., 2022).

    Returns [n, C, H, W], signed, in units of the quantity. Dense layers, shortcuts and biases follow the epsilon rule,
    a share of a layer's largest output for the row; LayerNorm is linear, its deviation a constant; GELU and its like
    hand on what they get. `attention=constant` gives all relevance of attended values to the values. `shared` is
    AttnLRP (Achtibat et al., 2024): products of two factors, attention times values and queries times keys, give half
    to each, and the softmax shares by its input times gradient.

    What biases and other constants (position embeddings, the class token) take is stored as bias_share, and the gap is
    sum(map) + bias_share - f(x), 0 up to epsilon and rounding. For networks whose attention the canonical form can
    open, such as ViT and Swin; one without attention, or with an operation without a rule, is refused.
    """
    return _explained(attention_relevance_pass)


def _explained(found: RelevancePass) -> Explanation[ChannelMaps]:
    gap = found.relevance.double().sum((1, 2, 3)) + found.absorbed - found.score.double()
    return Explanation(found.relevance, gap, figures={"bias_share": found.absorbed})
