"""One table of all methods, and what it says of each.

A method's signature and docstring are its documentation: its keyword-only parameters are the options, its first
docstring line the summary. Both are read with `ast`, so listing, help and completion import nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from xaicli.errors import PluginError, UsageError, nearest
from xaicli.plugins import Plugin, installed
from xaicli.signatures import Option, definition, options_of

# verb -> name -> (module:function below xaicli, aliases)
TABLE: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "train": {
        "standard": ("train.recipes:standard", ()),
        "adversarial": ("train.recipes:adversarial", ("at",)),
        "trades": ("train.trades:trades", ()),
        "mart": ("train.trades:mart", ()),
        "fast": ("train.fast:fast", ()),
        "free": ("train.fast:free", ()),
        "private": ("train.private.recipe:private", ("dp-sgd",)),
        "bayesian": ("train.bayesian:bayesian", ("bayes-by-backprop",)),
        "mc-dropout": ("train.dropout:mc_dropout", ()),
        "ensemble": ("train.ensemble:ensemble", ("deep-ensemble",)),
    },
    "attack": {
        "fgsm": ("attack.gradient:fgsm", ()),
        "pgd": ("attack.gradient:pgd", ()),
        "apgd": ("attack.apgd:apgd", ("apgd-ce",)),
        "apgd-t": ("attack.apgd:apgd_t", ()),
        "fab-t": ("attack.fab:fab_t", ()),
        "square": ("attack.square:square", ()),
        "autoattack": ("attack.autoattack:autoattack", ("aa",)),
        "ddn": ("attack.minimum:ddn", ()),
        "fmn": ("attack.minimum:fmn", ()),
        "gaussian-noise": ("attack.noise:gaussian_noise", ()),
        "uniform-noise": ("attack.noise:uniform_noise", ()),
        "bim": ("attack.library.ascents:bim", ()),
        "rfgsm": ("attack.library.ascents:rfgsm", ()),
        "ffgsm": ("attack.library.ascents:ffgsm", ()),
        "eotpgd": ("attack.library.ascents:eotpgd", ()),
        "tpgd": ("attack.library.ascents:tpgd", ()),
        "upgd": ("attack.library.ascents:upgd", ()),
        "jitter": ("attack.library.ascents:jitter", ()),
        "pgdrs": ("attack.library.ascents:pgdrs", ()),
        "pgdrsl2": ("attack.library.ascents:pgdrsl2", ()),
        "spsa": ("attack.library.ascents:spsa", ()),
        "mifgsm": ("attack.library.momentum:mifgsm", ()),
        "nifgsm": ("attack.library.momentum:nifgsm", ()),
        "sinifgsm": ("attack.library.momentum:sinifgsm", ()),
        "vmifgsm": ("attack.library.momentum:vmifgsm", ()),
        "vnifgsm": ("attack.library.momentum:vnifgsm", ()),
        "difgsm": ("attack.library.momentum:difgsm", ()),
        "tifgsm": ("attack.library.momentum:tifgsm", ()),
        "pifgsm": ("attack.library.momentum:pifgsm", ()),
        "pifgsmpp": ("attack.library.momentum:pifgsmpp", ()),
        "cw": ("attack.library.smallest:cw", ()),
        "deepfool": ("attack.library.smallest:deepfool", ()),
        "eadl1": ("attack.library.smallest:eadl1", ()),
        "eaden": ("attack.library.smallest:eaden", ()),
        "gn": ("attack.library.smallest:gn", ()),
        "vanila": ("attack.library.smallest:vanila", ()),
        "sparsefool": ("attack.library.sparse:sparsefool", ()),
        "onepixel": ("attack.library.sparse:onepixel", ()),
        "pixle": ("attack.library.sparse:pixle", ()),
        "jsma": ("attack.library.sparse:jsma", ()),
        "torchattacks-fgsm": ("attack.library.twins:fgsm", ()),
        "torchattacks-pgd": ("attack.library.twins:pgd", ()),
        "torchattacks-pgdl2": ("attack.library.twins:pgdl2", ()),
        "torchattacks-apgd": ("attack.library.twins:apgd", ()),
        "torchattacks-apgdt": ("attack.library.twins:apgdt", ()),
        "torchattacks-fab": ("attack.library.twins:fab", ()),
        "torchattacks-square": ("attack.library.twins:square", ()),
        "torchattacks-autoattack": ("attack.library.twins:autoattack", ()),
    },
    "explain": {
        "random": ("explain.controls:random", ()),
        "edges": ("explain.controls:edges", ()),
        "constant": ("explain.controls:constant", ()),
        "saliency": ("explain.gradients:saliency", ()),
        "input-x-gradient": ("explain.gradients:input_x_gradient", ("ixg",)),
        "smoothgrad": ("explain.gradients:smoothgrad", ()),
        "squaregrad": ("explain.gradients:squaregrad", ()),
        "vargrad": ("explain.gradients:vargrad", ()),
        "guided-backprop": ("explain.gradients:guided_backprop", ()),
        "deconvolution": ("explain.gradients:deconvolution", ()),
        "guided-gradcam": ("explain.gradients:guided_gradcam", ()),
        "integrated-gradients": ("explain.integrals:integrated_gradients", ("ig",)),
        "expected-gradients": ("explain.integrals:expected_gradients", ("gradient-shap",)),
        "guided-ig": ("explain.integrals:guided_ig", ()),
        "blur-ig": ("explain.integrals:blur_ig", ()),
        "xrai": ("explain.integrals:xrai", ()),
        "deeplift": ("explain.deeplift:deeplift", ()),
        "deepshap": ("explain.deeplift:deepshap", ("deep-shap",)),
        "lrp": ("explain.lrp:lrp", ()),
        "transformer-lrp": ("explain.lrp:transformer_lrp", ()),
        "gradcam": ("explain.cams:gradcam", ("grad-cam",)),
        "gradcam++": ("explain.cams:gradcam_plus_plus", ("grad-cam++",)),
        "xgradcam": ("explain.cams:xgradcam", ()),
        "hirescam": ("explain.cams:hirescam", ()),
        "layercam": ("explain.cams:layercam", ()),
        "gradcam-elementwise": ("explain.cams:gradcam_elementwise", ()),
        "eigencam": ("explain.projections:eigencam", ()),
        "eigengradcam": ("explain.projections:eigengradcam", ()),
        "segeigencam": ("explain.projections:segeigencam", ()),
        "kpca-cam": ("explain.projections:kpca_cam", ()),
        "fem": ("explain.cams:fem", ()),
        "ablationcam": ("explain.cams:ablationcam", ()),
        "scorecam": ("explain.cams:scorecam", ()),
        "finercam": ("explain.contrasts:finercam", ()),
        "shapleycam": ("explain.contrasts:shapleycam", ()),
        "refinecam": ("explain.refinement:refinecam", ()),
        "attention-rollout": ("explain.attention:attention_rollout", ()),
        "fullgrad": ("explain.fullgrad:fullgrad", ()),
        "occlusion": ("explain.occlusion:occlusion", ()),
        "rise": ("explain.rise:rise", ()),
        "feature-ablation": ("explain.occlusion:feature_ablation", ()),
        "lime": ("explain.lime:lime", ()),
        "kernel-shap": ("explain.shapley:kernel_shap", ()),
        "partition-shap": ("explain.partition:partition_shap", ()),
        "shapley-sampling": ("explain.shapley:shapley_sampling", ()),
        "open-set": ("explain.open_set:open_set", ()),
        "influence": ("explain.influence:influence", ()),
        "representer": ("explain.representers:representer", ("representer-points",)),
        "features": ("explain.last_layer:features", ()),
    },
    "evaluate": {
        "accuracy": ("evaluate.models:accuracy", ()),
        "calibration": ("evaluate.calibration:calibration", ("ece",)),
        "selective": ("evaluate.selective:selective", ("aurc",)),
        "uncertainty": ("evaluate.uncertainty:uncertainty", ()),
        "open-set": ("evaluate.open_set:open_set", ()),
        "clustering": ("evaluate.clustering:clustering", ()),
        "robust-accuracy": ("evaluate.models:robust_accuracy", ()),
        "perturbation": ("evaluate.models:perturbation", ()),
        "class-consistency": ("evaluate.neighbours:class_consistency", ()),
        "target-accuracy": ("evaluate.recognised:target_accuracy", ()),
        "judge-accuracy": ("evaluate.recognised:judge_accuracy", ()),
        "judge-accuracy-floor": ("evaluate.recognised:judge_accuracy_floor", ()),
        "frechet-distance": ("evaluate.frechet:frechet_distance", ("fd",)),
        "kernel-distance": ("evaluate.kernel_distance:kernel_distance", ("kid",)),
        "diversity": ("evaluate.diversity:diversity", ()),
        "nearest-training-image": ("evaluate.memorisation:nearest_training_image", ()),
        "activation": ("evaluate.attained:activation", ()),
        "relative-loss": ("evaluate.attained:relative_loss", ()),
        "perceptual-distance": ("evaluate.attained:perceptual_distance", ()),
        "audit": ("evaluate.audit:audit", ()),
        "membership": ("evaluate.membership:membership", ("lira",)),
        "deletion": ("evaluate.curves:deletion", ()),
        "insertion": ("evaluate.curves:insertion", ()),
        "pixel-flipping": ("evaluate.curves:pixel_flipping", ()),
        "selectivity": ("evaluate.curves:selectivity", ()),
        "morf": ("evaluate.curves:morf", ()),
        "lerf": ("evaluate.curves:lerf", ()),
        "aopc": ("evaluate.curves:aopc", ()),
        "abpc": ("evaluate.curves:abpc", ()),
        "srg": ("evaluate.curves:srg", ()),
        "irof": ("evaluate.curves:irof", ()),
        "monotonicity": ("evaluate.curves:monotonicity", ()),
        "n-ord": ("evaluate.ordering:n_ord", ()),
        "s-ord": ("evaluate.ordering:s_ord", ()),
        "tpn": ("evaluate.ordering:tpn", ()),
        "tps": ("evaluate.ordering:tps", ()),
        "keep-top": ("evaluate.tops:keep_top", ()),
        "remove-top": ("evaluate.tops:remove_top", ()),
        "road": ("evaluate.road:road", ()),
        "sic": ("evaluate.information:sic", ("softmax-information-curve",)),
        "accuracy-information-curve": ("evaluate.information:accuracy_information_curve", ("aic",)),
        "average-drop": ("evaluate.masking:average_drop", ()),
        "increase-in-confidence": ("evaluate.masking:increase_in_confidence", ()),
        "average-gain": ("evaluate.masking:average_gain", ()),
        "infidelity": ("evaluate.infidelity:infidelity", ()),
        "faithfulness-correlation": ("evaluate.correlations:faithfulness_correlation", ()),
        "mu-fidelity": ("evaluate.correlations:mu_fidelity", ()),
        "sensitivity-n": ("evaluate.correlations:sensitivity_n", ()),
        "faithfulness-estimate": ("evaluate.correlations:faithfulness_estimate", ()),
        "monotonicity-correlation": ("evaluate.correlations:monotonicity_correlation", ()),
        "sensitivity-max": ("evaluate.stability:sensitivity_max", ("max-sensitivity",)),
        "sensitivity-avg": ("evaluate.stability:sensitivity_avg", ("avg-sensitivity",)),
        "local-lipschitz": ("evaluate.stability:local_lipschitz", ()),
        "ris": ("evaluate.stability:ris", ("relative-input-stability",)),
        "ros": ("evaluate.stability:ros", ("relative-output-stability",)),
        "rrs": ("evaluate.stability:rrs", ("relative-representation-stability",)),
        "mprt": ("evaluate.sanity:mprt", ()),
        "smprt": ("evaluate.sanity:smprt", ()),
        "emprt": ("evaluate.sanity:emprt", ()),
        "random-logit": ("evaluate.sanity:random_logit", ()),
        "input-invariance": ("evaluate.sanity:input_invariance", ()),
        "adcc": ("evaluate.coherence:adcc", ()),
        "agreement": ("evaluate.agreement:agreement", ()),
        "gini": ("evaluate.complexity:gini", ()),
        "entropy": ("evaluate.complexity:entropy", ()),
        "effective-complexity": ("evaluate.complexity:effective_complexity", ()),
        "completeness": ("evaluate.axioms:completeness", ()),
        "non-sensitivity": ("evaluate.axioms:non_sensitivity", ()),
        "pointing-game": ("evaluate.localisation:pointing_game", ()),
        "relevance-mass": ("evaluate.localisation:relevance_mass", ()),
        "relevance-rank": ("evaluate.localisation:relevance_rank", ()),
        "top-k-intersection": ("evaluate.localisation:top_k_intersection", ()),
        "localisation-auc": ("evaluate.localisation:localisation_auc", ()),
    },
    "generate": {
        "class-images": ("generate.class_images:class_images", ()),
        "inversion": ("generate.inversion:inversion", ()),
        "feature-visualisation": ("generate.visualisation:feature_visualisation", ("feature-visualization",)),
        "counterfactual": ("generate.counterfactual:counterfactual", ()),
    },
    "detector": {
        "msp": ("models.detectors.logits:msp", ()),
        "max-logit": ("models.detectors.logits:max_logit", ()),
        "energy": ("models.detectors.logits:energy", ()),
        "entropy": ("models.detectors.logits:entropy", ()),
        "mahalanobis": ("models.detectors.gaussian:mahalanobis", ()),
        "relative-mahalanobis": ("models.detectors.gaussian:relative_mahalanobis", ("rmd",)),
        "knn": ("models.detectors.neighbours:knn", ()),
        "vim": ("models.detectors.virtual_logit:vim", ()),
        "react": ("models.detectors.reshaped:react", ()),
        "ash": ("models.detectors.reshaped:ash", ()),
        "openmax": ("models.detectors.open_max:openmax", ()),
    },
}

DRAWN = ("attack", "explain")
"""Verbs whose methods all take `draws`, the number of networks drawn from an uncertain checkpoint."""

NOUNS = {
    "train": "recipe",
    "attack": "attack",
    "explain": "method",
    "evaluate": "metric",
    "generate": "generator",
    "detector": "detector",
}


@dataclass(frozen=True)
class Method:
    """What the table, the signature and the docstring say about one method."""

    verb: str
    name: str
    aliases: tuple[str, ...]
    target: str
    summary: str
    description: str
    options: tuple[Option, ...]
    queries: tuple[str, ...]
    plugin: Plugin | None = None
    """Where a third party's method comes from; None for our own."""

    @property
    def takes_draws(self) -> bool:
        """Whether it takes `draws` of an uncertain checkpoint: attacks and explainers, without naming the option."""
        return self.verb in DRAWN and all(option.key != "draws" for option in self.options)

    def load(self) -> Callable[..., Any]:
        """Import the function behind the name."""
        if self.plugin is not None:
            return self.plugin.load()
        module, function = self.target.split(":")
        loaded: Callable[..., Any] = getattr(import_module(f"xaicli.{module}"), function)
        return loaded


def names(verb: str) -> list[str]:
    """All method names of a verb: ours in table order, then those of installed packages."""
    return list(dict.fromkeys([*TABLE[verb], *installed(verb)]))


def describe(verb: str, name: str) -> Method:
    """Look a method up by name or alias; UsageError names the nearest spelling."""
    table = TABLE[verb]
    found = name if name in table else next((n for n, (_, aliases) in table.items() if name in aliases), None)
    if found is None and name in installed(verb):
        return plugged(verb, installed(verb)[name])
    if found is None:
        known = [*names(verb), *(alias for _, aliases in table.values() for alias in aliases)]
        noun = NOUNS[verb]
        hint = nearest(name, known)
        raise UsageError(f"there is no {noun} '{name}'.{hint} `xaicli methods {verb}` lists them all.")
    return _read(verb, found)


def plugged(verb: str, plugin: Plugin) -> Method:
    """A third party's method, read as ours are. Raises PluginError for a signature that no command line can offer."""
    try:
        node = definition(plugin.path, plugin.function)
        method = _method(verb, plugin.name, (), f"{plugin.path.stem}:{plugin.function}", node)
    except (LookupError, SyntaxError, ValueError) as error:
        raise PluginError(f"'{plugin.name}' in '{plugin.path.name}' is no method: {error}; mend it.") from None
    return replace(method, plugin=plugin)


@cache
def _read(verb: str, name: str) -> Method:
    target, aliases = TABLE[verb][name]
    module, function = target.split(":")
    path = Path(__file__).parent / Path(*module.split(".")).with_suffix(".py")
    return _method(verb, name, aliases, target, definition(path, function))


def _method(verb: str, name: str, aliases: tuple[str, ...], target: str, node: ast.FunctionDef) -> Method:
    text = ast.get_docstring(node) or ""
    summary, _, description = text.partition("\n")
    return Method(
        verb=verb,
        name=name,
        aliases=aliases,
        target=target,
        summary=summary.strip(),
        description=description.strip(),
        options=tuple(options_of(node)),
        queries=tuple(argument.arg for argument in [*node.args.posonlyargs, *node.args.args]),
    )
