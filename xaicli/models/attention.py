"""Attention that can be looked into: torch's and torchvision's own is opaque to a tracer.

Everything here computes the same in steps that a tracer sees: projections, matrix products and a softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F


class OpenAttention(nn.Module):
    """What `nn.MultiheadAttention` computes for batches without masks.

    The projections are views of the original's parameters. Queries, keys and values are [N, T, K].
    """

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        width, bias = original.embed_dim, original.in_proj_bias
        self.heads, self.head_width = original.num_heads, original.head_dim
        projections = []
        for part in range(3):
            rows = slice(part * width, (part + 1) * width)
            projections.append(_linear(original.in_proj_weight[rows], None if bias is None else bias[rows]))
        self.query, self.key, self.value = projections
        self.out_proj = _linear(original.out_proj.weight, original.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = True) -> tuple[Tensor, None]:
        """Returns the attended values [N, T, K]; the weights are not handed out."""
        queries, keys, values = (
            projection(tokens).reshape(tokens.shape[0], -1, self.heads, self.head_width).transpose(1, 2)
            for projection, tokens in ((self.query, query), (self.key, key), (self.value, value))
        )
        mixed: Tensor = self.out_proj(_attend(queries, keys, values).transpose(1, 2).flatten(2))
        return mixed, None


def open_modules(network: nn.Module) -> None:
    """Replace, in place, every `nn.MultiheadAttention` that is of the common kind."""
    for owner in list(network.modules()):
        for name, child in list(owner.named_children()):
            if type(child) is nn.MultiheadAttention and _is_common(child):
                setattr(owner, name, OpenAttention(child).train(child.training))


def open_functions(graph: fx.GraphModule, values: dict[fx.Node, Any]) -> bool:
    """Replace attention functions, and whatever of Swin's a tracer passes by, by their steps; whether there were any.

    values: what each node is for an example; the steps hold for images of its size.
    """
    opened = False
    for node in list(graph.graph.nodes):
        if node.op != "call_function":
            continue
        name = getattr(node.target, "__name__", "")
        steps = _STEPS[name](graph, node, values) if name in _STEPS else None
        if steps is None:
            continue
        function, inputs = steps
        inner = fx.symbolic_trace(function)
        places = [place for place in inner.graph.nodes if place.op == "placeholder"]
        with graph.graph.inserting_before(node):
            result = graph.graph.graph_copy(inner.graph, dict(zip(places, inputs, strict=True)))
        node.replace_all_uses_with(result)
        graph.graph.erase_node(node)
        opened = True
    return opened


_Steps = tuple[Callable[..., Tensor], list[Any]] | None


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float | None = None, bias: Tensor | None = None
) -> Tensor:
    width = queries.shape[-1]
    scores = torch.matmul(queries * (width**-0.5 if scale is None else scale), keys.transpose(-2, -1))
    return torch.matmul(torch.softmax(scores if bias is None else scores + bias, -1), values)


def _dot_product(graph: fx.GraphModule, node: fx.Node, values: dict[fx.Node, Any]) -> _Steps:
    """The function `scaled_dot_product_attention`; of masks, only what is added to the scores."""
    given = _given(node, ("query", "key", "value", "attn_mask", "dropout_p", "is_causal"))
    tokens = [given.pop(name) for name in ("query", "key", "value")]
    scale, bias = given.pop("scale", None), given.pop("attn_mask", None)
    if any(given.values()) or not all(isinstance(token, fx.Node) for token in tokens):
        return None
    width = float(values[tokens[0]].shape[-1]) ** -0.5 if scale is None else scale
    if bias is None:
        return lambda query, key, value: _attend(query, key, value, width), tokens
    if not isinstance(bias, fx.Node) or not values[bias].is_floating_point():
        return None
    return lambda query, key, value, bias: _attend(query, key, value, width, bias), [*tokens, bias]


def _merging(graph: fx.GraphModule, node: fx.Node, values: dict[fx.Node, Any]) -> _Steps:
    """Swin's patch merging, which reads sizes only in ways that a tracer understands."""
    function: Any = node.target
    return (lambda x: function(x)), list(node.args)


def _windows(graph: fx.GraphModule, node: fx.Node, values: dict[fx.Node, Any]) -> _Steps:
    """Swin's attention within shifted windows, of the first version."""
    names = ("input", "qkv_weight", "proj_weight", "relative_position_bias", "window_size", "num_heads", "shift_size")
    given = _given(node, names)
    if given.get("logit_scale") is not None or len(node.args) > len(names):
        return None
    _, height, width, channels = values[given["input"]].shape
    (down, across), heads = given["window_size"], given["num_heads"]
    tall, wide = height + -height % down, width + -width % across
    # a window that covers everything is not shifted
    shift = (0 if down >= tall else given["shift_size"][0], 0 if across >= wide else given["shift_size"][1])
    rows, columns, tokens = tall // down, wide // across, down * across
    inputs = [given[name] for name in ("input", "qkv_weight", "proj_weight", "relative_position_bias")]
    inputs += [given.get("qkv_bias"), given.get("proj_bias")]
    if any(shift):
        name = f"{node.name}_mask"
        graph.register_buffer(name, _mask((tall, wide), (down, across), shift).to(values[given["input"]]))
        with graph.graph.inserting_before(node):
            inputs.append(graph.graph.get_attr(name))

    def steps(
        x: Tensor, qkv: Tensor, proj: Tensor, bias: Tensor, qkv_bias: Any, proj_bias: Any, mask: Tensor | None
    ) -> Tensor:
        x = F.pad(x, (0, 0, 0, wide - width, 0, tall - height))
        if any(shift):
            x = torch.roll(x, (-shift[0], -shift[1]), (1, 2))
        x = x.reshape(-1, rows, down, columns, across, channels).permute(0, 1, 3, 2, 4, 5)
        projected = F.linear(x.reshape(-1, tokens, channels), qkv, qkv_bias)
        split = projected.reshape(-1, tokens, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
        scores = torch.matmul(split[0] * (channels // heads) ** -0.5, split[1].transpose(-2, -1)) + bias
        if mask is not None:
            scores = scores.reshape(-1, rows * columns, heads, tokens, tokens) + mask
            scores = scores.reshape(-1, heads, tokens, tokens)
        mixed = torch.matmul(torch.softmax(scores, -1), split[2]).transpose(1, 2)
        x = F.linear(mixed.reshape(-1, tokens, channels), proj, proj_bias)
        x = x.reshape(-1, rows, columns, down, across, channels).permute(0, 1, 3, 2, 4, 5)
        x = x.reshape(-1, tall, wide, channels)
        if any(shift):
            x = torch.roll(x, shift, (1, 2))
        return x[:, :height, :width, :]

    if any(shift):
        return (lambda x, qkv, proj, bias, b, c, mask: steps(x, qkv, proj, bias, b, c, mask)), inputs
    return (lambda x, qkv, proj, bias, b, c: steps(x, qkv, proj, bias, b, c, None)), inputs


def _given(node: fx.Node, names: tuple[str, ...]) -> dict[str, Any]:
    """A call's arguments by their names."""
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _mask(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """-100 between pixels that only the shift brought into one window, [1, windows, 1, tokens, tokens]."""
    regions = torch.zeros(size)
    number = 0
    for rows in (slice(0, -window[0]), slice(-window[0], -shift[0]), slice(-shift[0], None)):
        for columns in (slice(0, -window[1]), slice(-window[1], -shift[1]), slice(-shift[1], None)):
            regions[rows, columns] = number
            number += 1
    regions = regions.view(size[0] // window[0], window[0], size[1] // window[1], window[1]).transpose(1, 2)
    regions = regions.reshape(-1, window[0] * window[1])
    apart = regions.unsqueeze(1) != regions.unsqueeze(2)
    return torch.where(apart, -100.0, 0.0)[None, :, None]


_STEPS: dict[str, Callable[[fx.GraphModule, fx.Node, dict[fx.Node, Any]], _Steps]] = {
    "scaled_dot_product_attention": _dot_product,
    "shifted_window_attention": _windows,
    "_patch_merging_pad": _merging,
}


def _is_common(module: nn.MultiheadAttention) -> bool:
    same_width = module._qkv_same_embed_dim and module.in_proj_weight is not None
    return bool(same_width and module.batch_first and module.bias_k is None and not module.add_zero_attn)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach(), requires_grad=weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach(), requires_grad=bias.requires_grad)
    return layer
