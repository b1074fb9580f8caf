"""Checks: short questions to the reader that the page itself judges.

A cell ends with one of three:

`number`
    asks for a number that the cell computed. The page holds it only as a salted hash.
`predict`
    lets the reader commit to a prediction, and then shows what the cell found.
`goal`
    asks to bring a live figure somewhere, and is judged by what the figure shows.

The question is plain HTML, so it stands in print and without JavaScript. In the built
page, in JupyterLab and in Colab a script (`checks.mjs`) puts the controls below it. What
is done is kept in the reader's browser.

A hash of a short number hides it from a glance at the source. It does not protect it:
whoever tries all numbers finds it in a moment. Nothing here is fit for marks.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from IPython.display import display

from course_lib.widgets import LiveFigure
from course_lib.widgets.page.module import module

__all__ = ["Check", "goal", "number", "predict", "script_of_checks", "style_of_checks"]

NAME = re.compile(r"(\d\d[a-z]?|playground)(-[a-z0-9]+)+")
SIGNS = ("=", "!=", "<", "<=", ">", ">=")
PARTS = 10  # of the grid in a tolerance
NEARLY = 3  # tolerances off, and an answer is called nearly right
MARKED = re.compile(
    r"(?P<code>`[^`]+`)|(?P<maths>\$[^$]+\$)|(?P<strong>\*[^*\s][^*]*\*)"
)

Condition = tuple[str, str, float | str]


@dataclass(frozen=True)
class Check:
    """A question as a page shows it; a cell ends with it.

    Attributes
    ----------
    name : str, the chapter's number or 'playground', and a word or two: '02-stable-step'
    question : str
    kind : str, 'number', 'predict' or 'goal'
    parts : tuple of str, the choices of a prediction or the steps of a goal
    task : dict, what the page judges by
    """

    name: str
    question: str
    kind: str
    parts: tuple[str, ...]
    task: Mapping

    @property
    def markup(self) -> str:
        """Return the question as HTML, without script and style."""
        held = html.escape(json.dumps({"kind": self.kind, **self.task}, sort_keys=True))
        return (
            f'<div class="check" id="check-{self.name}" data-check="{held}">\n'
            f'<p class="check-title">{TITLES[self.kind]}</p>\n'
            f'<p id="check-{self.name}-asked">{marked_up(self.question)}</p>\n'
            f"{self._list()}"
            '<p class="check-still">The page takes your answer where JavaScript is on.</p>'
            "\n</div>\n"
        )

    def _list(self) -> str:
        if not self.parts:
            return ""
        kind = "check-choices" if self.kind == "predict" else "check-steps"
        items = "".join(f"<li>{marked_up(part)}</li>" for part in self.parts)
        return f'<ol class="{kind}">{items}</ol>\n'

    def _repr_html_(self) -> str:
        return (
            f"{self.markup}<style>{style_of_checks()}</style>\n"
            f"<script>{script_of_checks()}</script>"
        )

    def __repr__(self) -> str:
        return f"A check: {self.question}"


TITLES = {
    "number": "Check: a number",
    "predict": "Check: predict, then reveal",
    "goal": "Check: a goal for the figure",
}


# --- the three kinds ------------------------------------------------------------------


def number(
    name: str,
    question: str,
    value: float,
    *,
    tolerance: float = 0.0,
    unit: str = "",
    right: str = "",
    hint: str = "",
) -> Check:
    """Ask for a number that this cell computed.

    Parameters
    ----------
    name : str, the chapter's number and a word or two, '02-stable-step'; unique in the book
    question : str; here and in all other texts `code`, $formulas$ and *stress* are set
    value : float or a tensor of one number, from the run and not typed
    tolerance : float, how far off an answer may be, in the unit of the answer. The page
        shows it, so give a round number and nothing computed from `value`. 0 for a whole
        number, which must be met
    unit : str, what the answer counts; the reader may leave it out
    right : str, what is said once the answer is right
    hint : str, what is said from the second wrong answer on

    Raises
    ------
    ValueError
        If the value is not finite, or with tolerance 0 not whole; if the tolerance is
        negative or finer than the value's 15 digits.

    Examples
    --------
    >>> number("02-limit", "Which $h$ is the largest?", 2 / 5.0, tolerance=0.01)
    A check: Which $h$ is the largest?
    """
    value = float(value)
    grid = tolerance / PARTS if tolerance else 1.0
    if not math.isfinite(value) or not tolerance >= 0.0 or abs(value) / grid > 2**50:
        raise ValueError(
            "value must be finite, tolerance not negative and no finer than the digits "
            f"of value; got {value!r} and {tolerance!r}"
        )
    if not tolerance and not value.is_integer():
        raise ValueError(
            f"a number that is not whole needs a tolerance, got value {value!r}; "
            "give tolerance=0.01, say"
        )
    reach = PARTS if tolerance else 0
    sealed = dict(
        salt=name,
        grid=grid,
        reach=reach,
        near=NEARLY * reach,
        hash=sealed_number(name, value, grid),
    )
    told = dict(right=marked_up(right), hint=marked_up(hint))
    return _made(name, question, "number", told, sealed=sealed, unit=unit)


def predict(
    name: str,
    question: str,
    *,
    reveal: str,
    choices: Sequence[str] = (),
    answer: int | str | None = None,
) -> Check:
    """Let the reader predict, and then show what this cell found.

    Parameters
    ----------
    name, question : str, as for `number`
    reveal : str, what is shown afterwards, with values of the run in it: f"... {gap:.2f}"
    choices : sequence of str, from which one is chosen; without them the reader writes a line
    answer : int or str, which choice is right, or its place from 0, best decided by the
        run: ``answer=int(slope < -1.5)``

    Raises
    ------
    ValueError
        If the answer is none of the choices, or there is one of the two alone.

    Examples
    --------
    >>> ratio = 0.25
    >>> predict(
    ...     "01-half",
    ...     "Half the step: what becomes of the error of one step?",
    ...     choices=["a half of it", "a quarter of it"],
    ...     answer=int(ratio < 0.3),
    ...     reveal=f"It is multiplied by {ratio}.",
    ... )
    A check: Half the step: what becomes of the error of one step?
    """
    choices = tuple(choices)
    place = choices.index(answer) if answer in choices else answer
    known = isinstance(place, int) and 0 <= place < len(choices)
    if not known if choices else answer is not None:
        raise ValueError(
            f"answer must be one of the choices {choices} or its place, and there is "
            f"none without choices; got {answer!r}"
        )
    told = dict(right=marked_up(reveal), answer=int(place) if known else None)
    return _made(name, question, "predict", told, choices)


def goal(
    name: str,
    figure: LiveFigure,
    question: str,
    steps: Mapping[str, Sequence[Condition]],
    *,
    right: str = "",
) -> Check:
    """Ask to bring a live figure somewhere; the figure itself says when it is there.

    It stands below the figure: in a cell after the one that shows it. In Colab, where every
    cell is a page of its own, it shows the figure once more.

    Parameters
    ----------
    name, question, right : str, as for `number`
    figure : LiveFigure; `figure.facts` lists what a condition may speak of
    steps : mapping from what is asked to its conditions, (fact, sign, value), all of which
        must hold at once; the signs are = != < <= > >=. One step is reached after the other

    Raises
    ------
    ValueError
        If there is no step, or a condition speaks of a fact that the figure does not have.

    Examples
    --------
    >>> from course_lib.widgets import StepSizeExplorer
    >>> goal(
    ...     "02-cheap",
    ...     StepSizeExplorer(problem="decay"),
    ...     "Bring the error below 0.01.",
    ...     {
    ...         "with Euler": [("method", "=", "euler"), ("error", "<", 0.01)],
    ...         "with half as many evaluations": [("error", "<", 0.01), ("nfe", "<=", 60)],
    ...     },
    ... )
    A check: Bring the error below 0.01.
    """
    for fact, sign, value in (c for step in steps.values() for c in step):
        if fact not in figure.facts or sign not in SIGNS:
            raise ValueError(
                f"no condition ({fact!r}, {sign!r}, {value!r}) for a "
                f"{type(figure).__name__}; its facts are {', '.join(figure.facts)}, "
                f"the signs {' '.join(SIGNS)}"
            )
    if not steps or not all(steps.values()):
        raise ValueError(f"every goal needs steps with conditions, got {dict(steps)}")
    if "google.colab" in sys.modules:
        display(figure)
    conditions = [[list(condition) for condition in step] for step in steps.values()]
    told = dict(right=marked_up(right))
    return _made(name, question, "goal", told, tuple(steps), conditions=conditions)


def _made(
    name: str, question: str, kind: str, told: Mapping, parts: tuple = (), **task
) -> Check:
    if not NAME.fullmatch(name):
        raise ValueError(
            "name must be the chapter's number, or playground, and words in small letters, "
            f"as in '02-stable-step'; got {name!r}"
        )
    text = json.dumps(told, ensure_ascii=False)
    hidden = base64.b64encode(text.encode()).decode()
    return Check(name, question, kind, tuple(parts), {"told": hidden, **task})


# --- what travels ---------------------------------------------------------------------


def sealed_number(salt: str, value: float, grid: float) -> str:
    """Return the hash of the point of the grid next to a value."""
    at = math.floor(value / grid + 0.5)
    return hashlib.sha256(f"{salt}|{at}".encode()).hexdigest()


def marked_up(text: str) -> str:
    """Return a line as HTML: `code`, $formulas$ and *stress* are set, all else is text."""

    def set_as(found: re.Match) -> str:
        inner = html.escape(found[0][1:-1], quote=False)
        if found["maths"]:
            return (
                f'<span class="math notranslate nohighlight tex2jax_process">\\({inner}\\)'
                "</span>"
            )
        tag = "code" if found["code"] else "em"
        return f"<{tag}>{inner}</{tag}>"

    plain = MARKED.split(text)[:: 1 + MARKED.groups]
    set_parts = [set_as(found) for found in MARKED.finditer(text)] + [""]
    return "".join(
        html.escape(words, quote=False) + part for words, part in zip(plain, set_parts)
    )


def script_of_checks() -> str:
    """Return the script that brings the checks of a page to life."""
    # An import of it is a file: without "<" a page may hold it as it is.
    return f"(() => {{\n{module('../checks/checks.mjs')}}})();\n".replace("<!--", "")


def style_of_checks() -> str:
    """Return the style of the checks."""
    return Path(__file__).with_name("checks.css").read_text(encoding="utf-8")
