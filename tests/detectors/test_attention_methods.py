"""Detectors that read the network's inside, against a second implementation by diffusers' own pipeline and loop."""

import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor

from memdet.detectors import detector_classes, make_detector, sink
from memdet.errors import NotApplicableError, UserError
from memdet.io_utils import weights_root
from memdet.models import load_model
from memdet.probing import Items
from tests.helpers.problems import make_items, make_mixture, make_probe, select

PROMPTS = ["a velvet mug near the lake", "red bag", "a quiet green coat in the old town 7"]
STEPS, GUIDANCE, SEED = 10, 2.0, 3
LABELS = [
    "ren2024-layer-entropy@layer=1,sink=any",
    "ren2024-entropy@sink=any",
    "ren2024-entropy@change=signed,sink=any",
    "attention-focus",
    "bright-ending",
    "zhang2026",
    "zhang2026@t=500",
]
# Forwards of an item's own, forwards that all items share where they share the noise.
COSTS = {
    "ren2024-layer-entropy@layer=1,sink=any": (1, 0),
    "ren2024-entropy@sink=any": (2 * STEPS - 2, 1),
    "attention-focus": (1, 0),
    "bright-ending": (2 * STEPS - 1, 1),
    "zhang2026": (2 * STEPS - 1 + 1, 1),  # at the end of the guided trajectory
}


class Naive(AttnProcessor):
    """One item at a time, by the pipeline's networks and scheduler; attention is kept as diffusers computes it."""

    def __init__(self):
        super().__init__()
        self.pipeline = StableDiffusionPipeline.from_pretrained(
            weights_root() / "tiny-sd-a", torch_dtype=torch.float32, safety_checker=None, low_cpu_mem_usage=False
        )
        self.pipeline.unet.set_attn_processor(self)
        self.pipeline.unet.mid_block.register_forward_hook(self.keep_middle)
        self.maps = []

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **rest):
        if encoder_hidden_states is not None:
            query = attn.head_to_batch_dim(attn.to_q(hidden_states))
            key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
            self.maps.append(attn.get_attention_scores(query, key).mean(0))  # [pixels, tokens]
        return super().__call__(attn, hidden_states, encoder_hidden_states, **rest)

    def keep_middle(self, module, inputs, output):
        self.middle = output

    @torch.no_grad()
    def walk(self, prompt, guidance):
        """Per step: timestep, both predictions, the conditional maps, and the state after it."""
        scheduler = DDIMScheduler.from_pretrained(weights_root() / "tiny-sd-a", subfolder="scheduler")
        scheduler.set_timesteps(STEPS)
        cond, null = (self.embed(text) for text in (prompt, ""))
        x = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(SEED))
        steps = []
        for t in scheduler.timesteps:
            null_eps = self.pipeline.unet(x, t, null).sample
            self.maps = []
            cond_eps = self.pipeline.unet(x, t, cond).sample
            x = scheduler.step(null_eps + guidance * (cond_eps - null_eps), t, x).prev_sample
            steps.append((int(t), cond_eps, null_eps, list(self.maps), x))
        return steps

    @torch.no_grad()
    def middle_of(self, clean, t):
        """The middle block of the null branch at a sample, noised to t as diffusers does it."""
        scheduler = DDIMScheduler.from_pretrained(weights_root() / "tiny-sd-a", subfolder="scheduler")
        noise = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(SEED))
        noisy = scheduler.add_noise(clean, noise, torch.tensor([t]))
        self.pipeline.unet(noisy, t, self.embed(""))
        return self.middle

    def embed(self, prompt):
        tokens = self.pipeline.tokenizer(prompt, padding="max_length", max_length=12, return_tensors="pt").input_ids
        return self.pipeline.text_encoder(tokens)[0]

    def end(self, prompt):
        """Position of the first end token; padding is made of the same token."""
        (tokens,) = self.pipeline.tokenizer(prompt, padding="max_length", max_length=12, return_tensors="pt").input_ids
        return tokens.tolist().index(self.pipeline.tokenizer.eos_token_id)


@pytest.fixture(scope="module")
def naive():
    return Naive()


@pytest.fixture(scope="module")
def walks(naive):
    """The guided walk of each prompt."""
    return {prompt: naive.walk(prompt, GUIDANCE) for prompt in PROMPTS}


@pytest.fixture(scope="module")
def model():
    return load_model("tiny-sd-a")


def probe_of(model, items=None, **options):
    items = items or make_items(PROMPTS, has_prompts=True)
    return make_probe(model, items, steps=STEPS, guidance=GUIDANCE, seed=SEED, **options)


def ask(label, probe):
    with probe.charge() as cost:
        return make_detector(label, detector_classes()).score(probe).double().tolist(), cost


def entropy(values):
    return sum(-value * math.log(value) for value in values)


def layer_entropy(walk):
    first_layer = walk[0][3][0]  # the only one of this network on the way down
    return entropy(first_layer.mean(0).tolist())


def late_entropy(walk, end, change):
    def of(step, start):
        per_layer = [layer.mean(0).tolist() for layer in step[3]]
        assert len(per_layer) == 4
        return entropy([sum(layer[k] for layer in per_layer) / 4 for k in range(start, 12)])

    late = walk[8:]  # the last fifth of ten
    changes = [change(of(step, end) - of(walk[0], end)) for step in late]
    return sum(of(step, 0) for step in late) / 2 + sum(changes) / 2


def bright_ending(walk, end):
    mask = walk[-1][3][0][:, end].view(8, 8)
    norms = [((cond - null) * mask).norm() for _, cond, null, *_ in walk]
    return float(sum(norms) / len(norms) / mask.mean())


def spread(naive, walk, t):
    units = naive.middle_of(walk[-1][4], t).flatten().tolist()
    mean = sum(units) / len(units)
    return (sum((unit - mean) ** 2 for unit in units) / len(units)) ** 0.5


def expected(label, naive, guided, end):
    known = {
        "ren2024-layer-entropy@layer=1,sink=any": lambda: layer_entropy(guided),
        "ren2024-entropy@sink=any": lambda: late_entropy(guided, end, abs),
        "ren2024-entropy@change=signed,sink=any": lambda: late_entropy(guided, end, float),
        "attention-focus": lambda: -layer_entropy(guided),
        "bright-ending": lambda: bright_ending(guided, end),
        "zhang2026": lambda: spread(naive, guided, 50),
        "zhang2026@t=500": lambda: spread(naive, guided, 500),
    }
    return known[label]()


@pytest.mark.parametrize("label", LABELS)
def test_second_implementation(label, model, naive, walks):
    scores, _ = ask(label, probe_of(model))
    found = [expected(label, naive, walks[text], naive.end(text)) for text in PROMPTS]
    assert scores == pytest.approx(found, rel=1e-4)
    assert len(set(scores)) == len(PROMPTS)
    assert not any(module._forward_hooks for module in model._unet.modules())


def test_prompts_differ_in_their_padding(naive):
    assert len({naive.end(prompt) for prompt in PROMPTS}) == 3


def test_the_published_sign_is_plus(model):
    """Memorized means higher entropy in the paper; what has the other sign has another name."""
    probe = probe_of(model)
    published, _ = ask("ren2024-layer-entropy@layer=1,sink=any", probe)
    assert all(0 < score < math.log(12) for score in published)
    assert ask("attention-focus", probe)[0] == [-score for score in published]
    with pytest.raises(UserError, match="no option 'sign'"):
        make_detector("ren2024-layer-entropy@sign=minus", detector_classes())


def test_a_layer_that_is_not_there(model):
    with pytest.raises(
        NotApplicableError, match="has 1 cross-attention layers on the way down, so there is no layer 4"
    ):
        ask("ren2024-layer-entropy", probe_of(model))


@pytest.mark.parametrize("label", ["ren2024-layer-entropy@layer=1", "ren2024-entropy"])
def test_no_sink_no_score(label, model):
    """Attention in this network is near uniform over 12 tokens, far from the half that the methods rest on."""
    with pytest.raises(NotApplicableError, match=r"the first token takes 0\.\d\d of the attention of ordinary prompts"):
        ask(label, probe_of(model))


@pytest.mark.parametrize("label", ["ren2024-layer-entropy@layer=1", "ren2024-entropy"])
def test_a_sink_and_a_score(label, model, monkeypatch):
    """With the sink asked for lowered to nothing, the score is that of ``sink=any``, and costs no more."""
    monkeypatch.setattr(sink, "SMALLEST_SINK", 0.0)
    separator = "," if "@" in label else "@"
    gated, cost = ask(label, probe_of(model))
    scores, plain = ask(f"{label}{separator}sink=any", probe_of(model))
    assert (gated, cost.forwards) == (scores, plain.forwards)


def test_the_sink_of_a_network_that_attends_to_the_first_token_alone(model, attends_equally):
    assert sink.first_token_mass(probe_of(attends_equally), 0) == pytest.approx(1 / 12)
    assert sink.first_token_mass(probe_of(model), 0) != pytest.approx(1 / 12, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("label", COSTS)
def test_cost(label, noise, model):
    """An item pays its forwards and its part of the shared ones, first or after the others."""
    own, shared = COSTS[label]
    forwards = own + shared * (1 / len(PROMPTS) if noise == "shared" else 1)
    probe = probe_of(model, noise=noise)
    for _ in range(2):
        for other in (label, *COSTS):
            _, cost = ask(other, probe)
            if other == label:
                assert (cost.forwards, cost.jvps, cost.vjps) == (pytest.approx(forwards), 0, 0)


def test_what_is_charged_is_what_is_evaluated(model, monkeypatch):
    rows, predict = [], model.predict
    monkeypatch.setattr(model, "predict", lambda x, t, e: rows.append(len(x)) or predict(x, t, e))
    for label in COSTS:
        rows.clear()
        _, cost = ask(label, probe_of(model))
        assert sum(rows) == pytest.approx(len(PROMPTS) * cost.forwards)


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_order_of_items(label, model):
    items, order = make_items(PROMPTS, has_prompts=True), [2, 0, 1]
    scores, _ = ask(label, probe_of(model, items))
    permuted, _ = ask(label, probe_of(model, select(items, order)))
    assert permuted == pytest.approx([scores[i] for i in order], rel=1e-5)


@pytest.fixture
def attends_equally():
    """The network with its keys set to zero, so that all tokens get the same attention."""
    model = load_model("tiny-sd-a")
    for name, module in model._unet.named_modules():
        if name.endswith("attn2"):
            module.to_k.weight.zero_()
    return model


def test_equal_attention(attends_equally):
    probe = probe_of(attends_equally)
    assert ask("ren2024-layer-entropy@layer=1,sink=any", probe)[0] == pytest.approx([math.log(12)] * 3)
    assert ask("ren2024-entropy@sink=any", probe)[0] == pytest.approx([math.log(12)] * 3)
    assert ask("bright-ending", probe)[0] == pytest.approx(ask(f"wen2024@steps={STEPS}", probe)[0], rel=1e-6)
    mask = make_detector("bright-ending", detector_classes()).map(probe)
    torch.testing.assert_close(mask, torch.full((3, 8, 8), 1 / 12))


class Inside:
    """Stands in for a probe; tells what a network would show."""

    def __init__(self, layers, ends=(0,)):
        self._layers, self.end_positions = layers, torch.tensor(ends)

    def trajectory(self):
        return SimpleNamespace(timesteps=[1], state=lambda index: torch.zeros(1, 4, 4, 4))

    def attention(self, x, t, branch):
        return [SimpleNamespace(name=name, weights=weights) for name, weights in self._layers]

    def difference(self, x, t):
        return torch.ones(1, 4, 4, 4)


def layers_of(*weights):
    """One pixel map per layer: weight of the first of two tokens, the same at all pixels."""
    return [(f"down_blocks.{i}.attn2", torch.tensor([w, 1 - w]).expand(1, 2, 2, 2)) for i, w in enumerate(weights)]


@pytest.mark.parametrize(("option", "weight"), [("", 0.4), (",layer=1", 0.1), (",layer=2", 0.2)])
def test_the_layer_that_is_asked_for(option, weight):
    down = layers_of(0.1, 0.2, 0.3, 0.4, 0.5)
    others = [("mid_block.attn2", down[0][1]), ("up_blocks.0.attn2", down[0][1])]
    detector = make_detector(f"ren2024-layer-entropy@sink=any{option}", detector_classes())
    assert detector.score(Inside([*down, *others])).tolist() == pytest.approx([entropy([weight, 1 - weight])])


def test_networks_that_attend_elsewhere():
    probe = Inside([("mid_block.attn2", torch.ones(1, 2, 2, 1))])
    for label in ("ren2024-layer-entropy", "attention-focus", "bright-ending"):
        with pytest.raises(NotApplicableError, match="on the way down"):
            make_detector(label, detector_classes()).score(probe)


def test_bright_ending_takes_the_finest_maps_and_enlarges_them():
    fine = torch.zeros(2, 1, 2, 2, 2)
    fine[0, 0, :, 0, 1], fine[1, 0, :, 1, 1] = 0.2, 0.6
    layers = [(f"down_blocks.0.attentions.{i}.attn2", weights) for i, weights in enumerate(fine)]
    layers += [("down_blocks.1.attn2", torch.ones(1, 1, 1, 2)), ("up_blocks.1.attn2", torch.ones(1, 2, 2, 2))]
    detector, probe = make_detector("bright-ending", detector_classes()), Inside(layers, ends=[1])
    row = [0.1, 0.15, 0.25, 0.3]  # from .1 to .3 by halves and quarters
    torch.testing.assert_close(detector.map(probe), torch.tensor([[row] * 4]))
    norm = (4 * 4 * sum(value**2 for value in row)) ** 0.5
    assert detector.score(probe).tolist() == pytest.approx([norm / 0.2])


def test_spread_of_a_noisy_image():
    """In the task image the middle block sees ``alpha x_0 + sigma noise`` at t, and no class."""
    model, image = load_model("fashion-pixel"), torch.linspace(-1, 1, 256).view(1, 1, 16, 16)
    probe = make_probe(model, Items(["a"], ["trouser"], ["a"], [1], False, image), seed=SEED)
    scores, cost = ask("zhang2026", probe)
    assert cost.forwards == 1
    noise = torch.randn((1, 16, 16), generator=torch.Generator().manual_seed(SEED))[None]
    t, outputs = 50, []
    handle = model._unet.mid_block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    model.eps(model.schedule.alpha(t) * image + model.schedule.sigma(t) * noise, t, model.embed_null())
    handle.remove()
    assert scores == pytest.approx([float(outputs[0].flatten().std(correction=0))], rel=1e-5)


@pytest.mark.parametrize(
    "label", ["ren2024-layer-entropy", "ren2024-entropy", "attention-focus", "bright-ending", "zhang2026"]
)
def test_models_without_an_inside(label):
    probe = make_probe(make_mixture("more components than dimensions"), make_items(["some"]), steps=2)
    with pytest.raises(NotApplicableError):
        ask(label, probe)


@pytest.mark.parametrize("label", ["ren2024-layer-entropy", "ren2024-entropy", "bright-ending"])
def test_pixel_models_have_no_cross_attention(label):
    model = load_model("fashion-pixel")
    prompts = make_probe(model, make_items(["trouser"]), steps=2)
    with pytest.raises(NotApplicableError, match="cross-attention|not text"):
        ask(label, prompts)
    image = torch.zeros(1, 1, 16, 16)
    with pytest.raises(NotApplicableError, match="not text|items are images"):
        ask(label, make_probe(model, Items(["a"], ["trouser"], ["a"], [1], False, image)))


def test_every_detector_that_reads_the_inside_is_here():
    asking = {name for name, cls in detector_classes().items() if cls.info.access in {"attention", "activations"}}
    assert asking <= {label.partition("@")[0] for label in COSTS}
