"""The exercises of lesson 23. Students: the exam's three functions are below; test, do not read."""

import copy

import torch
from torch.nn.functional import cross_entropy

import nni_widgets as nni

MODEL, EXAM_MODEL, TARGET, OTHER = "digits-cnn-designed", "digits-resnet", 5, 8
METHODS = [
    nni.IntegratedGradients(),
    nni.Saliency(),
    nni.Sensitivity(),
    nni.GradientTimesInput(),
    nni.SmoothGrad(),
]
PICTURES, EXAM_PICTURES = [8, 18, 0], [18, 8, 0]


def pictures(which):
    """Some of the test digits."""
    return nni.data.digits("test")[which][0]


def gradient_of(score, x):
    """The gradient of a score of x."""
    with torch.enable_grad():
        x = x.clone().requires_grad_()
        return torch.autograd.grad(score(x).sum(), x)[0]


def of_class(model, target):
    """The logit of a class, as a function of the picture."""
    return lambda x: model(x)[:, target]


def without_factor(model, x, target):
    """Exhibit 1."""
    way = (torch.arange(50) + 0.5)[:, None, None, None] / 50
    return gradient_of(of_class(model, target), way * x).mean(0, keepdim=True)


def of_all_classes(model, x, target):  # noqa: ARG001 - that is its bug
    """Exhibit 2."""
    return gradient_of(model, x).abs()


def squared_twice(model, x, target):
    """Exhibit 3."""
    return nni.Sensitivity()(model, x, target).square()


def of_the_loss(model, x, target):
    """Exhibit 4."""
    return x * gradient_of(lambda x: cross_entropy(model(x), torch.tensor([target])), x)


def in_training(model, x, target):
    """Exhibit 5, on a copy of the model."""
    return gradient_of(of_class(copy.deepcopy(model).train(), target), x).abs()


def without_noise(model, x, target):
    """Exhibit 6."""
    sigma = 0.15 * (x.amax(0) - x.amin(0))
    copies = x + sigma * torch.randn(50, *x.shape[1:])
    return gradient_of(of_class(model, target), copies).mean(0, keepdim=True)


def honest(model, x, target):
    """The one that is what it says."""
    return nni.SmoothGrad()(model, x, target)


HALL = {
    "A: Integrated gradients": without_factor,
    "B: Saliency": in_training,
    "C: Sensitivity": squared_twice,
    "D: SmoothGrad": honest,
    "E: Gradient × input": of_the_loss,
    "F: SmoothGrad": without_noise,
    "G: Saliency": of_all_classes,
}


def hall():
    """The maps of the first picture by their labels."""
    model, x = nni.models.load(MODEL), pictures(PICTURES[:1])
    return {label: method(model, x, TARGET) for label, method in HALL.items()}


def scaled(maps):
    """Each map ``(1, 1, H, W)`` divided by its largest value, as ``(H, W)``."""
    return {name: (R / R.abs().max())[0, 0].round(decimals=3) for name, R in maps.items()}


def cosine(one, two):
    """How alike two maps point: 1 is the same direction, -1 the opposite."""
    return float(torch.cosine_similarity(one.ravel(), two.ravel(), 0))


def exam_a(model, x, target):
    """Says that it is integrated gradients from black."""
    return x * gradient_of(of_class(model, target), x)


def exam_b(model, x, target):
    """Says that it is gradient × input."""
    return x * gradient_of(of_class(copy.deepcopy(model).train(), target), x)


def exam_c(model, x, target):
    """Says that it is gradient × input."""
    return x * gradient_of(lambda x: model(x).softmax(1)[:, target], x)


class Louder(torch.nn.Module):
    """A model with twice the logits."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return 2 * self.model(x)


def diagnosis(method, model, some, target):
    """What is wrong with a method, found as in the lesson: by tests alone."""
    x = some[:1]
    R = method(model, x, target)
    plain = nni.Gradient()(model, x, target)
    if near(R, plain):
        return "no noise"
    if not near(R, method(model, x, target)) or not near(R, method(model, some, target)[:1]):
        return "training mode"
    if near(R, method(model, x, OTHER)):
        return "all classes"
    growth = float(method(Louder(model).eval(), x, target).norm() / R.norm())
    if round(growth) == 16:
        return "squared twice"
    if abs(growth - 2) > 0.1:
        return "probability" if cosine(R, x * plain) > 0 else "loss"
    return "few steps" if near(R * (x > 0), R) else "no factor"


def near(one, two):
    """Whether two maps are the same but for rounding."""
    return (one - two).norm().item() <= 1e-4 * two.norm().item()


def of_exhibit(method):
    """The diagnosis of a method in the museum."""
    return lambda: diagnosis(method, nni.models.load(MODEL), pictures(PICTURES[:1]), TARGET)


def of_exam(method):
    """The diagnosis of a method in the exam."""
    return lambda: diagnosis(method, nni.models.load(EXAM_MODEL), pictures(EXAM_PICTURES), 3)


def of_split():
    """The diagnosis of exhibit 7: are the pictures of the test those of the training?"""
    train = nni.data.digits("train")[:200][0]
    order = torch.randperm(200, generator=torch.Generator().manual_seed(7))
    met = (train[order][:, None] == train).flatten(2).all(2).any(1)
    return "training data" if bool(met.all()) else "few pictures"


def honest_letter():
    """The letter of the map that the library's method of that title makes."""
    model, x = nni.models.load(MODEL), pictures(PICTURES[:1])
    library = {method.title: method(model, x, TARGET) for method in METHODS}
    [label] = [label for label, R in hall().items() if near(R, library[label[3:]])]
    return label[0]


def words(said):
    """Known mistakes, each with its words."""
    return [(lambda name=name: name, sentence) for name, sentence in said.items()]


def hangs_as(letters):
    """For letters in the order of the exhibits: which exhibit each of them is."""
    return {k: f"this map hangs as exhibit {nr}." for nr, k in enumerate(letters, start=1)}


def letter(answer):
    """The letter, also if the whole label is typed."""
    return answer.partition(":")[0] if isinstance(answer, str) else answer


def named(answer):
    """A name as the list of section 2 writes it; a word that is not in the list is no answer."""
    if not isinstance(answer, str):
        return answer
    name = " ".join(answer.replace("_", " ").replace("-", " ").casefold().split())
    return name if name in NAMES else None


NAME = "the name of a bug from the list, in quotes"
NAMES = (
    *("no factor", "few steps", "all classes", "loss", "probability", "squared twice"),
    *("training mode", "no seed", "fixed seed", "no noise", "training data", "few pictures"),
)

EXERCISES = {
    1: {
        "asks": 'the letter of the one honest map, in quotes, such as "A"',
        "right": honest_letter,
        "tried": letter,
        "then": "The honest map is the one that looks worst.",
        "mistakes": words(hangs_as("AGCEBF")),
        "hints": [
            "The eye alone will not do. Take one; you will be asked again in section 9.",
            "Section 9 compares each map with the library's: one line says True.",
        ],
    },
    2: {
        "asks": NAME,
        "tried": named,
        "right": of_exhibit(without_factor),
        "then": "One sum printed below the map would have shown it.",
        "mistakes": words(
            {
                "few steps": "ten times as many points leave the sum where it is.",
                "all classes": "another class gives another map: try it.",
                "loss": "the line that picks the score is sound: it is a logit.",
                "probability": "the line that picks the score is sound: it is a logit.",
            }
        ),
        "hints": [
            "What should a black pixel get, if the way to the picture begins at black?",
            "Write down the formula of integrated gradients. What stands before the integral?",
        ],
    },
    3: {
        "asks": NAME,
        "tried": named,
        "right": of_exhibit(of_all_classes),
        "then": "With zeros_like in place of ones_like it would be right. One word.",
        "mistakes": words(
            {
                "loss": "5 and 8 have other losses; this map does not care.",
                "probability": "5 and 8 have other probabilities; this map does not care.",
                "training mode": "there is no chance at work: two runs agree.",
                "no factor": "a saliency map has no factor that could be missing.",
            }
        ),
        "hints": [
            "The map does not care which class is asked for. Which line should make it care?",
            "Print one_hot. How many hot ones are there?",
        ],
    },
    4: {
        "asks": NAME,
        "tried": named,
        "right": of_exhibit(squared_twice),
        "then": "The order of the pixels is the same, so no test of it could have found this.",
        "mistakes": words(
            {
                "all classes": "another class gives another map: try it.",
                "no factor": "sensitivity promises no sum, so no factor is missing.",
                "probability": "a probability cannot grow with the logits like that: it ends at 1.",
                "loss": "the loss does not grow like that: it shrinks when the network gets surer.",
            }
        ),
        "hints": [
            "Which power of 2 is printed? Which power did sensitivity promise?",
            "What does nni.Sensitivity return: the gradient, or something made of it?",
        ],
    },
    5: {
        "asks": NAME,
        "tried": named,
        "right": of_exhibit(of_the_loss),
        "then": "It says what would make the training happier, which is nothing if it is happy.",
        "mistakes": words(
            {
                "probability": "nearly: its gradient fades too. But which sign would it have?",
                "all classes": "another class gives another map: try it.",
                "squared twice": "a square has no sign that could be turned.",
                "no factor": "the factor is there: black pixels get nothing.",
            }
        ),
        "hints": [
            "It fades when the network is sure, and its sign is turned. Which score does that?",
            "What becomes smaller when the logit of the class grows?",
        ],
    },
    6: {
        "asks": NAME,
        "tried": named,
        "right": of_exhibit(in_training),
        "then": "And the model stays so afterwards: the next one to use it gets chance, too.",
        "mistakes": words(
            {
                "no seed": "the function draws no random numbers. Who else could?",
                "fixed seed": "with a fixed seed two runs would agree.",
                "no noise": "two runs differ: there is chance in it, but there should be none.",
                "all classes": "another class gives another map, but so does another run.",
            }
        ),
        "hints": [
            "Print the model. Which of its layers can play dice?",
            "What is model.training before the function is called, and after?",
        ],
    },
    7: {
        "asks": NAME,
        "tried": named,
        "right": of_exhibit(without_noise),
        "then": "amax(0) goes over the pictures, not over the pixels. One picture has no range.",
        "mistakes": words(
            {
                "fixed seed": "a fixed seed makes runs agree too, but on another map than this.",
                "no seed": "without a seed two runs would differ.",
                "training mode": "there is no chance in it at all, also none from the model.",
                "few steps": "one copy or fifty: it is the same map.",
            }
        ),
        "hints": [
            "The mean of fifty maps is the map of the picture itself. What are the fifty copies?",
            "Print sigma, for one picture and for two.",
        ],
    },
    8: {
        "asks": NAME,
        "tried": named,
        "right": of_split,
        "then": "Shuffled they look new. In one course all test accuracies were of this kind.",
        "mistakes": words(
            {
                "few pictures": "with 200 pictures chance is a few per cent; this is far more.",
                "training mode": "this model has neither dropout nor batch-norm.",
                "fixed seed": "another order of the same pictures gives the same accuracy.",
            }
        ),
        "hints": [
            "Where do the test pictures come from? What does the shuffling change?",
            "How many of them has the fit seen?",
        ],
    },
    9: {
        "asks": NAME,
        "tried": named,
        "right": of_exam(exam_a),
        "then": "One point on the way, at its end: that is gradient × input.",
        "mistakes": words(
            {
                "no factor": "then black pixels would get something.",
                "all classes": "another class gives another map.",
                "loss": "twice the logits give twice the map, so a logit is explained.",
                "probability": "twice the logits give twice the map, so a logit is explained.",
                "training mode": "two runs agree, and so do alone and in company.",
            }
        ),
        "hints": [
            "It promises a sum, and the sum fails. Two bugs of the list do that.",
            "Look at the black pixels: which of the two is left?",
        ],
    },
    10: {
        "asks": NAME,
        "tried": named,
        "right": of_exam(exam_b),
        "then": "Batch-norm plays no dice. It looks at the neighbours.",
        "mistakes": words(
            {
                "no seed": "two runs agree, so there is no new noise in it.",
                "fixed seed": "what would noise have to do with the other pictures of the batch?",
                "no noise": "the other pictures of the batch change it; how would they?",
                "all classes": "another class gives another map.",
                "few steps": "gradient × input takes no steps, and it promises no sum.",
                "no factor": "the factor is there: black pixels get nothing.",
            }
        ),
        "hints": [
            "Which test fails for B and for no other?",
            "What in a network can make pictures of a batch depend on each other? See section 7.",
        ],
    },
    11: {
        "asks": NAME,
        "tried": named,
        "right": of_exam(exam_c),
        "then": "Like the loss it fades when the network is sure; unlike the loss it points right.",
        "mistakes": words(
            {
                "loss": "nearly: look at the sign.",
                "squared twice": "then twice the logits would give 16 times the map.",
                "no factor": "the factor is there: black pixels get nothing.",
                "all classes": "another class gives another map.",
                "few steps": "gradient × input takes no steps, and it promises no sum.",
                "training mode": "two runs agree, and so do alone and in company.",
            }
        ),
        "hints": [
            "A logit that doubles should double its map. Which scores do not double?",
            "Two bugs of the list fade when the network is sure. The sign tells them apart.",
        ],
    },
}
