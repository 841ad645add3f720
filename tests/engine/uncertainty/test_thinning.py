"""Dropout with known masks: a thinned network equals one that was thinned by hand."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

import nni_widgets as nni
from nni_widgets.engine.uncertainty.thinning import Thinned


class Functional(nn.Module):
    """Dropout as functions that ask for the mode, on maps and on features."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3)
        self.fc1, self.fc2 = nn.Linear(8 * 4 * 4, 12), nn.Linear(12, 4)

    def forward(self, x):
        x = functional.dropout2d(functional.relu(self.conv1(x)), 0.4, self.training)
        x = functional.relu(self.conv2(x)).flatten(1)
        x = functional.dropout(x, p=0.3, training=False)
        return self.fc2(functional.dropout(functional.relu(self.fc1(x)), 0.5, self.training))


class Reused(nn.Module):
    """One dropout module, used twice."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(64, 20), nn.Linear(20, 20), nn.Linear(20, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.drop(functional.relu(self.fc1(x.flatten(1))))
        return self.fc3(self.drop(functional.relu(self.fc2(x))))


class Residual(nn.Module):
    """What comes before dropout is read again after it."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(64, 10), nn.Linear(10, 4)

    def forward(self, x):
        x = self.fc1(x.flatten(1))
        return self.fc2(x + functional.dropout(functional.relu(x), 0.5, self.training))


NETS = {
    "functional": Functional,
    "reused": Reused,
    "residual": Residual,
    "sequential": lambda: nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Dropout2d(0.5), nn.MaxPool2d(2), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(45, 10), nn.ReLU(), nn.Dropout(0.5), nn.Linear(10, 4),
    ),
    "selu": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.SELU(), nn.AlphaDropout(0.3), nn.Linear(16, 4)
    ),
}  # fmt: skip


def build(name, dtype=torch.float64):
    torch.manual_seed(3)
    return NETS[name]().eval().to(dtype), torch.rand(3, 1, 8, 8, dtype=dtype)


def factor(shape, p, sample, call=0, seed=0, kind=nn.Dropout):
    """What a call of dropout multiplies with, seen from outside."""
    model = nn.Sequential(*[kind(p) for _ in range(call + 1)])
    before = nn.Sequential(*[kind(p) for _ in range(call)])
    ones = torch.ones(1, *shape, dtype=torch.float64)
    if call == 0:
        return Thinned(model.eval(), sample, seed)(ones)[0]
    made = Thinned(model.eval(), sample, seed)(ones)[0]
    earlier = Thinned(before.eval(), sample, seed)(ones)[0]
    assert bool((earlier != 0).any())
    return torch.where(earlier == 0, 0.0, made / earlier)


def by_hand(p=0.5, sample=2, bias=True):
    """A network with dropout, and the same one with the weights of dropped units zeroed."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, bias=bias), nn.ReLU(), nn.Dropout2d(p), nn.Conv2d(6, 5, 3, bias=bias),
        nn.ReLU(), nn.Flatten(), nn.Linear(80, 4, bias=bias),
    ).eval().double()  # fmt: skip
    kept = factor((6, 6, 6), p, sample, kind=nn.Dropout2d)[:, 0, 0]
    thinned = copy.deepcopy(model)
    with torch.no_grad():
        thinned[3].weight *= kept[None, :, None, None]
    thinned[2].p = 0.0
    return model, thinned, torch.rand(3, 1, 8, 8, dtype=torch.float64)


METHODS = [
    nni.LRP(),
    nni.LRP(nni.Epsilon(1e-12)),
    nni.LRP(nni.Uniform(nni.AlphaBeta(2))),
    nni.LRP(through=("0", 1)),
    nni.DeepLIFT(),
    nni.DeepLIFT(reference=[0.0, 0.3]),
    nni.DeepTaylor(),
    nni.Gradient(),
    nni.GuidedBackprop(),
    nni.DeconvNet(layer="3"),
    nni.GradCAM(),
    nni.ScoreCAM(),
    nni.IntegratedGradients(n_steps=5),
    nni.SmoothGrad(n_samples=3),
    nni.Occlusion(window=3, stride=3),
    nni.SimpleTaylor(),
    nni.TranslationAverage(),
]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_methods_explain_the_network_that_is_thinned_by_hand(method):
    model, thinned, x = by_hand()
    ours, theirs = method(Thinned(model, 2), x, 1), method(thinned, x, 1)
    assert bool(theirs.abs().max() > 0)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_the_logits_are_those_of_the_network_that_is_thinned_by_hand():
    model, thinned, x = by_hand()
    torch.testing.assert_close(Thinned(model, 2)(x), thinned(x))
    assert not torch.allclose(Thinned(model, 2)(x), model(x))


def test_relevance_is_conserved_in_a_thinned_network():
    model, _, x = by_hand(bias=False)
    network = Thinned(model, torch.tensor([4, 9, 2]))
    relevance = nni.LRP(nni.Epsilon(1e-12))(network, x, 3)
    torch.testing.assert_close(relevance.sum((1, 2, 3)), network(x)[:, 3], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", [nni.DeepLIFT(), nni.IntegratedGradients(n_steps=200)], ids=repr)
def test_differences_are_those_of_one_thinned_network(method):
    model, x = build("functional")
    network = Thinned(model, 5)
    difference = (network(x) - network(torch.zeros_like(x)))[:, 2]
    total = method(network, x, 2).sum((1, 2, 3))
    torch.testing.assert_close(total, difference, rtol=1e-2, atol=1e-4)


def test_rows_with_a_network_of_their_own_cannot_be_sent_in_other_batches():
    model, x = build("functional")
    with pytest.raises(ValueError, match="samples must be one, or one for each row of x; got 3"):
        nni.DeepLIFT()(Thinned(model, torch.tensor([7, 8, 9])), x, 0)


@pytest.mark.parametrize("name", NETS)
def test_a_sample_is_the_same_network_in_every_batch(name):
    model, x = build(name)
    samples = torch.tensor([3, 40, 17])
    together = Thinned(model, samples)(x)
    for i, sample in enumerate(samples.tolist()):
        torch.testing.assert_close(together[i : i + 1], Thinned(model, sample)(x[i : i + 1]))
        torch.testing.assert_close(Thinned(model, sample)(x)[i], together[i])
    assert not torch.allclose(Thinned(model, 3)(x), Thinned(model, 4)(x))
    assert not torch.allclose(Thinned(model, 3, seed=1)(x), Thinned(model, 3)(x))


@pytest.mark.parametrize("name", NETS)
def test_all_networks_for_all_pictures(name):
    model, x = build(name)
    network = Thinned(model, torch.arange(5))
    if name == "residual":
        with pytest.raises(RuntimeError):
            network.each(x)
        return
    expected = torch.cat([Thinned(model, sample)(x) for sample in range(5)])
    torch.testing.assert_close(network.each(x), expected)


def test_half_of_the_units_stay_and_calls_and_samples_are_independent():
    first = torch.stack([factor((400,), 0.5, sample) for sample in range(40)])
    second = torch.stack([factor((400,), 0.5, sample, call=1) for sample in range(40)])
    assert first.unique().tolist() == [0.0, 2.0]
    assert abs(float(first.mean()) - 1) < 0.03
    both = first > 0
    assert len({tuple(row.tolist()) for row in both}) == 40
    known = first > 0  # the second call is seen only where the first one kept the unit
    assert abs(float((second[known] > 0).double().mean()) - 0.5) < 0.03
    centred = both.double() - 0.5
    between = (centred @ centred.T / 400)[~torch.eye(40, dtype=torch.bool)]
    assert float(between.abs().max()) < 0.07


@pytest.mark.parametrize(
    ("function", "shape", "same_over"),
    [
        (functional.dropout, (3, 4, 5), ()),
        (functional.dropout1d, (3, 4, 50), (2,)),
        (functional.dropout1d, (30, 4), (1,)),
        (functional.dropout2d, (3, 4, 5, 5), (2, 3)),
        (functional.dropout3d, (3, 4, 2, 5, 5), (2, 3, 4)),
        (functional.dropout3d, (30, 4, 5, 5), (1, 2, 3)),
        (functional.feature_alpha_dropout, (3, 4, 5, 5), (2, 3)),
    ],
)
def test_the_same_units_go_together_as_in_torch(function, shape, same_over):
    torch.manual_seed(0)
    trained = function(torch.ones(shape), 0.5, True)
    ours = Thinned(Call(function), torch.arange(shape[0]))(torch.ones(shape))
    for made in (trained, ours):
        assert len(made.unique()) == 2
        if same_over:
            first = made[tuple(slice(0, 1) if i in same_over else slice(None)
                               for i in range(made.ndim))]  # fmt: skip
            assert torch.equal(made, first.expand_as(made))
    torch.testing.assert_close(ours.unique(), trained.unique())


class Call(nn.Module):
    """A function, with dropout of a half in evaluation mode."""

    def __init__(self, function, p=0.5, **kwargs):
        super().__init__()
        self.function, self.p, self.kwargs = function, p, kwargs
        self.training = False

    def forward(self, x):
        return self.function(x, self.p, False, **self.kwargs)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("function", [functional.alpha_dropout, torch.alpha_dropout])
def test_alpha_dropout_scales_and_shifts_as_torch_does(function, p):
    for value in (1.0, -0.7):
        x = torch.full((1, 500), value, dtype=torch.float64)
        ours = Thinned(Call(function, p))(x)
        torch.testing.assert_close(ours.unique(), function(x, p, True).unique())


@pytest.mark.parametrize("function", [functional.dropout, torch.dropout, torch.feature_dropout])
def test_everything_or_nothing_may_be_dropped(function):
    x = torch.rand(2, 9)
    assert torch.equal(Thinned(Call(function, 1.0))(x), torch.zeros(2, 9))
    assert torch.equal(Thinned(Call(function, 0.0))(x), x)
    assert Thinned(Call(function, 0.0)).met == 0


@pytest.mark.parametrize("function", [functional.dropout, torch.dropout_])
def test_dropout_in_place_writes(function):
    class Writes(nn.Linear):
        def forward(self, x):
            x = x * 1
            function(x, 0.5, False, *[True] * (function is functional.dropout))
            return super().forward(x)

    class Returns(nn.Linear):
        def forward(self, x):
            return super().forward(functional.dropout(x * 1, 0.5))

    x = torch.rand(3, 20)
    writes = Writes(20, 4).eval()
    returns = Returns(20, 4).eval()
    returns.load_state_dict(writes.state_dict())
    written = Thinned(writes, torch.arange(3))
    assert torch.equal(written(x), Thinned(returns, torch.arange(3))(x))
    for method in (nni.Gradient(), nni.LRP(nni.Epsilon())):
        expected = method(Thinned(returns, torch.arange(3)), x, 0)
        assert 10 < int((expected == 0).sum()) < 50
        torch.testing.assert_close(method(written, x, 0), expected)


def test_live_dropout_gets_known_masks_too():
    class Live(nn.Module):
        def forward(self, x):
            return functional.dropout(x, 0.5, training=True)

    x = torch.rand(2, 30)
    network = Thinned(Live().eval(), 1)
    assert torch.equal(network(x), network(x))
    assert network.met == 1


def test_masks_do_not_depend_on_the_dtype():
    model, x = build("functional", torch.float32)
    exact = Thinned(copy.deepcopy(model).double(), 3)(x.double())
    torch.testing.assert_close(Thinned(model, 3)(x).double(), exact, rtol=1e-4, atol=1e-5)


def test_the_model_and_the_random_state_are_left_alone():
    model, x = build("sequential")
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    modes = {name: module.training for name, module in model.named_modules()}
    inside = {name: set(vars(module)) for name, module in model.named_modules()}
    nni.LRP()(Thinned(model, 1), x)
    with pytest.raises(ValueError, match="one for each row"):
        Thinned(model, torch.arange(2))(x)
    with pytest.raises(RuntimeError):
        Thinned(model, 1)(x[:, :, :3])
    assert torch.equal(torch.get_rng_state(), random)
    assert modes == {name: module.training for name, module in model.named_modules()}
    assert inside == {name: set(vars(module)) for name, module in model.named_modules()}
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(functional.dropout(x, 0.5, training=False), x)  # the mode has ended


def test_layers_keep_their_names():
    model, x = build("functional")
    ours = [label for label in nni.layers(Thinned(model), x) if not label.startswith("mul")]
    assert ours == [label for label in nni.layers(model, x) if "dropout" not in label]
    table = {"conv1": nni.Flat(), "fc*": nni.Gamma(0.3), "*": nni.Epsilon()}
    assert nni.LRP(table)(Thinned(model), x).shape == x.shape


def test_a_thread_sees_the_same_network():
    model, x = build("functional")
    network, made = Thinned(model, 6), []
    thread = threading.Thread(target=lambda: made.append(network(x)))
    thread.start()
    thread.join()
    assert torch.equal(made[0], network(x))


def test_masks_first_drawn_in_inference_mode_serve_gradients():
    model, x = build("functional")
    network = Thinned(model, 6)
    with torch.inference_mode():
        network(x)
    assert nni.Gradient()(network, x).isfinite().all()


def test_the_batch_must_be_the_first_axis_of_what_dropout_reads():
    class Turned(nn.Module):
        def forward(self, x):
            return functional.dropout(x.T, 0.5).T

    with pytest.raises(nni.UnsupportedOperation, match=r"^Thinned: what dropout reads must be a"):
        Thinned(Turned().eval())(torch.rand(3, 7))


class Recurrent(nn.Module):
    """Dropout between the layers of a recurrent network, and one behind it."""

    def __init__(self, kind=nn.LSTM, layers=2, p=0.5):
        super().__init__()
        self.rows = kind(7, 7, layers, dropout=p, batch_first=True)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(7, 3)

    def forward(self, x):
        return self.last(self.drop(self.rows(x)[0][:, -1]))


class Packed(Recurrent):
    """As above, of a packed sequence."""

    def forward(self, x):
        packed = nn.utils.rnn.pack_padded_sequence(x, [5] * len(x), batch_first=True)
        return self.last(self.drop(self.rows(packed)[1][0][-1]))


class Attention(nn.Module):
    """Dropout inside attention, and one behind it."""

    def __init__(self, p=0.5):
        super().__init__()
        self.rows = nn.MultiheadAttention(7, 1, dropout=p, batch_first=True)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(7, 3)

    def forward(self, x):
        return self.last(self.drop(self.rows(x, x, x)[0].mean(1)))


class Scaled(nn.Module):
    """Attention as a function, with dropout in any mode."""

    def forward(self, x):
        attended = functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5)
        return functional.dropout(attended.mean(1), 0.5)


@pytest.mark.parametrize(
    "model",
    [Recurrent(), Recurrent(nn.GRU), Recurrent(nn.RNN), Packed(), Attention(), Scaled()],
    ids=["lstm", "gru", "rnn", "packed", "attention", "function"],
)
def test_dropout_that_takes_no_mask_is_refused_not_left_out(model):
    x = torch.rand(2, 5, 7)
    with pytest.raises(nni.UnsupportedOperation, match=r"^Thinned: dropout must be a call of its"):
        Thinned(model.eval())(x)
    with pytest.raises(nni.UnsupportedOperation, match=r"^Thinned: dropout must be a call of its"):
        nni.MCDropout(n_samples=2)(model.eval(), x)


@pytest.mark.parametrize(
    "model", [Recurrent(p=0.0), Recurrent(layers=1, p=0.0), Packed(p=0.0), Attention(p=0.0)]
)
def test_recurrent_layers_and_attention_without_dropout_are_thinned(model):
    samples = nni.MCDropout(n_samples=4)(model.eval(), torch.rand(2, 5, 7)).logits
    assert (samples[0] != samples[1]).any()


def test_a_model_in_training_mode_is_refused_and_named():
    model, x = build("sequential")
    model[8].train()
    with pytest.raises(ValueError, match=r"got training mode \(in '8'\)"):
        nni.LRP()(Thinned(model), x)


def test_numbers_far_apart_cost_no_more_than_others():
    model, x = build("functional")
    far = torch.tensor([2**31, 0, 2**31 + 40])
    together = Thinned(model, far)(x)
    for i, sample in enumerate(far.tolist()):
        torch.testing.assert_close(together[i : i + 1], Thinned(model, sample)(x[i : i + 1]))


@pytest.mark.parametrize("samples", [-1, 0.5, torch.tensor([]), "a", None, [], True])
def test_samples_are_whole_numbers(samples):
    with pytest.raises(ValueError, match=r"^Thinned: samples must be whole numbers"):
        Thinned(nn.Dropout().eval(), samples)
