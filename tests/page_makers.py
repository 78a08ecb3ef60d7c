"""What the tests of the stepper page share: small traces, the data of a page, and the numbers that it shows."""

import base64
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import scratchnet
from scratchnet.cells import CELLS
from scratchnet.layers import Linear, Recurrent, Sequential
from scratchnet.tracing.terms import program_for
from scratchnet.view.walk import steps

from conftest import RECURRENT as LAYERS

RECURRENT = LAYERS | {name: partial(Recurrent, name) for name in CELLS if name not in ("rnn", "lstm", "gru")}
ROOT = Path(__file__).parent.parent


def small_trace(rng, kind="lstm", T=6, N=1, H=4, labels=(), **options):
    rec = RECURRENT[kind](2, H, rng=rng, **options)
    model = Sequential(rec=rec, head=Linear(rec.output_size, 1, rng=rng))
    for p in model.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    return scratchnet.trace(model, rng.standard_normal((T, N, 2)), rng.standard_normal((T, N, 1)), labels=labels)


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def unpack(packed):
    return np.frombuffer(base64.b64decode(packed["data"]), packed["type"]).reshape(packed["shape"])


def walk_of(run, direction="backward"):
    return steps(program_for(run.cell, run.cache), run.cell)[direction]


def shown(driver, result):
    """The full-precision value of a term of the micro-step on display."""
    return float(driver.find_element("css selector", f'.term[data-result="{result}"]').get_attribute("data-value"))
