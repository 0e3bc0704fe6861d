"""Faster forwards of a network: torch.compile or CUDA graphs, held against the eager network before they are used."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from memdet.errors import NotApplicableError, UserError
from memdet.models.base import ScoreModel
from memdet.models.condition import Condition
from memdet.models.wrapped import WrappedModel, layers

Mode = Literal["off", "compile", "cuda-graphs"]
# Largest error of an item that is taken for rounding, relative to the norm of the eager output.
BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
_WARM_UP = 3  # calls before a capture, in which libraries choose their kernels and take their workspaces
_RECOMPILATIONS = 256  # of one function, for all models and shapes; torch goes back to eager beyond

Network = Callable[..., Tensor]


class Capture(Protocol):
    """Records some work on the device."""

    def __call__(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Give a function that does the work again on the same memory, and the tensor that holds its result."""


class AccelerationError(UserError):
    """An accelerated network that cannot be built, or differs from the eager one; the whole run is concerned.

    Args:
        mode: How it was accelerated.
        problem: What is wrong, to follow the mode in a sentence.
    """

    def __init__(self, mode: Mode, problem: str) -> None:
        super().__init__(f"`accelerate` {mode} {problem}: use `accelerate` off", parameters=("accelerate",))
        self._given = mode, problem

    def __reduce__(self) -> tuple[type[AccelerationError], tuple[Mode, str]]:
        """How it crosses from one process to another."""
        return type(self), self._given


def accelerate(model: ScoreModel, mode: Mode, capture: Capture | None = None) -> ScoreModel:
    """Make the forwards of a model faster.

    Forwards without gradients take the accelerated network. Jacobian products and recordings of attention or of the
    bottleneck take the eager one. The first output of every shape is held against the eager output at the same input.

    Args:
        model: A model without a network, as closed forms are, is returned as it is.
        mode: ``compile``: torch.compile, one compilation a shape. ``cuda-graphs``: one graph a shape and dtype, which
            spares the launches of single kernels and their time on the host.
        capture: Records a graph; None takes CUDA's.

    Raises:
        AccelerationError: CUDA graphs on another device.
    """
    if mode == "off" or any(isinstance(layer, Accelerated) for layer in layers(model)):
        return model
    if mode == "cuda-graphs" and capture is None:
        if model.device.type != "cuda":
            raise AccelerationError(mode, f"needs a CUDA device, {model.name} is on {model.device.type}")
        capture = CudaCapture(model.device)
    if type(layers(model)[-1]).network is ScoreModel.network:
        return model
    network = Compiled(model.network) if capture is None or mode == "compile" else Graphs(model.network, capture)
    return Accelerated(model, mode, network)


class Accelerated(WrappedModel):
    """A score model whose forwards go through another network, where that is possible.

    Attention and the bottleneck are read from the eager network, whose hooks see it.

    Args:
        model: What is accelerated; answers all else.
        mode: Named in errors.
        network: Like :meth:`ScoreModel.network` of the model, without gradients.
    """

    def __init__(self, model: ScoreModel, mode: Mode, network: Network) -> None:
        super().__init__(model)
        self._mode, self._network = mode, network
        self._checked: set[Hashable] = set()

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """Raw network output, accelerated unless somebody differentiates.

        Raises:
            AccelerationError: The accelerated network cannot be built, or differs from the eager one.
        """
        if torch.is_grad_enabled() or _transforms():
            return self.inner.predict(x, t, condition)
        time, condition = self.network_time(x, t), condition.expand(len(x))
        key = (shape_of(x), condition.shapes())
        if key in self._checked:
            return self._network(x, time, **condition.tensors)
        try:
            with torch._dynamo.config.patch(recompile_limit=_RECOMPILATIONS):
                output = self._network(x, time, **condition.tensors)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # compilers and devices raise many kinds
            reason = next(iter(str(error).strip().splitlines()), "")
            where = f"{self.name} at a batch of {len(x)}"
            raise AccelerationError(self._mode, f"fails for {where} ({type(error).__name__}: {reason})") from error
        self._compare(output, self.inner.predict(x, t, condition))
        self._checked.add(key)
        return output

    def prepare(self, batch_sizes: Iterable[int], condition: str = "") -> None:
        """Build the network for some batch sizes now, so that the time it takes is nobody's.

        Args:
            batch_sizes: Rows of the calls.
            condition: One that the model knows, for where there is no null branch.
        """
        try:
            encoded = self.embed_null()
        except NotApplicableError:
            encoded = self.embed([condition])
        for size in batch_sizes:
            generator = torch.Generator("cpu").manual_seed(0)
            x = torch.randn(size, *self.latent_shape, generator=generator, dtype=torch.float32, device="cpu")
            with torch.no_grad():
                self.predict(
                    x.to(self.device, self.dtype),
                    len(self.schedule.alphas) // 2,
                    encoded.expand(size),
                )

    def _compare(self, found: Tensor, expected: Tensor) -> None:
        if found.shape != expected.shape or found.dtype != expected.dtype:
            what = f"gives {found.dtype} {tuple(found.shape)} instead of {expected.dtype} {tuple(expected.shape)}"
            raise AccelerationError(self._mode, f"is wrong: {self.name} {what}")
        difference = (found.double() - expected.double()).flatten(1).norm(dim=1)
        error = float((difference / expected.double().flatten(1).norm(dim=1).clamp_min(1e-300)).max())
        allowed = BOUNDS[expected.dtype]
        if not error <= allowed:
            raise AccelerationError(
                self._mode,
                f"is wrong: the output of {self.name} at a batch of {len(found)} differs from the eager one by"
                f" {error:.1e} (relative), allowed {allowed:.0e} in {_name(expected.dtype)}",
            )


class Compiled:
    """A network through torch.compile, one compilation a shape, so that a shape always gives the same bits.

    Args:
        network: Eager.
    """

    def __init__(self, network: Network) -> None:
        self._network = torch.compile(network, dynamic=False)

    def __call__(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """Output of the network. Strides are made the usual ones: others would be compiled for anew."""
        return self._network(_held(x), t, **{name: _held(tensor) for name, tensor in condition.items()})


class Graphs:
    """A network as recorded graphs, one for each shape and dtype, which are replayed on the memory of the recording.

    The timestep is a tensor, so that a graph serves all timesteps. Nothing is padded. Outputs are copied out at once:
    the graphs share a pool, and a replay may write where another graph keeps its own.

    Args:
        network: Eager; must not wait for the device.
        capture: Records it.
    """

    def __init__(self, network: Network, capture: Capture) -> None:
        self._network, self._capture = network, capture
        self._recorded: dict[Hashable, tuple[list[Tensor], Callable[[], None], Tensor]] = {}

    def __call__(self, x: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """Output of the network, in memory of its own."""
        given = [x, t, *condition.values()]
        key = tuple(map(shape_of, given))
        if key not in self._recorded:
            # Allocated outside the graph's pool, and of the usual strides, whatever those of the input.
            inputs = [_held(tensor) for tensor in given]
            held = dict(zip(condition, inputs[2:], strict=True))
            replay, output = self._capture(lambda: self._network(*inputs[:2], **held))
            self._recorded[key] = (inputs, replay, output)
        inputs, replay, output = self._recorded[key]
        for buffer, tensor in zip(inputs, given, strict=True):
            buffer.copy_(tensor)
        replay()
        return output.clone()


class CudaCapture:
    """Records CUDA graphs of one model in one private pool of memory.

    Args:
        device: Of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Warm up on a side stream, as a capture demands, and record."""
        with torch.cuda.device(self._device):
            current, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(current)
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    work()
            current.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                output = work()
        return graph.replay, output


def shape_of(tensor: Tensor) -> Hashable:
    """What an accelerated network is built for, of each input."""
    return tensor.shape, tensor.dtype


def _held(tensor: Tensor) -> Tensor:
    """A copy of the usual strides."""
    return tensor.clone(memory_format=torch.contiguous_format)


def _transforms() -> bool:
    """Whether a transform of torch.func or forward AD is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
