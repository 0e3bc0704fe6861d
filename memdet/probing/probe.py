"""One batch of items under one noise seed on one score model: what detectors ask, computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Self, TypeVar

from torch import Tensor

from memdet.curvature import Backend
from memdet.models import ScoreModel
from memdet.models.diffusers.recording import AttentionLayer
from memdet.probing.branch_policy import Branch
from memdet.probing.context import DEFAULT_PROTOCOL, Context
from memdet.probing.cost import Cost
from memdet.probing.draws import Draws, Kind
from memdet.probing.evaluator import Evaluator
from memdet.probing.from_sample_set import check_asked, dev_items, items_of, positions, tested_by
from memdet.probing.items import Items
from memdet.probing.jacobians import Jacobians
from memdet.probing.recordings import Recordings
from memdet.probing.seed_memory import SeedMemory
from memdet.probing.trajectory import Places, Trajectory
from memdet.samplesets import SampleSet
from memdet.torch_state import answers_in_own_state

T = TypeVar("T")


@answers_in_own_state
class Probe:
    """Gives detectors noise, predictions, trajectories, Jacobian products, attention and generations.

    Each quantity is computed once however many detectors ask, and charged in full to every detector that asks, so the
    cost of a row is what the detector would cost alone. Tensors that come from the probe must not be changed in place:
    :meth:`charge` refuses a detector that did. Where all items share the starting noise, it is one tensor expanded over
    the batch, and what depends on it alone is evaluated once a seed.

    Latents are ``[batch, *latent_shape]``. What the model or the sample set does not have raises `NotApplicableError`:
    trajectories from noise where the items are images, text where conditions are classes, whole Jacobians of more than
    4,096 dimensions. A wrong call raises `ValueError`: unknown branches, backends and kinds of vectors, and timesteps
    that are not on the model's schedule.

    Args:
        model: Score model; None serves detectors that never ask for it.
        items: The batch.
        context: Protocol, seed and policy; by default 50 steps, guidance 7.5, seed 0 and one noise for all items.
        memory: What the batches of a seed share; its own if None.
        dev: Items of the dev split for :meth:`calibrate`; None or none if there are none.

    Attributes:
        evaluator: Where the model is asked.
        seed: Of all draws.
        steps, guidance: Of the default trajectory.
    """

    def __init__(
        self,
        model: ScoreModel | None,
        items: Items,
        context: Context | None = None,
        *,
        memory: SeedMemory | None = None,
        dev: Items | None = None,
    ) -> None:
        context, memory = context or Context(DEFAULT_PROTOCOL), memory or SeedMemory()
        self._compose(Evaluator(model, items, context, memory, dev=dev))

    def _compose(self, evaluator: Evaluator) -> None:
        self.evaluator, context = evaluator, evaluator.context
        self.seed, self.steps, self.guidance = context.seed, context.protocol.steps, context.protocol.guidance
        self._draws, self._jacobians, self._recordings = Draws(evaluator), Jacobians(evaluator), Recordings(evaluator)
        self._places = Places(evaluator, self._draws)

    @classmethod
    def of(
        cls, model: ScoreModel, sample_set: SampleSet, *, seed: int = 0, rows: slice | Sequence[int] | None = None
    ) -> Self:
        """A probe of test items of a sample set under its protocol, with the dev items of the same model.

        Args:
            model: Whose items are taken where the set knows it by name; else all are.
            sample_set: Gives items and protocol.
            seed: Of all draws.
            rows: Positions among these items; None for all. Costs are those of a batch of all.

        Raises:
            UserError: No score model or sample set, rows that are not there, a seed that is no whole number, or an
                image of another shape than the model takes.
        """
        check_asked(model, sample_set, seed)
        tested = tested_by(model, sample_set)
        part = tested if rows is None else tested.iloc[positions(rows, len(tested))]
        dev = dev_items(sample_set, tested["model"].unique(), model)
        return cls(model, items_of(part, sample_set, model), Context(sample_set.protocol, seed, len(tested)), dev=dev)

    def __repr__(self) -> str:
        model = self.evaluator.model.name if self.evaluator.has_model else "no model"
        return f"{type(self).__name__}({model}, {len(self)} item{'s'[: len(self) != 1]}, seed {self.seed})"

    def __len__(self) -> int:
        return len(self.evaluator)

    # What the items are

    @property
    def model(self) -> ScoreModel:
        """The score model."""
        return self.evaluator.model

    @property
    def prompts(self) -> Sequence[str]:
        """Text of each item, where the conditions are text."""
        return self.evaluator.items.prompts

    @property
    def images(self) -> Tensor:
        """Image of each item, in the task ``image``."""
        return self.evaluator.images

    @property
    def clusters(self) -> Sequence[str]:
        """Family of near-duplicates of each item; what is fitted must keep a family on one side."""
        return self.evaluator.items.clusters

    @property
    def labels(self) -> Sequence[int]:
        """Labels, for supervised controls alone; PermissionError for a detector that does not declare itself one."""
        return self.evaluator.labels

    # Draws

    def uniform(self) -> Tensor:
        """A random number in [0, 1) an item, from the seed and the item alone, ``[batch]`` in float64."""
        return self._draws.uniform()

    @property
    def noise(self) -> Tensor:
        """Noise of standard deviation 1, from which trajectories start; :meth:`at` gives the start itself.

        The two differ where samples are not scaled down as noise is added to them (EDM, variance exploding).
        """
        return self._draws.starting_noise(0)

    def starting_noise(self, draw: int) -> Tensor:
        """One of several independent starting noises, for methods that generate more than once a seed; 0 is `noise`."""
        return self._draws.starting_noise(draw)

    def directions(self, count: int, kind: Kind = "rademacher", *, draw: int = 0) -> list[Tensor]:
        """Probe vectors of the seed, the same for all items. Other draws of one seed are other vectors.

        Raises:
            ValueError: Unknown kind.
        """
        return self._draws.directions(count, kind, draw)

    # What the model answers

    def eps(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Noise prediction. One forward."""
        return self.evaluator.eps(x, t, branch)

    def score(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Score ``-eps / sigma``. One forward, shared with :meth:`eps`.

        Raises:
            NotApplicableError: Pure noise (alpha = 0), where it is ``-x / sigma^2`` for every model and condition.
        """
        return self.evaluator.score(x, t, branch)

    def clean_of(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Clean sample that the network predicts at ``x``, as its scheduler goes on with it. One forward.

        Raises:
            NotApplicableError: Pure noise (alpha = 0), of a network that predicts noise.
        """
        return self.evaluator.clean_of(x, t, branch)

    def refuse_pure_noise(self, t: int) -> None:
        """Raise NotApplicableError where nothing of the clean sample is left (alpha = 0), so that branches agree."""
        self.evaluator.refuse_pure_noise(t)

    def difference(self, x: Tensor, t: int) -> Tensor:
        """``D = eps_c - eps_u`` of a network that predicts noise. Two forwards.

        Of any other network it is that over alpha, in the units of what the network returns: ``v_c - v_u``,
        ``u_c - u_u``, or ``(x0_u - x0_c) / sigma``. At pure noise, where noise predictions of both branches are one,
        these differ. Items rank alike in either, since alpha is one number at one time.
        """
        return self.evaluator.difference(x, t)

    def both(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Noise predictions of the conditional and of the null branch. Two forwards, in one call where that pays."""
        self.evaluator.both(x, t)
        return self.evaluator.eps(x, t, "cond"), self.evaluator.eps(x, t, "null")

    def step(self, key: Hashable, move: Callable[[Tensor, Tensor], Tensor], x: Tensor, eps: Tensor) -> Tensor:
        """``move(x, eps)``; where all items are at one place and move alike, made once a seed, and shared."""
        return self.evaluator.step(key, move, x, eps)

    # Where detectors look

    @property
    def timesteps(self) -> list[int]:
        """Timesteps of the default trajectory, first (noisiest) to last."""
        return self._places.timesteps

    def nearest_timestep(self, t: int) -> int:
        """The timestep of the default trajectory that is nearest to ``t``, a timestep too; of two the noisier."""
        return self._places.nearest_timestep(t)

    def trajectory(self, steps: int | None = None, guidance: float | None = None, draw: int = 0) -> Trajectory:
        """DDIM trajectory of the protocol, or with other steps, guidance or starting noise; extended lazily."""
        return self._places.trajectory(steps, guidance, draw)

    def at(
        self, t: int | None, guidance: float = 1.0, *, pure_noise: bool = False, steps: int | None = None
    ) -> tuple[Tensor, int]:
        """Where a detector of one time looks: on the trajectory, or at the noisy image ``alpha x_0 + sigma noise``.

        Args:
            t: None for the first timestep, where a trajectory starts from noise; else the nearest timestep of the
                default trajectory.
            guidance: Of the trajectory; 1 is the unguided conditional one.
            pure_noise: Whether the detector sees something at pure noise (alpha = 0). If not, and the first timestep is
                pure noise, None means the second.
            steps: Large steps that lead there, between timesteps of the default trajectory as evenly spaced as they
                can be; None takes all of its steps.

        Returns:
            Latents and their timestep.

        Raises:
            ValueError: ``t`` is no timestep of the model's schedule, a whole number from 0 and less than its length.
        """
        return self._places.at(t, guidance, pure_noise=pure_noise, steps=steps)

    def clean(self, draw: int = 0) -> Tensor:
        """What is judged, without noise: the image, or the end of the trajectory."""
        return self._places.clean(draw)

    def generated(self, draw: int = 0) -> Tensor:
        """Image of :meth:`clean`, ``[batch, channels, height, width]`` in [0, 1]. Decoding is no network evaluation."""
        return self._places.generated(draw)

    @property
    def training_images(self) -> Tensor:
        """All training images of the model, each once, ``[n, channels, height, width]`` in [0, 1].

        Raises:
            NotApplicableError: It is not known which they are.
        """
        return self._places.training_images

    def nearest_training(self, count: int) -> tuple[Tensor, Tensor]:
        """The training images nearest to :meth:`generated`.

        Returns:
            Root mean square differences of the pixels, ascending, float64, and indices into :attr:`training_images`;
            both ``[batch, count]``.

        Raises:
            NotApplicableError: The training images are not known, or are fewer.
        """
        return self._places.nearest_training(count)

    # What the model computes on the way

    def attention(self, x: Tensor, t: int, branch: Branch) -> list[AttentionLayer]:
        """How each layer attends to the text, averaged over heads. One forward, which also gives :meth:`eps`.

        Of joint attention (MMDiT) it is the image-to-text block, see
        :class:`~memdet.models.diffusers.recording.AttentionLayer`.
        """
        return self._recordings.attention(x, t, branch)

    def bottleneck(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """Activation of the network's middle block, ``[batch, ...]``. One forward, which also gives :meth:`eps`."""
        return self._recordings.bottleneck(x, t, branch)

    @property
    def end_positions(self) -> Tensor:
        """Position of each prompt's end token among those of :meth:`attention`, int64 ``[batch]``; padding follows."""
        return self.model.end_positions(self.prompts)

    def embedding_product(self, x: Tensor, t: int) -> Tensor:
        """Derivative of the conditional score along the step from the null condition to the condition. One JVP."""
        return self._recordings.embedding_product(x, t)

    # Jacobians

    def jacobian_product(self, x: Tensor, t: int, branch: Branch, v: Tensor, backend: Backend = "jvp") -> Tensor:
        """``J v`` with J the Jacobian of the score at ``x``.

        Args:
            x, v: ``[batch, *latent_shape]``.
            t: Timestep.
            branch: Of the model.
            backend: ``jvp`` (exact), ``fd`` (two forwards), ``fd-one-sided`` (one forward beside the prediction at x);
                ``vjp`` gives ``J^T v`` instead, beside the prediction at x; ``closed-form`` is what the model knows.
                In half precision rounding drowns the differences: forward AD takes their place, is charged as such, and
                a note says so.

        Raises:
            NotApplicableError: ``closed-form``, of a model that is none.
            ValueError: Unknown branch or backend; or the model fails the self-check of its Jacobian
                (`memdet.curvature.JacobianOperator`).
        """
        return self._jacobians.product(x, t, branch, v, backend)

    def both_products(self, x: Tensor, t: int, v: Tensor, backend: Backend = "jvp") -> tuple[Tensor, Tensor]:
        """:meth:`jacobian_product` of the conditional and of the null branch, in one call where that pays."""
        return self._jacobians.both_products(x, t, v, backend)

    def jacobian_matrix(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """The whole Jacobian of the score, ``[batch, d, d]``, by d reverse products on one graph."""
        return self._jacobians.matrix(x, t, branch)

    def spectrum(self, x: Tensor, t: int, branch: Branch) -> Tensor:
        """All eigenvalues of the symmetric part of the score's Jacobian, ascending, ``[batch, d]`` float64.

        Of a closed form they are known, and charged as the d products that a network would take.
        """
        return self._jacobians.spectrum(x, t, branch)

    def spectrum_of_difference(self, x: Tensor, t: int) -> Tensor:
        """Those of the symmetric part of ``J_c - J_u``; cost as :meth:`spectrum`, twice."""
        return self._jacobians.spectrum_of_difference(x, t)

    def frobenius_of_difference(self, x: Tensor, t: int) -> Tensor:
        """Exact ``norm(J_c - J_u)`` (Frobenius), ``[batch]`` float64; cost as :meth:`spectrum`, twice."""
        return self._jacobians.frobenius_of_difference(x, t)

    # Constants, and the books

    def calibrate(self, key: Hashable, fit: Callable[[Self], T]) -> T:
        """Let a detector take constants from the dev split, once a seed; test items are never seen.

        Args:
            key: What the constants are; the detector's label, say.
            fit: Gets a probe of the dev items, whose labels may be looked at; nobody pays for it.

        Raises:
            NotApplicableError: The sample set has no dev split.
        """

        def constants(dev: Evaluator) -> T:
            probe = type(self).__new__(type(self))
            probe._compose(dev)
            return fit(probe)

        return self.evaluator.constants(key, constants)

    def charge(self, *, supervised: bool = False) -> AbstractContextManager[Cost]:
        """Open the account of one detector; inside, every evaluation is charged to the cost that this gives.

        Raises:
            ChangedInPlaceError: On leaving, if a tensor that others share was changed in place. It is forgotten, with
                all that may follow from it.
        """
        return self.evaluator.charge(supervised=supervised)

    def note(self, text: str) -> None:
        """Say something beside the scores that a user should know; the run keeps it and the table shows it."""
        self.evaluator.note(text)

    def forget(self) -> None:
        """Let go of all that is remembered. It refers to the probe and would else wait for the garbage collector."""
        self.evaluator.forget()

    def forget_graphs(self) -> None:
        """Let go of the graphs of reverse products, the largest of what is remembered."""
        self.evaluator.forget_graphs()
