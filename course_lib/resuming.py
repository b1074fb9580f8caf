"""A training that is stopped at any moment, and goes on as if it had not been.

What decides the next step is saved every so many steps: the weights, the optimizer, the
schedule, PyTorch's generators, and the place in the data. It is written aside and then renamed,
so that a kill at any moment leaves a whole file: the old one or the new.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from course_lib import parallel
from course_lib.solvers import check_whole

__all__ = ["READ_WRITE", "Keeper", "Progress", "Saves", "aside"]

# How the state of an object is read and set, by what it has.
READ_WRITE = (
    ("state_dict", "load_state_dict"),
    ("get_state", "set_state"),  # a torch.Generator
    ("getstate", "setstate"),  # a random.Random
)
CONTENT = {"about", "progress", "parts", "sources", "began", "drawn"}  # of a file


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A path to write to; what was written takes the place of `path` in one move."""
    part = path.with_name(path.name + ".part")
    yield part
    with part.open("rb") as file:
        os.fsync(file.fileno())  # on the disk before it gets the name
    os.replace(part, path)


@dataclass(frozen=True)
class Saves:
    """Where a training saves itself, and how often.

    Attributes
    ----------
    path : Path, of one file, from which the training goes on if it is there
        Load only what you wrote yourself: it may hold any Python object.
    every : int, steps from one save to the next
    also : mapping of more that the steps change, by name
        Whatever has `state_dict` and `load_state_dict`, or another pair of `READ_WRITE`;
        lists; of other objects the attributes. None: there is none.
    about : str, what the training is; a file about another one is refused
    """

    path: Path
    every: int = 100
    also: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""

    def __post_init__(self):
        check_whole("every", self.every, "100 is the usual value")


@dataclass
class Progress:
    """How far a training is.

    Attributes
    ----------
    epoch : int, how many are done
    batch : int, how many of the next one are done
    losses : list of float, one for each step
    notes : list, one for each epoch
    seconds : float, wall time until the last save
    """

    epoch: int = 0
    batch: int = 0
    losses: list[float] = field(default_factory=list)
    notes: list = field(default_factory=list)
    seconds: float = 0.0


class Keeper:
    """Saves a training, and takes it up again; does neither without `saves`.

    Parameters
    ----------
    saves : Saves, optional
    parts : mapping of what a step changes: model, optimizer, schedule (None: there is
        none)
    batches : iterable; the generator of its order, if it has one, is saved too

    Raises
    ------
    ValueError, TypeError
        If something goes by the name of another part, or has no state to be read.
    """

    def __init__(
        self, saves: Saves | None, parts: Mapping[str, Any], batches: Iterable
    ):
        self.saves, self.batches = saves, batches
        also = dict(saves.also) if saves else {}
        _check_also(also, parts)
        known = {**parts, **also}
        known["the order of batches"] = _order_of(batches)
        self.parts = {name: part for name, part in known.items() if part is not None}
        # The generators among the parts: batches may be drawn from them on the way.
        self.sources = {
            name: part
            for name, part in self.parts.items()
            if _way(part) in READ_WRITE[1:]
        }
        self.source_states: dict[str, Any] = {}
        self.began: list[torch.Tensor] = []  # the generators where this epoch began
        self.saved: dict | None = (
            None  # their states, until the batches have their place
        )

    def begin(self) -> Progress:
        """The progress that was saved, with all parts as they were then; none if nothing
        was.

        Raises
        ------
        ValueError
            If the file is about another training, of other parts, of another number of
            processes, or of another version.
        """
        if not (self.saves and self.saves.path.exists()):
            return Progress()
        saved = torch.load(self.saves.path, map_location="cpu", weights_only=False)
        self._check(saved)
        for name, part in self.parts.items():
            _restore(part, saved["parts"][name])
        self.saved = saved
        return Progress(**saved["progress"])

    def rest(self, done: int) -> Iterator:
        """The batches of an epoch of which `done` are done."""
        saved, self.saved = self.saved, None
        if saved is not None:  # an order may be drawn from them
            self._turn_to(saved["began"], saved["sources"])
        self.began = _generators()
        self.source_states = {name: _state(x) for name, x in self.sources.items()}
        batches = iter(self.batches)
        for _ in range(done):
            next(batches)
        if saved is not None:  # and the steps that are done drew more
            self._turn_to(saved["drawn"], saved["parts"])
        yield from batches

    def _turn_to(self, own: list, states: Mapping[str, Any]) -> None:
        """Set PyTorch's generators, of this process, and those among the parts."""
        _set_generators(own[parallel.own_rank()])
        for name, source in self.sources.items():
            _restore(source, states[name])

    def keep(self, progress: Progress) -> None:
        """Save, if it is time to."""
        if not self.saves or len(progress.losses) % self.saves.every:
            return
        drawn, began = map(parallel.gathered, (_generators(), self.began))
        if parallel.own_rank():
            return
        content = dict(
            about=self.saves.about,
            progress=asdict(progress),
            parts={name: _state(part) for name, part in self.parts.items()},
            sources=self.source_states,
            began=began,
            drawn=drawn,
        )
        self.saves.path.parent.mkdir(parents=True, exist_ok=True)
        with aside(self.saves.path) as part:
            torch.save(content, part)

    def _check(self, saved: dict) -> None:
        """Refuse what cannot be gone on with."""
        path, about = self.saves.path, self.saves.about
        anew = "give another path, or remove the file to begin anew"
        held = saved.keys() if isinstance(saved, dict) else set()
        if missing := sorted(CONTENT - held):
            raise ValueError(
                f"{path} must be what a training of this version saved, and has no "
                f"{', '.join(missing)}; {anew}"
            )
        if saved["about"] != about:
            raise ValueError(
                f"{path} holds the training {saved['about']!r}, not {about!r}; {anew}"
            )
        then, now = sorted(saved["parts"]), sorted(self.parts)
        if then != now:
            raise ValueError(
                f"{path} holds the state of {', '.join(then)}, and this training is of "
                f"{', '.join(now)}; {anew}"
            )
        if len(saved["drawn"]) != parallel.world_size():
            raise ValueError(
                f"{path} was saved by {len(saved['drawn'])} process(es), and this is a "
                f"group of {parallel.world_size()}; go on with as many, or remove the file"
            )


# --- parts ----------------------------------------------------------------------------


def _check_also(also: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    if taken := sorted(also.keys() & parts.keys()):
        raise ValueError(
            f"also must not name {', '.join(map(repr, taken))}: these are saved without "
            "it; give what you add another name"
        )
    for name, part in also.items():
        known = part is None or isinstance(part, list) or _way(part) is not None
        if not (known or hasattr(part, "__dict__")):
            raise TypeError(
                f"also[{name!r}] must have a state to be read and set, such as "
                f"state_dict and load_state_dict, got {type(part).__name__}; put it into "
                "a list, or into an attribute of an object"
            )


def _way(part) -> tuple[str, str] | None:
    """How its state is read and set, if it has methods for that."""
    return next(
        (way for way in READ_WRITE if all(map(partial(hasattr, part), way))), None
    )


def _state(part):
    if isinstance(part, list):
        return list(part)
    way = _way(part)
    return getattr(part, way[0])() if way else dict(vars(part))


def _restore(part, state) -> None:
    if isinstance(part, list):
        part[:] = state
    elif way := _way(part):
        getattr(part, way[1])(state)
    else:
        vars(part).update(state)


def _order_of(batches: Iterable) -> torch.Generator | None:
    """The generator that a DataLoader shuffles with, that of `training.minibatches` too."""
    sampler = getattr(batches, "batch_sampler", None)
    if sampler is None:  # an unending one has no truth value
        sampler = getattr(batches, "sampler", None)
    return getattr(getattr(sampler, "sampler", sampler), "generator", None)


def _generators() -> list[torch.Tensor]:
    """The state of PyTorch's global generators on this process."""
    states = [torch.get_rng_state()]
    return (
        states + [torch.cuda.get_rng_state()] if torch.cuda.is_available() else states
    )


def _set_generators(states: list[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
