"""What the network has made of an image before its last layer turns it into logits."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xaicli.explain.block import Block, Scored, anchor, score_of
from xaicli.explain.explanation import Figure, Found, stores
from xaicli.run.plan import forwards


@dataclass(frozen=True)
class FeaturePass(Scored):
    """One forward, and what the last layer was given."""

    features: Tensor  # [n, D]


@anchor
@forwards(1)
def feature_pass(block: Block) -> FeaturePass:
    """Logits without gradients, and the inputs of the linear layer that makes them."""
    logits, features = block.calls.features(block.images)
    target, against, value = score_of(block, logits, block.labels)
    return FeaturePass(logits, target, against, value, features)


@stores("features", features=Figure("<f4", lambda features: (features,)))
def features(feature_pass: FeaturePass) -> Found:
    """The penultimate features: what the last linear layer is given, beside the logits it makes (Yeh et al., 2018).

    No map and no explained class: `features` [n, D] after the last activation, and `prediction` [n, K]. A network whose
    logits are not made by one linear layer is refused. Computed once over the training data
    (`explain MODEL -m features --data NAME:train -o train.features.h5`), they serve every later
    `explain MODEL train.features.h5 -m representer`.
    """
    return Found({"features": feature_pass.features})


QUERIES = (feature_pass,)
