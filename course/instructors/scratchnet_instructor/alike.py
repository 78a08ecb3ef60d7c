"""Answers that are more alike than chance makes them: to be looked at, and no proof.

Right answers to a small exercise are alike by themselves, so what many of a class have written
does not count. An answer is taken as pieces of five tokens, without its comments, and its own names
are numbered, so that renaming does not hide a copy. Two answers are alike if most of the pieces
that are rare in the class are the same in both.
"""

import ast
import io
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

LONG = 5  # tokens in a piece
ENOUGH = 12  # rare pieces, below which only equal answers say something
SHARE = 0.8  # of the rare pieces of the shorter answer, from which two are alike
RARE = 0.1  # of the class, and three people at least: pieces of more people are the exercise's


class Alike(NamedTuple):
    """Two answers to one exercise."""

    exercise: str
    students: tuple[str, str]
    share: float  # of the rare pieces
    pieces: int  # rare ones that both have
    how: str


def alike(answers: Mapping[tuple[str, str], str]) -> list[Alike]:
    """Return the pairs that are alike, the most alike first.

    Parameters
    ----------
    answers
        Student and exercise -> what was handed in.
    """
    by_exercise: dict[str, dict[str, str]] = defaultdict(dict)
    for (student, exercise), text in answers.items():
        by_exercise[exercise][student] = text
    found = [pair for exercise, texts in by_exercise.items() for pair in _pairs(exercise, texts)]
    return sorted(found, key=lambda pair: (-pair.share, -pair.pieces, pair.exercise, pair.students))


def same_numbers(made_for: Iterable[tuple[str, str, str]]) -> list[Alike]:
    """Return the pairs of students with one and the same worksheet or hunt.

    Parameters
    ----------
    made_for
        Student, exercise, and what says whose numbers they are.
    """
    several: dict[tuple[str, str], list[str]] = defaultdict(list)
    for student, exercise, said in made_for:
        several[exercise, said].append(student)
    return [
        Alike(exercise, (one, other), 1.0, 0, f"both are {said}")
        for (exercise, said), students in several.items()
        for one, other in combinations(sorted(students), 2)
    ]


def _pairs(exercise: str, texts: Mapping[str, str]) -> list[Alike]:
    pieces = {student: _pieces(_tokens(text)) for student, text in texts.items()}
    people = Counter(piece for own in pieces.values() for piece in own)
    most = max(3, RARE * len(texts))
    rare = {s: {piece for piece in own if people[piece] <= most} for s, own in pieces.items()}
    found = []
    for one, other in combinations(sorted(rare), 2):
        both = len(rare[one] & rare[other])
        share = both / max(1, min(len(rare[one]), len(rare[other])))
        equal = _tokens(texts[one]) == _tokens(texts[other])
        if share >= SHARE and (both >= ENOUGH or (equal and both)):
            how = _how(texts[one], texts[other], share)
            found.append(Alike(exercise, (one, other), share, both, how))
    return found


def _how(one: str, other: str, share: float) -> str:
    if one.split() == other.split():
        return "the same text"
    if _tokens(one) == _tokens(other):
        return "the same but for names, comments and spaces"
    return f"{share:.0%} of what is rare in the class"


@lru_cache(10_000)
def _tokens(text: str) -> list[str]:
    """The tokens of a program, its own names numbered; words, where it is none."""
    try:
        tree = ast.parse(text)
        _without_docstrings(tree)
        plain = ast.unparse(tree)
        words = [
            (kind.type, kind.string)
            for kind in tokenize.generate_tokens(io.StringIO(plain).readline)
        ]
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return text.split()
    own = _bound(tree)
    numbers: dict[str, str] = {}
    tokens = []
    for k, (kind, word) in enumerate(words):
        attribute = k > 0 and words[k - 1][1] == "."
        if kind == tokenize.NAME and word in own and not attribute:
            word = numbers.setdefault(word, f"v{len(numbers)}")
        tokens.append(word.strip() or tokenize.tok_name[kind])
    return tokens


def _bound(tree: ast.Module) -> set[str]:
    """The names that a program gives itself: not those of functions that it calls."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


def _without_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and len(node.body) > 1:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]


def _pieces(tokens: list[str]) -> set[tuple[str, ...]]:
    return {tuple(tokens[k : k + LONG]) for k in range(max(1, len(tokens) - LONG + 1))}
