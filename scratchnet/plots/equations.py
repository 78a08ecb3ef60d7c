"""Equations from the operations of a program, as coloured pieces of text: in symbols, and with the
numbers filled in."""

from collections.abc import Callable
from typing import TypeAlias

from scratchnet.plots.style import INK, QUANTITIES, colour
from scratchnet.tracing.numbers import Numbers
from scratchnet.tracing.program import operands

Piece: TypeAlias = tuple[str, str]  # text, in matplotlib's mathematics between dollars; its colour
SUM, PRODUCT, ATOM = 1, 2, 3  # what binds how strongly
FUNCTIONS = {"sigmoid": "σ", "maximum": "max", "minimum": "min", "normalise_forward": "LN"}
FUNCTIONS |= {"normalise_backward": "LN⁻"}


def tint_of(name: str) -> str:
    """The colour of a name: of f for f, a_f and da_f; of where a gradient comes from."""
    if name == "dy" or (name.startswith("d") and name.endswith("_last")):
        return colour("from_loss")
    if name.startswith("d") and name.endswith("_next"):
        return colour("from_future")
    own = name[1:] if name.startswith("d") and len(name) > 1 else name
    own = own[2:] if own[:2] in ("a_", "m_") and len(own) == 3 else own
    own = own if own in QUANTITIES else own.removeprefix("tanh_").split("_")[0]
    return colour(own) if own in QUANTITIES else INK


def symbol(name: str, last: bool = False) -> str:
    """A name in mathematics: "dc_prev" with t-1 as its index. At the last step dh_next is the
    gradient of the final state."""
    if last and name.startswith("d") and name.endswith("_next"):
        name = name.replace("_next", "_last")
    base, *rest = name.split("_")
    if name == "…":
        return name
    if base in ("tanh", "dtanh") and len(rest) == 1:
        return rf"${base[:-4]}\,\mathrm{{tanh}}\,{rest[0]}$"
    letters = base if len(base.removeprefix("d")) < 2 else rf"\mathrm{{{base}}}"
    if base.startswith("d") and base not in QUANTITIES and len(base) > 2:
        letters = rf"d\mathrm{{{base[1:]}}}"
    below = [part.replace("prev", "t-1") for part in rest]
    words = [b if len(b) == 1 or b == "t-1" else rf"\mathrm{{{b}}}" for b in below]
    return f"${letters}_{{{'~'.join(words)}}}$" if words else f"${letters}$"


def number(value: float | None, digits: int = 3) -> str:
    """A number with few digits: 0.0183, −2.9e-5; "?" where there is none."""
    if value is None:
        return "?"
    value = value or 0.0  # no negative zero
    if value != 0 and not 1e-3 <= abs(value) < 1e5 and abs(value) < float("inf"):
        mantissa, exponent = f"{value:.{max(0, digits - 2)}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    if abs(value) >= 10**digits and abs(value) < 1e5:
        return f"{value:.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def equation(numbers: Numbers, term: str, last: bool = False) -> list[Piece]:
    """A term by what it is computed from, in symbols."""

    def leaf(at: int) -> list[Piece]:
        kind, *args = numbers.program.ops[at]
        name = numbers.names.get(at, "")
        if kind == "dot" and (not name or name == term or name.startswith("d")):
            weight, transposed, *rest = args
            vectors, blocks = rest[::2], rest[1::2]
            gates = [f"da_{letter}" for letter in numbers.run.cell.GATES]
            whole = len(gates) > 1 and [numbers.names.get(v) for v in vectors] == gates
            parts = [("$da$", INK)] if whole else _listed([leaf(v) for v in vectors])
            if len(vectors) > 1 and not whole:
                parts = [("(", INK), *parts, (") ", INK)]
            base, _, index = weight.partition("_")
            one = len(blocks) == 1 and len(gates) > 1
            index += numbers.run.cell.GATES[blocks[0]] if one else ""
            return [*parts, (f"${base}_{{{index}}}{'^T' * transposed}$", INK)]
        name = name or (str(args[0]) if kind == "parameter" else "…")
        return [(symbol(name, last), tint_of(name))]

    at = _place(numbers, term)
    return [
        (symbol(term, last), tint_of(term)),
        (" = ", INK),
        *_expression(numbers, at, leaf, lambda k: k != at)[0],
    ]


def filled(numbers: Numbers, term: str, t: int, unit: int) -> list[Piece]:
    """The same with the numbers of one unit at one step; of a sum of products only the result."""
    at = _place(numbers, term)
    result = [(number(numbers(at, t, unit), 4), tint_of(term))]
    if numbers.program.ops[at][0] == "dot" or numbers(at, t, unit) is None:
        return result

    def leaf(k: int) -> list[Piece]:
        value = numbers(k, t, unit)
        text = number(value)
        return [(f"({text})" if text.startswith("−") else text, tint_of(numbers.names.get(k, "")))]

    return [*result, (" = ", INK), *_expression(numbers, at, leaf, lambda k: k != at)[0]]


def _place(numbers: Numbers, term: str) -> int:
    program = numbers.program
    return program.forward[term] if term in program.forward else program.backward[term]


def _expression(
    numbers: Numbers, at: int, leaf: Callable[[int], list[Piece]], stops: Callable[[int], bool]
) -> tuple[list[Piece], int]:
    """The pieces of an operation down to named ones, and how strongly it binds."""
    ops = numbers.program.ops
    kind, *args = ops[at]

    def inner(k: int) -> tuple[list[Piece], int]:
        return _expression(numbers, k, leaf, lambda _: True)

    def bracketed(k: int, least: int) -> list[Piece]:
        parts, level = inner(k)
        return parts if level >= least else [("(", INK), *parts, (")", INK)]

    def sign(text: str) -> Piece:
        return (text, INK)

    if kind == "constant":
        return [sign(f"{args[0]:g}")], ATOM
    parts = operands(ops[at])
    if not parts or kind == "dot" or (stops(at) and at in numbers.names):
        return leaf(at), PRODUCT if kind == "dot" else ATOM
    match kind:
        case "add":
            return [*inner(args[0])[0], sign(" + "), *inner(args[1])[0]], SUM
        case "subtract":
            return [*inner(args[0])[0], sign(" − "), *bracketed(args[1], PRODUCT)], SUM
        case "negative":
            return [sign("−"), *bracketed(args[0], PRODUCT)], SUM
        case "multiply":
            a, b = (bracketed(k, PRODUCT) for k in args)
            return [*a, sign(" · "), *b], PRODUCT
        case "d_sigmoid":
            s = bracketed(args[0], ATOM)
            return [*s, sign(" · (1 − "), *inner(args[0])[0], sign(")")], PRODUCT
        case "d_tanh":
            return [sign("1 − "), *bracketed(args[0], ATOM), sign("²")], SUM
        case "d_relu":
            return [sign("["), *inner(args[0])[0], sign(" > 0]")], ATOM
        case "greater":
            a, b = (inner(k)[0] for k in args)
            return [sign("["), *a, sign(" > "), *b, sign("]")], ATOM
    inside = _listed([inner(k)[0] for k in parts])
    if len(inside) == 1:
        inside = [(inside[0][0].removeprefix("(").removesuffix(")"), inside[0][1])]
    return [sign(f"{FUNCTIONS.get(kind, kind)}("), *inside, sign(")")], ATOM


def _listed(items: list[list[Piece]]) -> list[Piece]:
    """Items with commas between them; of more than three the first."""
    shown = items if len(items) <= 3 else [items[0], [("…", INK)]]
    return [piece for item in shown for piece in ((", ", INK), *item)][1:]
