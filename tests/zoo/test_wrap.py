"""A network of one's own in one line: what it carries, what it refuses, and what methods see."""

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nni_widgets as nni
from nni_widgets.engine.canonizers import canonical
from nni_widgets.engine.tape import record
from nni_widgets.zoo.wrap import wrap

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = ("cat", "dog", "hen")


def network(n_inputs=3):
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(n_inputs, 4, 3),
            body=nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3)),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(5, 3),
        )
    ).eval()


class AsTorchvision(nn.Module):
    """Normalises as torchvision's transform does: on a copy, in place."""

    def forward(self, x):
        x = x.clone()
        mean = torch.as_tensor(MEAN, dtype=x.dtype).view(-1, 1, 1)
        return x.sub_(mean).div_(torch.as_tensor(STD, dtype=x.dtype).view(-1, 1, 1))


def by_hand(x):
    return (x - x.new_tensor(MEAN)[:, None, None]) / x.new_tensor(STD)[:, None, None]


WAYS = [(MEAN, STD), by_hand, AsTorchvision().eval()]


@pytest.fixture
def net():
    return network()


@pytest.fixture
def x():
    return torch.rand(2, 3, 8, 8)


def test_it_carries_what_methods_and_explorers_ask_for(net, x):
    model = wrap(net, CLASSES, low=-1, high=[1, 2, 3], input_shape=[3, 8, 8])
    assert model.classes == CLASSES
    assert (model.low, model.high) == (-1.0, (1.0, 2.0, 3.0))
    assert model.input_shape == (3, 8, 8)
    assert torch.equal(model(x), net(x))
    bare = wrap(net)
    assert (bare.classes, bare.low, bare.high, bare.input_shape) == ((), 0.0, 1.0, None)


@pytest.mark.parametrize("preprocess", WAYS)
def test_pixels_are_preprocessed(net, x, preprocess):
    before = x.clone()
    assert torch.allclose(wrap(net, preprocess=preprocess)(x), net(by_hand(x)), atol=1e-6)
    assert torch.equal(x, before)


def test_one_number_serves_all_channels(net, x):
    model = wrap(net, preprocess=(0.5, 0.25))
    assert torch.allclose(model(x), net((x - 0.5) / 0.25), atol=1e-6)


def test_an_explanation_shows_its_classes(net, x):
    explanation = nni.explain(wrap(net, CLASSES), x, nni.Saliency())
    assert set(explanation.predicted) <= set(CLASSES)


def test_layers_keep_their_names(net, x):
    names = list(nni.layers(net, x))
    assert names == ["conv1", "body.1", "body.2", "pool", "flatten", "fc"]
    assert list(nni.layers(wrap(net), x)) == names
    assert list(nni.layers(wrap(wrap(net)), x)) == names
    assert list(nni.layers(wrap(net, preprocess=(MEAN, STD)), x)) == [
        *("preprocess", "preprocess#2"),
        *names,
    ]
    assert list(nni.layers(wrap(net, preprocess=by_hand), x)) == ["sub", "div", *names]


def test_layers_are_found_by_the_names_that_they_keep(net):
    for model in (wrap(net, preprocess=(MEAN, STD)), wrap(wrap(net))):
        for name in ("conv1", "body.2", "fc"):
            assert model.get_submodule(name) is net.get_submodule(name)
        for name, weight in net.named_parameters():
            assert model.get_parameter(name) is weight
        assert model.get_submodule("") is model
        assert model.get_submodule("module") is model.module
    with pytest.raises(AttributeError, match="has no attribute `nose`"):
        wrap(net).get_submodule("nose")


def test_calls_in_the_modules_own_forward_have_no_path(x):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(F.relu(self.conv(x)).mean((2, 3)))

    assert list(nni.layers(wrap(Net().eval()), x)) == ["conv", "relu", "mean", "fc"]
    assert list(nni.layers(wrap(nn.Linear(8, 3).eval()), torch.rand(2, 8))) == ["linear"]


def test_every_module_and_weight_is_there_once(net):
    model = wrap(net, preprocess=(MEAN, STD))
    assert [name for name, _ in model.named_parameters()] == [n for n, _ in net.named_parameters()]
    parts = list(model.modules())
    assert len(parts) == len(set(parts))
    assert set(parts) == {model, model.preprocess, *net.modules()}
    twice = list(nn.ModuleList([model, model]).modules())
    assert len(twice) == len(set(twice)) == 1 + len(parts)


@pytest.mark.parametrize("preprocess", WAYS)
@pytest.mark.parametrize("rules", [nni.EpsilonPlus(), nni.Epsilon(), nni.EpsilonPlusFlat()])
def test_constants_before_the_first_layer_pass_all_relevance(net, x, preprocess, rules):
    method = nni.LRP(rules)
    expected = method(net, by_hand(x), target=1)
    relevance = method(wrap(net, preprocess=preprocess), x, target=1)
    assert torch.allclose(relevance, expected, atol=1e-6)
    *_, result = method.steps(wrap(net, preprocess=preprocess), x, 1, layers=True)
    constants = [layer for layer in result.layers if layer.label not in nni.layers(net, x)]
    assert constants
    for layer in constants:
        assert all(lost.abs().max() < 1e-6 for lost in layer.lost.values()), layer


@pytest.mark.parametrize("method", [nni.GuidedBackprop(), nni.Saliency(), nni.DeconvNet()])
def test_gradients_are_those_of_the_pixels(net, x, method):
    expected = method(net, by_hand(x), target=1) / torch.tensor(STD)[:, None, None]
    assert torch.allclose(method(wrap(net, preprocess=(MEAN, STD)), x, target=1), expected)


@pytest.mark.parametrize("method", [nni.CAM(), nni.GradCAM(layer="body.1"), nni.LayerCAM()])
def test_maps_are_those_of_the_module(net, x, method):
    expected = method(net, by_hand(x), target=2)
    relevance = method(wrap(net, preprocess=by_hand), x, target=2)
    assert torch.allclose(relevance, expected, atol=1e-6)


def test_a_rule_finds_its_layer_by_name(net, x):
    table = {"conv1": nni.Flat(), "body.*": nni.ZPlus(), "*": nni.Epsilon()}
    assert nni.LRP(table)(wrap(net, preprocess=(MEAN, STD)), x).isfinite().all()


def test_the_module_is_not_changed(net):
    before, state = copy.deepcopy(net.__dict__), copy.deepcopy(net.state_dict())
    random = torch.get_rng_state()
    wrap(net, CLASSES, preprocess=(MEAN, STD), input_shape=(3, 8, 8))
    wrap(net, CLASSES, preprocess=lambda x: x + torch.rand_like(x), input_shape=(3, 8, 8))
    assert net.__dict__.keys() == before.keys()
    assert net.training is before["training"]
    assert not net._forward_hooks
    assert all(torch.equal(net.state_dict()[name], state[name]) for name in state)
    assert torch.equal(torch.get_rng_state(), random)


def test_the_mode_is_the_modules(net, x):
    model = wrap(net.train(), CLASSES, preprocess=(MEAN, STD), input_shape=(3, 8, 8))
    assert model.training
    assert int(net.body[0].num_batches_tracked) == 0, "it is not tried out in training mode"
    with pytest.raises(ValueError, match="the model must be in evaluation mode"):
        nni.Saliency()(model, x)
    assert not model.eval().module.training
    assert nni.Saliency()(model, x).isfinite().all()
    assert not wrap(net).training


def test_a_part_in_training_mode_is_named(net, x):
    with pytest.raises(ValueError, match=r"got training mode .in 'preprocess'"):
        nni.Saliency()(wrap(net, preprocess=nn.Sequential(nn.Dropout())), x)
    net.body.train()
    with pytest.raises(ValueError, match=r"got training mode .in 'body'"):
        nni.Saliency()(wrap(net), x)


def test_weights_are_shared_and_dtypes_follow(net, x):
    net = net.double()
    model = wrap(net, preprocess=(MEAN, STD), input_shape=(3, 8, 8))
    assert model(x.double()).dtype == torch.float64
    assert float(model.preprocess.mean[0]) == MEAN[0]
    with torch.no_grad():
        net.fc.bias += 1
    assert torch.allclose(model(x.double()), net(by_hand(x.double())), atol=1e-12)
    assert wrap(network(), preprocess=(MEAN, STD)).double()(x.double()).dtype == torch.float64


def test_it_can_be_copied(net, x):
    model = wrap(net, CLASSES, preprocess=(MEAN, STD))
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x))
    assert twin.module is not net
    twin.load_state_dict(model.state_dict())
    assert list(nni.layers(twin, x)) == list(nni.layers(model, x))


def test_its_tape_has_the_modules_operations_and_no_more(net, x):
    kinds = [op.kind for op in canonical(record(wrap(net), x)).ops]
    assert kinds == [op.kind for op in canonical(record(net, x)).ops]


@pytest.mark.parametrize("module", [None, 3, by_hand, nn.Linear, [nn.Linear(1, 1)]])
def test_what_is_no_module_is_refused(module):
    with pytest.raises(ValueError, match=r"^wrap: module must be a torch.nn.Module; got \w+\. .+"):
        wrap(module)


@pytest.mark.parametrize("classes", ["cat", 3, (1, 2, 3), {"cat": 0}])
def test_names_that_are_none_are_refused(net, classes):
    with pytest.raises(ValueError, match=r"^wrap: classes must be a sequence of names; got .+\. "):
        wrap(net, classes)


def test_the_evidence_of_a_module_is_read_as_its_own(net, x):
    assert not hasattr(wrap(net), "evidence")
    net.evidence = "relu"
    expected, wrapped = (nni.dirichlet(model, x).alpha for model in (net, wrap(net)))
    assert torch.equal(wrapped, expected)
    assert not torch.equal(nni.dirichlet(net, x, evidence="softplus").alpha, expected)


def test_names_that_do_not_fit_are_refused(net, x):
    sentence = r"wrap: classes must be 3 names, one for each output of the module; got 2\. .+\."
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        wrap(net, CLASSES[:2], input_shape=(3, 8, 8))
    model = wrap(net, CLASSES[:2])
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        model(x)
    with pytest.raises(ValueError, match=sentence):
        nni.LRP()(model, x)


@pytest.mark.parametrize(
    ("low", "high"),
    [(1, 0), (0, 0), ((0, 1), (1, 1)), ((0, 0), (1, 1, 1)), ("0", 1), (0, float("nan")), ((), 1)],
)
def test_levels_that_are_no_range_are_refused(net, low, high):
    with pytest.raises(ValueError, match=r"^wrap: (low|high) must be .+; got .+\. .+\.$"):
        wrap(net, low=low, high=high)


def test_levels_may_be_arrays(net, x):
    along = (
        np.array(MEAN)[:, None, None],
        torch.tensor(STD, dtype=torch.float64)[None, :, None, None],
    )
    for pair in ((np.array(MEAN), np.array(STD)), along):
        model = wrap(net, low=np.zeros(3), high=torch.ones(3), preprocess=pair)
        assert (model.low, model.high) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        assert torch.equal(model(x), wrap(net, preprocess=(MEAN, STD))(x))


def test_names_may_be_an_array(net):
    for names in (np.array(CLASSES), list(np.array(CLASSES))):
        classes = wrap(net, names).classes
        assert classes == CLASSES
        assert all(type(name) is str for name in classes)


@pytest.mark.parametrize("preprocess", [3, AsTorchvision, (MEAN,), (MEAN, STD, 1), "normalize"])
def test_what_is_no_preprocessing_is_refused(net, preprocess):
    with pytest.raises(ValueError, match=r"^wrap: preprocess must be a function, .+; got .+\. "):
        wrap(net, preprocess=preprocess)


@pytest.mark.parametrize(
    ("pair", "what"),
    [((MEAN, 0), "std"), ((MEAN, (1, -1, 1)), "std"), (("a", 1), "mean"), ((None, 1), "mean")],
)
def test_a_pair_that_cannot_normalise_is_refused(net, pair, what):
    with pytest.raises(ValueError, match=rf"^wrap: {what} must be .+; got .+\. .+\.$"):
        wrap(net, preprocess=pair)


def test_more_means_than_channels_are_refused():
    model = wrap(network(n_inputs=1), preprocess=(MEAN, STD))
    with pytest.raises(ValueError, match=r"^wrap: mean and std .+; got 3 for 1 channels\. "):
        model(torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize("shape", [8, (), (3, 0, 8), (3, 8.0, 8), "388"])
def test_what_is_no_shape_is_refused(net, shape):
    with pytest.raises(ValueError, match=r"^wrap: input_shape must be the shape of one sample"):
        wrap(net, input_shape=shape)


def test_a_shape_that_the_module_does_not_take_is_refused(net):
    with pytest.raises(ValueError, match=r"^wrap: x must be an input .+; got shape .1, 1, 8, 8. "):
        wrap(net, input_shape=(1, 8, 8))


def test_a_shape_may_hold_numbers_of_numpy(net):
    shape = wrap(net, input_shape=tuple(np.array([3, 8, 8]))).input_shape
    assert [(side, type(side)) for side in shape] == [(3, int), (8, int), (8, int)]
