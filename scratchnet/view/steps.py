"""The micro-steps of each cell, as the stepper shows them, one line at a time, in both passes.

Each step names its equation, the library's own lines (found in the cell's file when the page is
made, so that they cannot go stale), and its terms: a result, the arrays it is made of, and the
formula with {names} to be filled in with numbers. A name with _prev is the state before the step;
"x", "W_x" and the like are themselves.
"""

from inspect import getsource, ismodule
from typing import Any, NamedTuple

from scratchnet.cells import CELLS
from scratchnet.errors import InvalidValueError


class Term(NamedTuple):
    """One result of a step, for one unit.

    "{f} * {c_prev}" with the numbers filled in is its value.
    """

    result: str
    formula: str


class MicroStep(NamedTuple):
    """One micro-step."""

    title: str
    equation: str
    code: tuple[str, ...]  # its lines in the cell's file
    terms: tuple[Term, ...]


def _sigmoid(letter: str) -> Term:
    return Term(letter, f"1 / (1 + exp(-{{a_{letter}}}))")


def _weights(products: str, code: tuple[str, ...]) -> MicroStep:
    return MicroStep("weights", products, code, ())


SUM = "sum over x and h', the weights of this column, and b"
WEIGHT_LINES = (
    "dW_x=x.reshape(T * N, D).T @ flat",
    "dW_h=h[:-1].reshape(T * N, -1).T @ flat",
    "db=flat.sum(axis=0)",
)

FORWARD: dict[str, tuple[MicroStep, ...]] = {
    "rnn": (
        MicroStep(
            "pre-activation",
            "a = x W_x + h' W_h + b",
            ("a = a_x[t] + h[t] @ W_h",),
            (Term("a_h", SUM),),
        ),
        MicroStep(
            "hidden state",
            "h = tanh(a)",
            ("step(a, h[t + 1], nonlinearity)",),
            (Term("h", "tanh({a_h})"),),
        ),
    ),
    "lstm": (
        MicroStep(
            "pre-activations",
            "a = x W_x + h' W_h + b",
            ("a = a_x[t] + h[t] @ W_h",),
            tuple(Term(f"a_{g}", SUM) for g in "ifgo"),
        ),
        MicroStep(
            "gates",
            "i, f, o = sigmoid(a)    g = tanh(a)",
            ("i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)",),
            (_sigmoid("i"), _sigmoid("f"), Term("g", "tanh({a_g})"), _sigmoid("o")),
        ),
        MicroStep(
            "cell state",
            "c = f c' + i g",
            ("c = f * c_prev + i * g",),
            (Term("c", "{f} * {c_prev} + {i} * {g}"),),
        ),
        MicroStep(
            "hidden state",
            "h = o tanh(c)",
            ("h = o * np.tanh(c)",),
            (Term("h", "{o} * tanh({c})"),),
        ),
    ),
    "gru": (
        MicroStep(
            "recurrent projection",
            "m = h' W_h,    m_n = h' W_hn + b_hn",
            ("m = h[t] @ W_h", "m[:, 2 * H :] += b_hn"),
            (Term("m_n", "sum over h', the weights of this column, and b_hn"),),
        ),
        MicroStep(
            "gates",
            "r, z = sigmoid(a + m)",
            ("r, z = sigmoid(a_r + m_r), sigmoid(a_z + m_z)",),
            (_sigmoid("r"), _sigmoid("z")),
        ),
        MicroStep(
            "candidate",
            "n = tanh(a_n + r m_n)",
            ("n = np.tanh(a_n + r * m_n)",),
            (Term("n", "tanh({a_n})"),),
        ),
        MicroStep(
            "hidden state",
            "h = (1 - z) n + z h'",
            ("h = (ONE - z) * n + z * h_prev",),
            (Term("h", "(1 - {z}) * {n} + {z} * {h_prev}"),),
        ),
    ),
    "gru_reset_before": (
        MicroStep(
            "gates",
            "r, z = sigmoid(a)",
            ("r, z = sigmoid(a_r), sigmoid(a_z)",),
            (_sigmoid("r"), _sigmoid("z")),
        ),
        MicroStep(
            "previous state, reset",
            "s = r h'",
            ("return r, z, r * h_prev",),
            (Term("s", "{r} * {h_prev}"),),
        ),
        MicroStep(
            "candidate",
            "n = tanh(x W_xn + s W_hn + b_n)",
            ("a_n += s @ W_hn", "n = np.tanh(a_n)"),
            (Term("n", "tanh({a_n})"),),
        ),
        MicroStep(
            "hidden state",
            "h = (1 - z) n + z h'",
            ("return n, (ONE - z) * n + z * h_prev",),
            (Term("h", "(1 - {z}) * {n} + {z} * {h_prev}"),),
        ),
    ),
}

LSTM_PRE = ("a = a_x[t] + h[t] @ W_h",)
LSTM_H = MicroStep(
    "hidden state", "h = o tanh(c)", ("h = o * np.tanh(c)",), (Term("h", "{o} * tanh({c})"),)
)
FORWARD |= {
    "lstm_peephole": (
        MicroStep(
            "pre-activations, with the peepholes on c'",
            "a = x W_x + h' W_h + b,    + p_i c',    + p_f c'",
            (
                *LSTM_PRE,
                "i, f, g = sigmoid(a_i + p_i * c_prev), sigmoid(a_f + p_f * c_prev), np.tanh(a_g)",
            ),
            (
                Term("a_i", f"{SUM}, and p_i c'"),
                Term("a_f", f"{SUM}, and p_f c'"),
                Term("a_g", SUM),
            ),
        ),
        MicroStep(
            "gates",
            "i, f = sigmoid(a)    g = tanh(a)",
            ("i, f, g = sigmoid(a_i + p_i * c_prev), sigmoid(a_f + p_f * c_prev), np.tanh(a_g)",),
            (_sigmoid("i"), _sigmoid("f"), Term("g", "tanh({a_g})")),
        ),
        MicroStep(
            "cell state",
            "c = f c' + i g",
            ("c = f * c_prev + i * g",),
            (Term("c", "{f} * {c_prev} + {i} * {g}"),),
        ),
        MicroStep(
            "output gate, which reads the new c",
            "o = sigmoid(a_o + p_o c)",
            ("o = sigmoid(a_o + p_o * c)",),
            (Term("a_o", f"{SUM}, and p_o c"), _sigmoid("o")),
        ),
        LSTM_H,
    ),
    **{
        name: (
            MicroStep(
                "pre-activations",
                "a = x W_x + h' W_h + b",
                LSTM_PRE,
                tuple(Term(f"a_{g}", SUM) for g in "igo"),
            ),
            MicroStep(
                "gates",
                "i, o = sigmoid(a)    g = tanh(a)",
                ("i, g, o = sigmoid(a_i), np.tanh(a_g), sigmoid(a_o)",),
                (_sigmoid("i"), Term("g", "tanh({a_g})"), _sigmoid("o")),
            ),
            MicroStep("cell state", equation, (code,), (Term("c", formula),)),
            LSTM_H,
        )
        for name, equation, code, formula in (
            (
                "lstm_coupled",
                "c = (1 - i) c' + i g",
                "c = (ONE - i) * c_prev + i * g",
                "(1 - {i}) * {c_prev} + {i} * {g}",
            ),
            ("lstm_no_forget", "c = c' + i g", "c = c_prev + i * g", "{c_prev} + {i} * {g}"),
        )
    },
    "sru": (
        MicroStep(
            "gates",
            "f = sigmoid(a_f + v_f c')    r = sigmoid(a_r + v_r c')",
            ("f, r = sigmoid(a_f + v_f * c_prev), sigmoid(a_r + v_r * c_prev)",),
            (_sigmoid("f"), _sigmoid("r")),
        ),
        MicroStep(
            "cell state",
            "c = f c' + (1 - f) u",
            ("c = f * c_prev + (ONE - f) * a_u",),
            (Term("c", "{f} * {c_prev} + (1 - {f}) * {u}"),),
        ),
        MicroStep(
            "hidden state",
            "h = r c + (1 - r) s",
            ("h = r * c + (ONE - r) * a_s",),
            (Term("h", "{r} * {c} + (1 - {r}) * {s}"),),
        ),
    ),
    "mingru": (
        MicroStep("update gate", "z = sigmoid(a_z)", ("z = sigmoid(a_z)",), (_sigmoid("z"),)),
        MicroStep(
            "hidden state",
            "h = (1 - z) h' + z n",
            ("h = (ONE - z) * h_prev + z * a_n",),
            (Term("h", "(1 - {z}) * {h_prev} + {z} * {n}"),),
        ),
    ),
}

UPSTREAM = MicroStep(
    "two sources meet in h",
    "dh = dy + dh_next",
    ("dh = dy[t] + dh_next",),
    (Term("dh", "{dy} + {dh_next}"),),
)

TO_CANDIDATE = (  # both forms of the GRU have the same h and the same tanh
    MicroStep(
        "through h = (1 - z) n + z h'",
        "dn = dh (1 - z)    dz = dh (h' - n)    directly: dh z",
        (
            "da_n = dh * (ONE - z) * d_tanh(n)",
            "da_z = dh * (h_prev - n) * d_sigmoid(z)",
            "dh_direct = dh * z",
        ),
        (
            Term("dn", "{dh} * (1 - {z})"),
            Term("dz", "{dh} * ({h_prev} - {n})"),
            Term("dh_direct", "{dh} * {z}"),
        ),
    ),
    MicroStep(
        "through tanh, to a_n",
        "da_n = dn (1 - n^2)",
        ("da_n = dh * (ONE - z) * d_tanh(n)",),
        (Term("da_n", "{dn} * (1 - {n}^2)"),),
    ),
)

BACKWARD: dict[str, tuple[MicroStep, ...]] = {
    "rnn": (
        UPSTREAM,
        MicroStep(
            "through tanh",
            "da = dh (1 - h^2)",
            ("step(dh, h[t + 1], da[t], cache.nonlinearity)",),
            (Term("da_h", "{dh} * (1 - {h}^2)"),),
        ),
        _weights("dW_x += x^T da    dW_h += h'^T da    db += da", WEIGHT_LINES),
        MicroStep(
            "to the step before",
            "dh_prev = da W_h^T",
            ("dh_prev = da[t] @ W_h.T",),
            (Term("dh_prev", "sum over da and row {j} of W_h"),),
        ),
    ),
    "lstm": (
        UPSTREAM,
        MicroStep(
            "through h = o tanh(c), to the output gate",
            "do = dh tanh(c)",
            ("da_o = dh * tanh_c * d_sigmoid(o)",),
            (Term("do", "{dh} * {tanh_c}"),),
        ),
        MicroStep(
            "two sources meet in c",
            "dc = dh o (1 - tanh(c)^2) + dc_next",
            ("dc = dh * o * d_tanh(tanh_c) + dc_next",),
            (
                Term("dc_from_h", "{dh} * {o} * (1 - {tanh_c}^2)"),
                Term("dc", "{dc_from_h} + {dc_next}"),
            ),
        ),
        MicroStep(
            "through c = f c' + i g, to the gates",
            "di = dc g    df = dc c'    dg = dc i",
            (
                "da_i = dc * g * d_sigmoid(i)",
                "da_f = dc * c_prev * d_sigmoid(f)",
                "da_g = dc * i * d_tanh(g)",
            ),
            (Term("di", "{dc} * {g}"), Term("df", "{dc} * {c_prev}"), Term("dg", "{dc} * {i}")),
        ),
        MicroStep(
            "through sigmoid and tanh, to the pre-activations",
            "da = d(gate) times the slope, in terms of the gate",
            (
                "da_i = dc * g * d_sigmoid(i)",
                "da_f = dc * c_prev * d_sigmoid(f)",
                "da_g = dc * i * d_tanh(g)",
                "da_o = dh * tanh_c * d_sigmoid(o)",
            ),
            (
                Term("da_i", "{di} * {i} * (1 - {i})"),
                Term("da_f", "{df} * {f} * (1 - {f})"),
                Term("da_g", "{dg} * (1 - {g}^2)"),
                Term("da_o", "{do} * {o} * (1 - {o})"),
            ),
        ),
        _weights("dW_x += x^T da    dW_h += h'^T da    db += da", WEIGHT_LINES),
        MicroStep(
            "to the step before",
            "dh_prev = da W_h^T    dc_prev = dc f",
            ("dh_prev = da[t] @ W_h.T", "dc_prev = dc * f"),
            (Term("dh_prev", "sum over da and row {j} of W_h"), Term("dc_prev", "{dc} * {f}")),
        ),
    ),
    "gru": (
        UPSTREAM,
        *TO_CANDIDATE,
        MicroStep(
            "through r m_n",
            "dr = da_n m_n    dm_n = da_n r",
            ("da_r = da_n * m_n * d_sigmoid(r)", "dm_n = da_n * r"),
            (Term("dr", "{da_n} * {m_n}"), Term("dm_n", "{da_n} * {r}")),
        ),
        MicroStep(
            "through the sigmoids",
            "da_r = dr r (1 - r)    da_z = dz z (1 - z)",
            ("da_r = da_n * m_n * d_sigmoid(r)", "da_z = dh * (h_prev - n) * d_sigmoid(z)"),
            (Term("da_r", "{dr} * {r} * (1 - {r})"), Term("da_z", "{dz} * {z} * (1 - {z})")),
        ),
        _weights(
            "dW_x += x^T da    dW_h += h'^T dm    db += da    db_hn += dm_n",
            (
                "dW_x=x.reshape(T * N, D).T @ da_flat",
                "dW_h=h[:-1].reshape(T * N, H).T @ dm_flat",
                "db=da_flat.sum(axis=0)",
                "db_hn=dm_flat[:, 2 * H :].sum(axis=0)",
            ),
        ),
        MicroStep(
            "to the step before",
            "dh_prev = dm W_h^T + dh z",
            ("dh_prev = dm[t] @ W_h.T + dh_direct",),
            (
                Term("dh_through", "sum over dm and row {j} of W_h"),
                Term("dh_prev", "{dh_through} + {dh_direct}"),
            ),
        ),
    ),
    "gru_reset_before": (
        UPSTREAM,
        *TO_CANDIDATE,
        MicroStep(
            "through s W_hn and s = r h'",
            "ds = da_n W_hn^T    dr = ds h'    to h': ds r",
            ("ds = da_n @ W_hn.T", "da_r = ds * h_prev * d_sigmoid(r)", "dh_reset = ds * r"),
            (
                Term("ds", "sum over da_n and row {j} of W_hn"),
                Term("dr", "{ds} * {h_prev}"),
                Term("dh_reset", "{ds} * {r}"),
            ),
        ),
        MicroStep(
            "through the sigmoids",
            "da_r = dr r (1 - r)    da_z = dz z (1 - z)",
            ("da_r = ds * h_prev * d_sigmoid(r)", "da_z = dh * (h_prev - n) * d_sigmoid(z)"),
            (Term("da_r", "{dr} * {r} * (1 - {r})"), Term("da_z", "{dz} * {z} * (1 - {z})")),
        ),
        _weights(
            "dW_x += x^T da    dW_h(r, z) += h'^T da    dW_hn += s^T da_n    db += da",
            (
                "dW_h[:, : 2 * H] = h[:-1].reshape(T * N, H).T @ flat[:, : 2 * H]",
                "dW_h[:, 2 * H :] = cache.s.reshape(T * N, H).T @ flat[:, 2 * H :]",
            ),
        ),
        MicroStep(
            "to the step before",
            "dh_prev = (da_r, da_z) W_h^T + ds r + dh z",
            ("dh_prev = da[t, :, : 2 * H] @ W_hrz.T + dh_past_gates",),
            (
                Term("dh_through", "sum over da_r, da_z and row {j} of W_h"),
                Term("dh_prev", "{dh_through} + {dh_reset} + {dh_direct}"),
            ),
        ),
    ),
}


TO_OUTPUT = MicroStep(
    "through h = o tanh(c), to the output gate",
    "do = dh tanh(c)",
    ("da_o = dh * tanh_c * d_sigmoid(o)",),
    (Term("do", "{dh} * {tanh_c}"),),
)
TO_C = MicroStep(
    "two sources meet in c",
    "dc = dh o (1 - tanh(c)^2) + dc_next",
    ("dc = dh * o * d_tanh(tanh_c) + dc_next",),
    (Term("dc_from_h", "{dh} * {o} * (1 - {tanh_c}^2)"), Term("dc", "{dc_from_h} + {dc_next}")),
)
NO_W_H = _weights(
    "dW_x += x^T da    db += da", ("dW_x=x.reshape(T * N, D).T @ flat", "db=flat.sum(axis=0)")
)


def _slopes(code: tuple[str, ...], **slope: str) -> MicroStep:
    terms = tuple(
        Term(f"da_{g}", f"{{d{g}}} * {s.replace('@', f'{{{g}}}')}") for g, s in slope.items()
    )
    return MicroStep(
        "through sigmoid and tanh",
        "da = d(gate) times the slope, in terms of the gate",
        code,
        terms,
    )


SIGMOID, TANH = "@ * (1 - @)", "(1 - @^2)"

BACKWARD |= {
    "lstm_peephole": (
        UPSTREAM,
        TO_OUTPUT._replace(
            equation="do = dh tanh(c)    da_o = do o (1 - o)",
            terms=(*TO_OUTPUT.terms, Term("da_o", "{do} * {o} * (1 - {o})")),
        ),
        MicroStep(
            "three sources meet in c",
            "dc = dh o (1 - tanh(c)^2) + da_o p_o + dc_next",
            ("dc = dh * o * d_tanh(tanh_c) + da_o * p_o + dc_next",),
            (*TO_C.terms[:1], Term("dc", "{dc_from_h} + {dc_from_o} + {dc_next}")),
        ),
        MicroStep(
            "through c = f c' + i g, to the gates",
            "di = dc g    df = dc c'    dg = dc i",
            (
                "da_i = dc * g * d_sigmoid(i)",
                "da_f = dc * c_prev * d_sigmoid(f)",
                "da_g = dc * i * d_tanh(g)",
            ),
            (Term("di", "{dc} * {g}"), Term("df", "{dc} * {c_prev}"), Term("dg", "{dc} * {i}")),
        ),
        _slopes(
            (
                "da_i = dc * g * d_sigmoid(i)",
                "da_f = dc * c_prev * d_sigmoid(f)",
                "da_g = dc * i * d_tanh(g)",
            ),
            i=SIGMOID,
            f=SIGMOID,
            g=TANH,
        ),
        _weights(
            "dW_x += x^T da    dW_h += h'^T da    db += da    dp += da c",
            (*WEIGHT_LINES, "dp_i=(da_i * c[:-1])", "dp_f=(da_f * c[:-1])", "dp_o=(da_o * c[1:])"),
        ),
        MicroStep(
            "to the step before",
            "dh_prev = da W_h^T    dc_prev = dc f + da_i p_i + da_f p_f",
            ("dh_prev = da[t] @ W_h.T", "dc_prev = dc * f + da_i * p_i + da_f * p_f"),
            (
                Term("dh_prev", "sum over da and row {j} of W_h"),
                Term("dc_prev", "{dc} * {f} + {dc_seen}"),
            ),
        ),
    ),
    **{
        name: (
            UPSTREAM,
            TO_OUTPUT,
            TO_C,
            MicroStep(
                f"through {forward}, to the gates",
                equation,
                (code, "da_g = dc * i * d_tanh(g)"),
                (Term("di", formula), Term("dg", "{dc} * {i}")),
            ),
            _slopes(
                (code, "da_g = dc * i * d_tanh(g)", "da_o = dh * tanh_c * d_sigmoid(o)"),
                i=SIGMOID,
                g=TANH,
                o=SIGMOID,
            ),
            _weights("dW_x += x^T da    dW_h += h'^T da    db += da", WEIGHT_LINES),
            MicroStep(
                "to the step before",
                f"dh_prev = da W_h^T    dc_prev = {prev}",
                ("dh_prev = da[t] @ W_h.T", prev_code),
                (Term("dh_prev", "sum over da and row {j} of W_h"), Term("dc_prev", prev_formula)),
            ),
        )
        for name, forward, equation, code, formula, prev, prev_code, prev_formula in (
            (
                "lstm_coupled",
                "c = (1 - i) c' + i g",
                "di = dc (g - c')    dg = dc i",
                "da_i = dc * (g - c_prev) * d_sigmoid(i)",
                "{dc} * ({g} - {c_prev})",
                "dc (1 - i)",
                "dc_prev = dc * (ONE - i)",
                "{dc} * (1 - {i})",
            ),
            (
                "lstm_no_forget",
                "c = c' + i g",
                "di = dc g    dg = dc i",
                "da_i = dc * g * d_sigmoid(i)",
                "{dc} * {g}",
                "dc",
                "return da_i, da_g, da_o, dc",
                "{dc}",
            ),
        )
    },
    "sru": (
        UPSTREAM,
        MicroStep(
            "through h = r c + (1 - r) s",
            "dr = dh (c - s)    da_s = dh (1 - r)",
            ("da_r = dh * (c - s) * d_sigmoid(r)", "da_s = dh * (ONE - r)"),
            (Term("dr", "{dh} * ({c} - {s})"), Term("da_s", "{dh} * (1 - {r})")),
        ),
        MicroStep(
            "two sources meet in c",
            "dc = dh r + dc_next",
            ("dc = dh * r + dc_next",),
            (Term("dc_from_h", "{dh} * {r}"), Term("dc", "{dc_from_h} + {dc_next}")),
        ),
        MicroStep(
            "through c = f c' + (1 - f) u",
            "df = dc (c' - u)    da_u = dc (1 - f)",
            ("da_f = dc * (c_prev - u) * d_sigmoid(f)", "da_u = dc * (ONE - f)"),
            (Term("df", "{dc} * ({c_prev} - {u})"), Term("da_u", "{dc} * (1 - {f})")),
        ),
        _slopes(
            ("da_f = dc * (c_prev - u) * d_sigmoid(f)", "da_r = dh * (c - s) * d_sigmoid(r)"),
            f=SIGMOID,
            r=SIGMOID,
        ),
        _weights(
            "dW_x += x^T da    dv_f += da_f c'    dv_r += da_r c'    db += da",
            (*NO_W_H.code, "dv_f=(da_f * c[:-1])", "dv_r=(da_r * c[:-1])"),
        ),
        MicroStep(
            "to the step before; h' was not read",
            "dc_prev = dc f + da_f v_f + da_r v_r",
            ("dc_prev = dc * f + da_f * v_f + da_r * v_r", "dh_prev = np.zeros_like(dh)"),
            (Term("dc_prev", "{dc} * {f} + {dc_seen}"),),
        ),
    ),
    "mingru": (
        UPSTREAM,
        MicroStep(
            "through h = (1 - z) h' + z n",
            "dz = dh (n - h')    da_n = dh z",
            ("da_z = dh * (n - h_prev) * d_sigmoid(z)", "da_n = dh * z"),
            (Term("dz", "{dh} * ({n} - {h_prev})"), Term("da_n", "{dh} * {z}")),
        ),
        _slopes(("da_z = dh * (n - h_prev) * d_sigmoid(z)",), z=SIGMOID),
        NO_W_H,
        MicroStep(
            "to the step before",
            "dh_prev = dh (1 - z)",
            ("dh_prev = dh * (ONE - z)",),
            (Term("dh_prev", "{dh} * (1 - {z})"),),
        ),
    ),
}


PACKAGE = "scratchnet.cells."


def as_data(cell_name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The steps of a cell with the place of each code line; none for a cell without an entry.

    Raises ValueError where a code line is in no file of the cell.
    """
    made = {}
    for direction, table in (("forward", FORWARD), ("backward", BACKWARD)):
        made[direction] = [
            {
                "title": step.title,
                "equation": step.equation,
                "code": [[_place_of(code, cell_name), code] for code in step.code],
                "terms": [
                    [_option(term.result, options), _option(term.formula, options)]
                    for term in step.terms
                ],
            }
            for step in (_with_option(step, options) for step in table.get(cell_name, ()))
        ]
    return made


def _with_option(step: MicroStep, options: dict[str, Any]) -> MicroStep:
    """The relu form of the RNN has another equation for the same lines."""
    if options.get("nonlinearity") != "relu":
        return step
    step = step._replace(
        title=step.title.replace("tanh", "relu"),
        equation=step.equation.replace("tanh(a)", "relu(a)"),
    )
    return step._replace(equation=step.equation.replace("(1 - h^2)", "where h > 0, else 0"))


def _option(text: str, options: dict[str, Any]) -> str:
    if options.get("nonlinearity") != "relu":
        return text
    return text.replace("tanh({a_h})", "max({a_h}, 0)").replace("(1 - {h}^2)", "[{h} > 0]")


def _place_of(code: str, cell_name: str) -> str:
    """The file and the line of code, in the cell's module or in one that it is built on."""
    cell: Any = CELLS[cell_name]
    base = [m for m in vars(cell).values() if ismodule(m) and m.__name__.startswith(PACKAGE)]
    for module in (cell, *base):
        for number, line in enumerate(getsource(module).splitlines(), start=1):
            if code in line:
                return f"{module.__name__.replace('.', '/')}.py:{number}"
    raise InvalidValueError(f"{code!r} is not a line of the {cell_name} cell")
