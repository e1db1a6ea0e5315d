"""What the canonical form does to a network, one thing at a time."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import ShiftedWindowAttention

from xaicli.models.canonical import canonical
from xaicli.models.lifting import Add, Cat, MatMul, Mean, Multiply
from xaicli.models.tracing import CanonicalError, traceable


class Net(nn.Module):
    """A forward in one line over some parts."""

    def __init__(self, run: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def images(*shape: int) -> Tensor:
    return torch.randn(*(shape or (2, 3, 6, 6)), dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def form_of(network: nn.Module, x: Tensor | None = None, *, fold: bool = False) -> fx.GraphModule:
    """The form, after its outputs were found equal on other images than it was checked on."""
    x = images() if x is None else x
    network = network.double()
    form = canonical(network, x, fold=fold)
    other = x.flip(0) * 1.7 + 0.1
    with torch.no_grad():
        expected = network.eval()(other.clone())
        torch.testing.assert_close(form(other), expected, rtol=0, atol=1e-12)
    return form


def kinds(form: fx.GraphModule) -> list[str]:
    """Module types in the order of their calls, and functions by name."""
    named = []
    for node in form.graph.nodes:
        if node.op == "call_module":
            named.append(type(form.get_submodule(node.target)).__name__)
        elif node.op.startswith("call"):
            named.append(getattr(node.target, "__name__", str(node.target)))
    return named


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda self, x: F.relu(x), ["ReLU"]),
        (lambda self, x: torch.relu(x), ["ReLU"]),
        (lambda self, x: x.relu(), ["ReLU"]),
        (lambda self, x: (x * 1).relu_(), ["mul", "ReLU"]),
        (lambda self, x: F.relu(x * 1, inplace=True), ["mul", "ReLU"]),
        (lambda self, x: F.relu(x * 1, True), ["mul", "ReLU"]),
        (lambda self, x: F.relu_(x * 1), ["mul", "ReLU"]),
        (lambda self, x: F.relu(input=x), ["ReLU"]),
        (lambda self, x: F.relu6(x), ["ReLU6"]),
        (lambda self, x: F.leaky_relu(x, 0.3), ["LeakyReLU"]),
        (lambda self, x: F.elu(x, alpha=0.5), ["ELU"]),
        (lambda self, x: F.hardtanh(x, -0.2, 0.4), ["Hardtanh"]),
        (lambda self, x: F.gelu(x, approximate="tanh"), ["GELU"]),
        (lambda self, x: F.silu(x) + F.mish(x), ["SiLU", "Mish", "Add"]),
        (lambda self, x: F.hardswish(x) * F.hardsigmoid(x), ["Hardswish", "Hardsigmoid", "Multiply"]),
        (lambda self, x: x.sigmoid() * torch.tanh(x), ["Sigmoid", "Tanh", "Multiply"]),
        (lambda self, x: F.softplus(x, 2), ["Softplus"]),
        (lambda self, x: F.softmax(x, 1) @ torch.softmax(x, dim=3), ["Softmax", "Softmax", "MatMul"]),
        (lambda self, x: torch.add(x, x.mul(x)), ["Multiply", "Add"]),
        (lambda self, x: torch.add(x, x, alpha=2), ["add"]),
        (lambda self, x: x + 2 * x, ["mul", "Add"]),
        (lambda self, x: (x * 1).add_(x), ["mul", "Add"]),
        (lambda self, x: operator.iadd(x * 1, x), ["mul", "Add"]),
        (lambda self, x: torch.einsum("nchw,ncwk->nchk", x, x), ["Einsum"]),
        (lambda self, x: torch.cat([x, x.neg(), x], 1), ["neg", "Cat"]),
        (lambda self, x: x.mean([2, 3]), ["Mean"]),
        (lambda self, x: torch.mean(x, (2, 3), keepdim=True), ["Mean"]),
        (lambda self, x: torch.flatten(x, 1), ["Flatten"]),
        (lambda self, x: x.flatten(2), ["Flatten"]),
        (lambda self, x: F.adaptive_avg_pool2d(x, 2), ["AdaptiveAvgPool2d"]),
        (lambda self, x: F.avg_pool2d(x, 3, stride=1, padding=1), ["AvgPool2d"]),
        (lambda self, x: F.max_pool2d(x, 3, 2, 1), ["MaxPool2d"]),
        (lambda self, x: F.layer_norm(x, (6,)), ["LayerNorm"]),
        (lambda self, x: F.dropout(x, 0.5, training=self.training), []),
        (lambda self, x: x.view(x.size(0), x.shape[1] * 36).clamp_(0, 1), ["size", "getattr", "getitem", "mul"]),
    ],
)
def test_functions_become_modules(run: Callable[..., Tensor], expected: list[str]) -> None:
    assert kinds(form_of(Net(run)))[: len(expected)] == expected


def test_the_modules_of_ours() -> None:
    x, y = images(), images().flip(0)
    assert torch.equal(Add()(x, y), x + y) and torch.equal(Multiply()(x, y), x * y)
    assert torch.equal(MatMul()(x, y), x @ y) and torch.equal(Cat(1)(x, y), torch.cat([x, y], 1))
    assert torch.equal(Mean((2, 3), True)(x), x.mean((2, 3), keepdim=True))


def test_a_module_called_twice_becomes_two_that_share_their_parameters() -> None:
    network = Net(lambda self, x: self.conv(self.act(self.conv(self.act(x)))), conv=nn.Conv2d(3, 3, 1), act=nn.PReLU())
    form = form_of(network)
    calls = [node.target for node in form.graph.nodes if node.op == "call_module"]
    assert calls == ["act", "conv", "act_1", "conv_1"]
    assert form.conv is not form.conv_1 and form.conv.weight is form.conv_1.weight is network.conv.weight


def test_what_was_changed_in_place_is_what_later_operations_read() -> None:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.relu(y)  # the result is not used, the changed tensor is
        return y + self.conv(x)

    form = form_of(Net(run, conv=nn.Conv2d(3, 4, 3), relu=nn.ReLU(inplace=True)))
    assert kinds(form) == ["Conv2d", "ReLU", "Conv2d", "Add"]
    assert not form.relu.inplace


def test_a_shared_module_that_works_in_place_does_so_at_every_call() -> None:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        y, z = self.conv(x), self.conv(-x)
        self.relu(y)
        self.relu(z)
        torch.clamp_(y, 0.1, 0.5)
        z.mul_(3)
        return torch.where((y > 0.2) & (z > 0.2), y, z)

    found = kinds(form_of(Net(run, conv=nn.Conv2d(3, 4, 3), relu=nn.ReLU(inplace=True))))
    assert found == ["Conv2d", "neg", "Conv2d", "ReLU", "ReLU", "clamp", "mul", "gt", "gt", "and_", "where"]
    with pytest.raises(CanonicalError, match="it changes a tensor in place by 'zero_'"):
        canonical(Net(lambda self, x: (x * 1).zero_()), images())


def test_the_network_stays_as_it_is_and_its_parameters_are_shared() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten())
    network = network.double().train()
    network[4].eval()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = images()
    given = x.clone()
    forms = canonical(network, x), canonical(network, x, fold=True)
    assert [module.training for module in network] == [True, True, True, True, False] and network[2].inplace
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(x, given) and len(network) == 5
    assert forms[0].get_submodule("0").weight is network[0].weight
    assert forms[1].get_submodule("0").weight is not network[0].weight
    assert not any(module.training for form in forms for module in form.modules())


def norms(*, fresh: bool) -> tuple[nn.BatchNorm2d, nn.BatchNorm1d]:
    found = nn.BatchNorm2d(4), nn.BatchNorm1d(5)
    for norm in () if fresh else found:
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return found


def test_folding() -> None:
    flat, dense = norms(fresh=False)
    layers = [nn.Conv2d(3, 4, 3, bias=False), flat, nn.ReLU(), nn.Flatten(), nn.Linear(64, 5), dense]
    assert kinds(form_of(nn.Sequential(*layers), fold=True)) == ["Conv2d", "ReLU", "Flatten", "Linear"]
    assert kinds(form_of(nn.Sequential(*layers))).count("BatchNorm2d") == 1


def test_a_norm_is_not_folded_where_another_reads_the_layer_or_the_order_is_wrong() -> None:
    norm, _ = norms(fresh=False)
    both = Net(lambda self, x: (y := self.conv(x)) + self.norm(y), conv=nn.Conv2d(3, 4, 3), norm=norm)
    assert kinds(form_of(both, fold=True)) == ["Conv2d", "BatchNorm2d", "Add"]
    turned = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), norm)
    assert kinds(form_of(turned, fold=True)) == ["Conv2d", "ReLU", "BatchNorm2d"]
    batchwise = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    assert kinds(canonical(batchwise.double(), images(), fold=True)) == ["Conv2d", "BatchNorm2d"]


def test_functional_norms_share_the_networks_tensors() -> None:
    norm, _ = norms(fresh=False)

    def run(self: nn.Module, x: Tensor) -> Tensor:
        n = self.norm
        y = F.batch_norm(self.conv(x), n.running_mean, n.running_var, n.weight, n.bias, self.training, 0.1, 1e-3)
        return F.layer_norm(y, (4, 4), self.layer.weight, self.layer.bias, 1e-4)

    network = Net(run, conv=nn.Conv2d(3, 4, 3), norm=norm, layer=nn.LayerNorm((4, 4)))
    nn.init.normal_(network.layer.weight)
    form = form_of(network)
    assert kinds(form) == ["Conv2d", "BatchNorm2d", "LayerNorm"]
    assert form.batch_norm.weight is network.norm.weight and form.layer_norm.bias is network.layer.bias
    assert kinds(form_of(network, fold=True)) == ["Conv2d", "LayerNorm"]


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_opened(bias: bool) -> None:
    attention = nn.MultiheadAttention(8, 2, bias=bias, batch_first=True)
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    network = Net(lambda self, x: self.attention(x, x.flip(1), 2 * x, need_weights=False)[0], attention=attention)
    form = form_of(network, images(2, 5, 8))
    assert kinds(form).count("MatMul") == 2 and kinds(form).count("Softmax") == 1
    assert type(network.attention) is nn.MultiheadAttention
    assert form.attention.query.weight.data_ptr() == attention.in_proj_weight.data_ptr()


def test_arguments_other_than_the_images_keep_their_defaults() -> None:
    class Masked(nn.Module):
        def forward(
            self, mask_free: Tensor, mask: Tensor | None = None, power: int = 2, *, plain: bool = True
        ) -> Tensor:
            if mask is not None:
                mask_free = mask_free * mask
            return mask_free.relu() + power if plain else mask_free

    form = form_of(Masked())
    assert kinds(form) == ["ReLU", "add"]
    assert [node.op for node in form.graph.nodes].count("placeholder") == 1


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("side", [8, 6])
def test_shifted_windows_are_opened(shift: int, side: int) -> None:
    attention = ShiftedWindowAttention(8, [4, 4], [shift, shift], 2)
    network = Net(lambda self, x: self.norm(self.attention(x)), attention=attention, norm=nn.LayerNorm(8))
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    found = kinds(form_of(network, images(3, side, side, 8)))
    assert found.count("MatMul") == 2 and found.count("Linear") == 2 and found.count("Softmax") == 1
    assert found.count("roll") == (2 if shift else 0) and "shifted_window_attention" not in found


def test_attention_as_a_function_is_opened() -> None:
    def run(self: nn.Module, x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, 1)
        return F.scaled_dot_product_attention(q, k.flip(3), v) + F.scaled_dot_product_attention(v, k, q, scale=0.3)

    found = kinds(form_of(Net(run)))
    assert found.count("MatMul") == 4 and found.count("Softmax") == 2


def test_attention_as_a_function_with_a_bias_on_its_scores_is_opened() -> None:
    class Biased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.randn(1, 3, 6, 6))

        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x.flip(3), x, attn_mask=self.bias)

    assert kinds(form_of(Biased())).count("Softmax") == 1


def test_attention_with_other_masks_stays_closed() -> None:
    causal = Net(lambda self, x: F.scaled_dot_product_attention(x, x, x, is_causal=True))
    assert kinds(form_of(causal)) == ["scaled_dot_product_attention"]


def test_what_cannot_be_rewritten_is_refused_with_the_reason() -> None:
    def branch(self: nn.Module, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x

    assert traceable(nn.Flatten()) is None
    assert "symbolically traced variables cannot be used as inputs to control flow" in str(traceable(Net(branch)))
    with pytest.raises(CanonicalError, match=r"Net cannot be traced .*such as integrated-gradients") as caught:
        canonical(Net(branch), images())
    assert "\n" not in str(caught.value) and caught.value.exit_code == 69
    with pytest.raises(CanonicalError, match="its 'dropout' is random in evaluation mode as well"):
        canonical(Net(lambda self, x: F.dropout(x, 0.5)), images())
    sealed = nn.ReLU()
    sealed.lock = threading.Lock()
    with pytest.raises(CanonicalError, match=r"ReLU cannot be copied .*lock"):
        canonical(sealed, images())
    with pytest.raises(CanonicalError, match="it returns tuple instead of one tensor of logits"):
        canonical(Net(lambda self, x: (x, x)), images())


def test_a_form_with_other_logits_is_refused() -> None:
    class Counting(nn.Module):
        """Depends on how often Python has run it, which a graph cannot know."""

        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls

    with pytest.raises(CanonicalError, match=r"rewritten, its logits differ by .*, more than"):
        canonical(Counting(), images())
