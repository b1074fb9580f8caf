"""The numbers in the prose of a page, and those that vouch for them.

A number is looked for if it has a decimal point, three digits or a percent sign. It is
found if something rounds to it, with as many digits as the prose gives: what a cell of
its section or of an earlier one shows, but for what a clock measured; what is written in
the code or in a formula in lines of its own; the row of a record that the chapter opens;
or the formula in its own sentence, worked out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from conftest import ROOT

NUMBER = re.compile(
    r"(?<![\w.^_\\#])(?<!\^\{)(?<!\^\{-)(?<!_\{)"  # no end of a name, no exponent, no path
    r"(?P<digits>\d{1,3}(?:(?:,|\{,\}|\\,|\u202f)\d{3})+(?:\.\d+)?|\d*\.\d+|\d+)"
    r"(?:e(?P<e>[-+]?\d+)|\s*(?:\\cdot|\\times|·|×)\s*10\^\{?(?P<power>[-−]?\d+)\}?)?"
    r"(?P<percent>(?:\s|\\,)?\\?%)?"
    r"(?![A-Za-z_]{2}|\w*_|\.\d|,\d|\d)"
)
FENCE = re.compile(r"^(`{3,}|:{3,})(\{[\w-]+\})?(.*)$")
CODE = ("{code-block}", "{math}", "{figure}")
YEARS = range(1900, 2100)
VALUE = re.compile(r"(?<![\w.])(\d[\d,_]*(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+)(\s?\\?%)?")
CLOCK = re.compile(r"(?<!recorded )\b(time|seconds|ms|s)\b")
SECONDS = re.compile(r"(?<![\w.])[\d.,]+(?:e[-+]\d+)?\s(?:ms|s|seconds)\b")
DISPLAY = re.compile(r"\$\$.*?\$\$(?: \([\w-]+\))?", re.DOTALL)
NAMED = re.compile(r"\b(?:issue|table|figure|section|page|python) $", re.IGNORECASE)
HEDGE = re.compile(
    r"\b(about|nearly|almost|roughly|some|around|over|more than|under|less than|up to|"
    r"at most|at least|below|above|a good|approx\w*)\s*\$?$|(\\approx|≈|~)\s*\$?$"
)


@dataclass(frozen=True)
class Number:
    """A number as the prose gives it.

    Attributes
    ----------
    text : str, as it is written
    value : float
    unit : float, what its last digit is worth
    sentence : str, where it stands
    """

    text: str
    value: float
    unit: float
    sentence: str


# --- prose ----------------------------------------------------------------------------


def numbers(text: str) -> Iterator[Number]:
    """The numbers of a sentence that something must vouch for."""
    for match in NUMBER.finditer(text):
        digits = re.sub(r"[^\d.]", "", match["digits"])
        whole, point, rest = digits.partition(".")
        alone = not (match["e"] or match["power"] or match["percent"] or point)
        if alone and (len(whole) < 3 or (len(whole) == 4 and int(whole) in YEARS)):
            continue
        if NAMED.search(text[: match.start()]):
            continue
        power = int((match["e"] or match["power"] or "0").replace("−", "-"))
        zeros = len(whole) - len(whole.rstrip("0")) if alone else 0
        if not HEDGE.search(text[: match.start()]):
            zeros = 0
        power -= 2 * bool(match["percent"])
        unit = 10.0 ** (power - len(rest) + min(zeros, len(whole) - 1))
        yield Number(match[0].strip(), float(digits) * 10.0**power, unit, text)


def sentences(prose: str) -> Iterator[str]:
    """The sentences of Markdown that stand for themselves: no code, no formula in lines
    of its own, no target of a link, and none that names a source beside its numbers.
    """
    text = DISPLAY.sub("\n\n", without_code(prose))
    text = re.sub(r"\{cite:?\w*\}`[^`]*`", "{cite}", text)
    text = re.sub(r"(?<!`)`[^`\n]+`(?!`)", "`", text)
    text = re.sub(r"\]\([^)]*\)|</?[a-z][^>]*>|https?://\S+", "]", text)
    for block in re.split(r"\n\s*\n|\n(?=[-*#>|] ?)|\n(?=\d+\. )", text):
        block = " ".join(block.split())
        if block.startswith("|"):
            yield block
            continue
        for sentence in re.split(r"(?<=[.?!])[)*_]*\s+(?=[\[(*_$`A-ZÄÖÜ0-9])", block):
            if "{cite" not in sentence:
                yield re.sub(r"^\d+\. ", "", sentence)


def without_code(prose: str) -> str:
    """Markdown less its fences of code; the fences of directives hold prose."""
    kept, directives, code = [], [], ""
    for line in map(str.strip, prose.splitlines()):
        fence = FENCE.match(line)
        if code:
            code = "" if line == code else code
        elif not fence:
            kept.append(line)
        elif directives and line == directives[-1]:
            directives.pop()
            kept.append("")
        elif fence[2] and fence[2] not in CODE:
            directives.append(fence[1])
            kept.append(fence[3])
        else:
            code = fence[1]
    return "\n".join(kept)


# --- what vouches ---------------------------------------------------------------------


def values(texts: Iterable[str]) -> set[float]:
    """Every number that the texts hold, without its sign; a percentage also as a share."""
    found = set()
    for text in texts:
        for digits, percent in VALUE.findall(text.replace("{,}", ",")):
            number = float(re.sub(r"[,_]", "", digits))
            found |= {number, number / 100} if percent else {number}
    return found


def shown(cell) -> Iterator[str]:
    """What the outputs of a cell say, on any machine: text, tables, words in a figure."""
    yield from map(untimed, said(cell))


def said(cell) -> Iterator[str]:
    """What the outputs of a cell say: text, tables, and the words in a figure."""
    for output in cell.get("outputs", ()):
        yield output.get("text", "")
        for kind, content in output.get("data", {}).items():
            if kind in ("text/plain", "text/markdown"):
                yield content
            elif kind == "text/html" and (
                svg := re.search(r"<svg.*</svg>", content, re.S)
            ):
                yield from labels(svg[0])


def untimed(text: str) -> str:
    """The text less what a clock measured, which is another number on the next machine:
    numbers of seconds, and the columns of a table that are headed so, unless they are
    recorded.
    """
    kept, clocks = [], set()
    for line, before in zip(lines := text.splitlines(), ["", *lines]):
        row = line.split("|") if line.startswith("|") else []
        if row and not before.startswith("|"):
            clocks = {i for i, head in enumerate(row) if CLOCK.search(head)}
        left = (cell for i, cell in enumerate(row) if i not in clocks)
        kept.append("|".join(left) if row else SECONDS.sub(" ", line))
    return "\n".join(kept)


def labels(svg: str) -> Iterator[str]:
    """The words of a figure, less the numbers along its axes."""
    root = ElementTree.fromstring(svg)
    for group in list(root.iter()):
        for child in list(group):
            if re.search(r"[xy]tick_\d+$", child.get("id", "")):
                group.remove(child)
    yield from ("".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text"))


def told(record: object) -> Iterator[str]:
    """What a record says in single numbers and in words; of a curve only its length."""
    if isinstance(record, dict):
        record = list(record.values())
    elif not isinstance(record, list):
        yield str(record)
        return
    elif record and not isinstance(record[0], dict | list):
        yield str(len(record))
        return
    for item in record:
        yield from told(item)


def records_of(code: str) -> Iterator[str]:
    """What the records say that the code names."""
    for name in set(re.findall(r'"(\w+)"', code)):
        for path in (ROOT / "course_lib" / "bundled").glob(f"*/{name}.json"):
            yield from told(json.loads(path.read_text(encoding="utf-8")))


def worked_out(sentence: str) -> Iterator[float]:
    """The values of what stands before `=` or `≈` in the formulas of a sentence."""
    for formula in re.findall(r"\$([^$]+)\$", sentence):
        for part in re.split(r"=|\\approx", formula)[:-1]:
            part = re.sub(
                r"\\sqrt\s*(\d)", r"sqrt(\1)", part.replace("\\sqrt{", "sqrt{")
            )
            part = (
                part.replace("\\log", "log").replace("\\cdot", "*").replace("^", "**")
            )
            part = part.translate(str.maketrans("{}", "()"))
            if re.fullmatch(r"(?:[\d\s.+*/()-]|sqrt|log)+", part):
                try:
                    yield abs(
                        eval(part, {"sqrt": math.sqrt, "log": lambda x: math.log(x)})
                    )
                except (SyntaxError, TypeError):
                    continue


def is_found(number: Number, among: Iterable[float]) -> bool:
    """Whether one of the values rounds to the number."""
    slack = 0.5 * number.unit * (1 + 1e-6)
    return any(abs(value - number.value) <= slack for value in among)


def unfounded(prose: str, among: set[float]) -> list[Number]:
    """The numbers of the prose that nothing rounds to."""
    return [
        number
        for sentence in sentences(prose)
        for number in numbers(sentence)
        if not is_found(number, among | set(worked_out(sentence)))
    ]


def unfounded_in(cells: list) -> list[Number]:
    """The numbers in the prose of an executed chapter that nothing vouches for."""
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    prose = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    known = values([*code, *DISPLAY.findall(prose), *records_of("\n".join(code))])
    missing, section = [], ""
    for cell in cells:
        if cell.cell_type == "code":
            known |= values(shown(cell))
            continue
        done, *begun = re.split(r"^(?=## )", cell.source, flags=re.MULTILINE)
        section += "\n\n" + done
        for part in begun:
            missing += unfounded(section, known)
            section = part
    return missing + unfounded(section, known)
