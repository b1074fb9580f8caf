"""What the way back has to know of the way there.

A gradient that is computed in ``backward()`` by calling f again is right only if f is
still the function that was solved. Here stands what f was, and how to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import is_

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from course_lib.solvers.checks import GuardedField

__all__ = [
    "ForwardPass",
    "applied",
    "forgotten_tensors",
    "refuse_second_derivatives",
    "remember",
]


@dataclass(frozen=True)
class ForwardPass:
    """f as it was in the forward pass.

    Attributes
    ----------
    f : callable ``f(t, y) -> dy/dt``
    parameters : tuple of Tensor, those that f had, if it is a module
    frozen : tuple of Tensor, those of them that wanted no gradient then
    training : bool or None, whether it was in training mode
    device : torch.device
    autocast : torch.dtype or None, the type of autocast that was on
    """

    f: Callable
    parameters: tuple[Tensor, ...] = field(repr=False)
    frozen: tuple[Tensor, ...] = field(repr=False)
    training: bool | None
    device: torch.device
    autocast: torch.dtype | None

    def field(self) -> Callable:
        """f with the tensors it had then, for ``torch.func.functional_call`` may have
        lent it others, and under the autocast it ran in.
        """
        f, kind = self.f, self.device.type
        if isinstance(f, nn.Module) and not self._has_its_parameters(f):
            names = (name for name, _ in f.named_parameters())
            f = partial(_lent, f, dict(zip(names, self.parameters)))
        if _autocast(kind) == self.autocast:
            return f
        on = self.autocast is not None
        return torch.autocast(
            kind, dtype=self.autocast, enabled=on, cache_enabled=False
        )(f)

    def _has_its_parameters(self, f: nn.Module) -> bool:
        return all(map(is_, f.parameters(), self.parameters))

    def check(
        self,
        dy: Tensor,
        known: Sequence[Tensor],
        *,
        expected: Tensor,
        floor: Callable[[], float],
    ) -> None:
        """Refuse to go on where a gradient would be wrong: `dy`, computed by f from the
        `known` tensors, is not what f answered then, or depends on others.
        """
        self.require_same(dy.detach(), expected, floor=floor)
        self.require_known(dy, known)

    def require_known(self, value: Tensor, known: Sequence[Tensor]) -> None:
        """Refuse to go on if `value`, computed by f, depends on tensors that want a
        gradient and are not among the `known` ones.

        Raises
        ------
        RuntimeError
            That gives their number and shapes.
        """
        lost = forgotten_tensors(value, known, self.frozen)
        if lost:
            shapes = ", ".join(str(tuple(x.shape)) for x in lost[:4])
            raise RuntimeError(
                f"f uses {len(lost)} tensor(s) that want a gradient and would not get "
                f"it, of shape {shapes}: make them parameters of the module f, list "
                "them in adjoint_params, or, if they are to get none, detach() them in "
                "f or call requires_grad_(False) on them before the solve"
            )

    def require_same(
        self,
        found: Tensor,
        expected: Tensor,
        *,
        floor: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Refuse to go on if f does not answer what it answered then, up to rounding of
        its largest entry or of `floor`, whichever is larger.

        Raises
        ------
        RuntimeError
            That says by how much, and what is known to have changed.
        """
        if torch.equal(found, expected):
            return
        scale = max(expected.abs().max().item(), floor())
        gap = (found - expected).abs().max().item()
        if gap <= scale * torch.finfo(expected.dtype).eps ** 0.5:
            return
        raise RuntimeError(
            f"f is not what it was in the forward pass: it differs by {gap:.3g}, where "
            f"the largest number is {scale:.3g}, so this gradient would be that of "
            f"another function. {self._what_changed()} Call backward() before you "
            "change what f uses, or backpropagate through odeint"
        )

    def _what_changed(self) -> str:
        training = getattr(self.f, "training", None)
        if training != self.training:
            mode = "train" if training else "eval"
            return f"It was put into {mode}() mode in between."
        return (
            "An attribute, a buffer, a closed-over value or the random state that it "
            "uses is another one now."
        )


def remember(f: Callable, device: torch.device) -> ForwardPass:
    """What the backward pass of a solve of f on this device needs."""
    training, autocast = getattr(f, "training", None), _autocast(device.type)
    parameters = tuple(f.parameters()) if isinstance(f, nn.Module) else ()
    frozen = tuple(p for p in parameters if not p.requires_grad)
    return ForwardPass(f, parameters, frozen, training, device, autocast)


def _autocast(kind: str) -> torch.dtype | None:
    """The type of the autocast that is on, if one is."""
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _lent(f: nn.Module, parameters: dict[str, Tensor], t: Tensor, y: Tensor) -> Tensor:
    return torch.func.functional_call(f, parameters, (t, y))


def applied(
    solve: type[torch.autograd.Function],
    f: Callable,
    times: Tensor,
    y0: Tensor,
    params: Sequence[Tensor],
    *how,
) -> Tensor:
    """``solve.apply(f, *how, times, y0, *params)``, if a gradient that is wanted can pass;
    with our own words where torch.func cannot follow.
    """
    try:
        ys = solve.apply(f, *how, times, y0, *params)
    except RuntimeError as error:
        if "setup_context" not in str(error):
            raise
        raise RuntimeError(
            "the transforms of torch.func do not go through odeint_adjoint, "
            "odeint_interpolated and odeint_checkpointed, whose backward pass is a solve "
            "of its own; use torch.autograd.grad, or odeint, which grad, jacrev and jvp "
            "go through"
        ) from error
    _require_something_known(f, y0, times, params)
    return ys


def _require_something_known(
    f: Callable, y0: Tensor, times: Tensor, params: Sequence[Tensor]
) -> None:
    """Refuse a solve that no gradient would pass, of an f that has one to give.

    Without a graph of its own ``backward()`` would never come here to be told.
    """
    known = (y0, times, *params)
    if not torch.is_grad_enabled() or any(x.requires_grad for x in known):
        return
    dy = GuardedField(f, y0)(times[0].item(), y0)
    remember(f, y0.device).require_known(dy, ())


def refuse_second_derivatives(name: str) -> None:
    """Refuse ``create_graph=True``, after which a silent zero would follow."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"{name} gives first derivatives only; for second derivatives "
            "backpropagate through odeint"
        )


@torch.enable_grad()  # older versions of PyTorch look a leaf up by a view of it
def forgotten_tensors(
    value: Tensor, known: Sequence[Tensor], ignored: Sequence[Tensor] = ()
) -> list[Tensor]:
    """Leaf tensors that want a gradient and that `value` depends on, other than through
    the `known` ones, and that are not to be `ignored`.
    """
    # Not the tensors themselves: what a hook has saved comes back as another object.
    edges = {_edge(x) for x in known if x.requires_grad}
    seen, found, todo = set(), {}, [_edge(value)] if value.requires_grad else []
    while todo:
        node, number = todo.pop()
        if node is None or node in seen or (node, number) in edges:
            continue
        seen.add(node)
        if hasattr(node, "variable"):  # where autograd adds up for a leaf
            found[id(node.variable)] = node.variable
        todo += node.next_functions
    return [x for key, x in found.items() if key not in {id(x) for x in ignored}]


def _edge(x: Tensor) -> tuple:
    """Where the gradient of x arrives in a graph: a node, and which of its outputs."""
    edge = get_gradient_edge(x)
    return edge.node, edge.output_nr
