"""Dropout, ensembles and noise as sources of answers: each equals the plain loop."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import nni_widgets as nni
from nni_widgets.engine.methods.noise import noise
from nni_widgets.engine.uncertainty import sources
from nni_widgets.engine.uncertainty.sources import Ensemble, InputNoise, MCDropout
from nni_widgets.engine.uncertainty.thinning import Thinned


class Dense(nn.Module):
    """Convolution, then dropout before the only dense layer; it counts the rows of each part."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.drop = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 5), nn.Dropout(0.5)
        self.rows = {"conv": [], "fc": []}

    def forward(self, x):
        self.rows["conv"].append(len(x))
        x = self.drop(functional.relu(self.conv(x)).flatten(1))
        self.rows["fc"].append(len(x))
        return self.fc(x)


class Skip(Dense):
    """The same, with the input read again after dropout."""

    def forward(self, x):
        return super().forward(x) + x.mean((1, 2, 3))[:, None]


class Twice(nn.Module):
    """Two branches, each with a dropout of its own, one of them twice as deep."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(64, 9), nn.Linear(64, 9), nn.Linear(9, 5)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        x = x.flatten(1)
        left = self.drop(functional.relu(self.a(x)))
        right = self.drop(self.drop(functional.relu(self.b(x))))
        return self.c(left + right)


def build(net=Dense):
    torch.manual_seed(2)
    return net().eval().double(), torch.rand(3, 1, 8, 8, dtype=torch.float64)


@pytest.mark.parametrize("net", [Dense, Skip, Twice])
def test_dropout_answers_as_its_networks_do_one_by_one(net):
    model, x = build(net)
    prediction = MCDropout(n_samples=20, seed=3)(model, x)
    expected = torch.stack([Thinned(model, sample, seed=3)(x) for sample in range(20)])
    torch.testing.assert_close(prediction.logits, expected)
    assert (prediction.done, prediction.of) == (20, 20)
    assert float(prediction.deviation.min()) > 0


@pytest.mark.parametrize("net", [Dense, Skip])
@pytest.mark.parametrize("source", [MCDropout(n_samples=9), InputNoise(n_samples=9)], ids=repr)
def test_answers_do_not_depend_on_batch_and_chunk(net, source, monkeypatch):
    model, x = build(net)
    logits = source(model, x).logits
    alone = torch.cat([source(model, x[i : i + 1]).logits for i in range(3)], 1)
    torch.testing.assert_close(alone, logits)
    monkeypatch.setattr(sources, "_BUDGET", 1)
    monkeypatch.setattr(sources, "_TOGETHER", 3)
    monkeypatch.setattr(sources, "rows_without_graph", lambda *_: 4)
    *_, last = steps = list(source.steps(model, x))
    assert len(steps) > 1
    torch.testing.assert_close(last.logits, logits)


def test_what_comes_before_dropout_is_computed_once():
    model, x = build()
    MCDropout(n_samples=30)(model, x)
    model.rows = {"conv": [], "fc": []}
    MCDropout(n_samples=30)(model, x)
    assert model.rows == {"conv": [3], "fc": [90]}


def test_predictions_come_step_by_step(monkeypatch):
    monkeypatch.setattr(sources, "_MOST", 4)
    model, x = build()
    steps = list(MCDropout(n_samples=10).steps(model, x))
    assert [step.done for step in steps] == [4, 8, 10]
    assert {step.of for step in steps} == {10}
    for step in steps:
        torch.testing.assert_close(step.logits, steps[-1].logits[: step.done])


def test_networks_scatter_around_the_whole_one():
    model, x = build()
    logits = MCDropout(n_samples=3000)(model, x).logits
    error = (logits.mean(0) - model(x).detach()) / (logits.std(0) / 3000**0.5)
    assert float(error.abs().max()) < 4.5


def test_the_seed_decides():
    model, x = build()
    again = [MCDropout(n_samples=5, seed=seed)(model, x).logits for seed in (0, 0, 1)]
    assert torch.equal(again[0], again[1])
    assert not torch.allclose(again[0], again[2])


def test_batch_norm_stays_as_it_is():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(), nn.Linear(108, 4)
    ).eval()
    x, before = torch.rand(2, 1, 8, 8), copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    MCDropout(n_samples=5)(model, x)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_bundled_network_with_dropout():
    model, (x, y) = nni.models.load("digits-cnn-designed"), nni.data.digits("test")[:5]
    prediction = MCDropout(n_samples=50)(model, x)
    assert prediction.predicted.tolist() == y.tolist()
    assert bool((prediction.mutual_information > 0).all())
    assert bool((prediction.mutual_information <= prediction.entropy).all())


@pytest.mark.parametrize("drop", [nn.Identity(), nn.Dropout(0.0)])
def test_a_model_without_dropout_is_refused(drop):
    model = nn.Sequential(nn.Flatten(), drop, nn.Linear(64, 3)).eval()
    match = r"^MCDropout: the model must be one with dropout \(p > 0\); got a model without\. Use"
    for _ in range(2):
        with pytest.raises(ValueError, match=match):
            MCDropout()(model, torch.rand(1, 1, 8, 8))


def test_dropout_that_is_taken_away_later_is_noticed():
    model, x = build()
    MCDropout(n_samples=4)(model, x)
    model.drop.p = 0.0
    with pytest.raises(ValueError, match="must be one with dropout"):
        MCDropout(n_samples=4)(model, x)


def test_bad_input_is_refused_in_one_sentence():
    model, x = build()
    with pytest.raises(ValueError, match=r"^MCDropout: x must be an input that the model can take"):
        MCDropout()(model, x[:, :, :4])
    with pytest.raises(ValueError, match=r"^MCDropout: x must be finite numbers"):
        MCDropout()(model, x / 0)
    with pytest.raises(ValueError, match=r"^InputNoise: the model must be in evaluation mode"):
        InputNoise()(nn.Dropout().train(), x)
    with pytest.raises(ValueError, match=r"^MCDropout: n_samples must be a whole number from 1"):
        MCDropout(n_samples=0)
    with pytest.raises(ValueError, match=r"^MCDropout: model must be a torch\.nn\.Module"):
        MCDropout()([model], x)
    assert torch.equal(functional.dropout(x, 0.5, training=False), x)


def test_inference_mode_of_the_caller():
    model, x = build()
    with torch.inference_mode():
        inside = MCDropout(n_samples=4)(model, x + 0).logits
    torch.testing.assert_close(inside, MCDropout(n_samples=4)(model, x).logits)


class Members(nn.Module):
    def __init__(self, members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x):
        return torch.stack([member(x) for member in self.members]).mean(0)


def members(count=3):
    torch.manual_seed(5)
    nets = (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)) for _ in range(count))
    return [net.eval().double() for net in nets]


@pytest.mark.parametrize("wrap", [list, tuple, nn.ModuleList, lambda nets: Members(nets).eval()])
def test_an_ensemble_is_a_module_with_members_or_a_list(wrap):
    nets, x = members(), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    expected = torch.stack([net(x) for net in nets])
    torch.testing.assert_close(Ensemble()(wrap(nets), x).logits, expected)
    assert Ensemble(n_members=2)(wrap(nets), x).of == 2
    assert Ensemble(n_members=np.int64(2))(wrap(nets), x).of == 2


@pytest.mark.parametrize("error", [AssertionError, KeyError])
def test_a_model_may_check_its_rows_itself(error):
    class Checks(Dense):
        def forward(self, x):
            rows = super().forward(x)
            if len(rows) != len(x):
                raise error
            return rows

    model, x = build(Checks)
    expected = torch.stack([Thinned(model, sample)(x) for sample in range(4)])
    torch.testing.assert_close(MCDropout(n_samples=4)(model, x).logits, expected)


@pytest.mark.parametrize("kind", [tuple, dict])
def test_what_is_no_tensor_of_logits(kind):
    class Wraps(Dense):
        def forward(self, x):
            return kind([("logits", super().forward(x))])

    model, x = build(Wraps)
    with pytest.raises(ValueError, match="MCDropout: the model's output must be a tensor of logi"):
        MCDropout(n_samples=4)(model, x)


def test_what_is_no_ensemble():
    nets, x = members(), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"^Ensemble: model must be a module with members, or"):
        Ensemble()(nets[0][1], x)
    with pytest.raises(ValueError, match=r"^Ensemble: model must be"):
        Ensemble()([], x)
    with pytest.raises(ValueError, match=r"^Ensemble: model must be a torch\.nn\.Module; got str"):
        Ensemble()([nets[0], "net"], x)
    with pytest.raises(ValueError, match=r"^Ensemble: n_members must be from 1 to 3"):
        Ensemble(n_members=4)(nets, x)
    with pytest.raises(ValueError, match=r"^Ensemble: n_members must be None or a whole number"):
        Ensemble(n_members=1.5)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval().double()
    with pytest.raises(ValueError, match=r"^Ensemble: the number of classes must be that of all"):
        Ensemble()([*nets, other], x)


def test_noise_as_a_share_of_the_range():
    model, x = build()
    source = InputNoise(noise_level=0.2, n_samples=6, seed=4)
    sigma = 0.2 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))[:, None, None, None]
    copies = [x + sigma * each for each in noise(torch.arange(6), x, 4)]
    expected = torch.stack([model(each) for each in copies])
    torch.testing.assert_close(source(model, x).logits, expected)
    assert not InputNoise(noise_level=0, n_samples=3)(model, x).deviation.any()
