"""Sentences of a small grammar, and the acceptor of all of them."""

from __future__ import annotations

import random
import re

__all__ = [
    "DETERMINERS",
    "NOUNS",
    "STANDING",
    "TAKING",
    "WHEN",
    "grammar",
    "sentences",
]

# Pairs are (one, several); the forms of a verb are (one now, several now, past).
DETERMINERS = (("a", "every", "this", "the"), ("two", "many", "these", "the"))
NOUNS = ("bird", "boy", "cat", "girl", "king", "robot")
STANDING = (
    ("runs", "run", "ran"),
    ("sings", "sing", "sang"),
    ("sleeps", "sleep", "slept"),
    ("waits", "wait", "waited"),
)
TAKING = (
    ("follows", "follow", "followed"),
    ("hears", "hear", "heard"),
    ("paints", "paint", "painted"),
    ("sees", "see", "saw"),
)
WHEN = (("now", "today"), ("then", "yesterday"))


def sentences(n: int, *, seed: int = 0) -> list[str]:
    """Different sentences of a small grammar with agreement, in random order.

    "these birds that see a cat sleep now": the determiner goes with the noun, the verb
    of the clause and that of the sentence go with the subject, and the tense of both
    with the last word.
    """
    chance = random.Random(seed)

    def phrase(several: int) -> list[str]:
        return [
            chance.choice(DETERMINERS[several]),
            chance.choice(NOUNS) + "s" * several,
        ]

    def taking(form: int) -> list[str]:
        return [chance.choice(TAKING)[form], *phrase(chance.randrange(2))]

    found: dict[str, None] = {}  # a set in the same order on every machine
    while len(found) < n:
        several, past = chance.randrange(2), chance.randrange(2)
        form = 2 if past else several
        words = phrase(several)
        if chance.random() < 0.3:
            words += ["that", *taking(form)]
        stands = chance.random() < 0.3
        words += [chance.choice(STANDING)[form]] if stands else taking(form)
        found[" ".join((*words, chance.choice(WHEN[past])))] = None
    # Short ones run out: late draws are longer. Mixed, any part is like the whole.
    return chance.sample(list(found), n)


def grammar() -> re.Pattern:
    """The grammar of `sentences` as a pattern: a text is a sentence exactly if
    ``grammar().fullmatch(text)``.
    """

    def one_of(options) -> str:
        return f"(?:{'|'.join(options)})"

    def phrase(several: int) -> str:
        return f"{one_of(DETERMINERS[several])} {one_of(NOUNS)}{'s' * several}"

    def sentence(several: int, past: int) -> str:
        form = 2 if past else several
        stands = one_of(verb[form] for verb in STANDING)
        takes = f"{one_of(verb[form] for verb in TAKING)} {one_of(map(phrase, (0, 1)))}"
        subject = f"{phrase(several)}(?: that {takes})?"
        return f"{subject} (?:{stands}|{takes}) {one_of(WHEN[past])}"

    return re.compile(one_of(sentence(s, p) for s in (0, 1) for p in (0, 1)))
