"""``scratchnet gallery``: a page with every figure, the call that drew it, and how to read it.

The code on the page is the code that is run: ``SETUP`` first, then each call in its namespace.
"""

import argparse
import html
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from scratchnet.commands.options import Commands
from scratchnet.files import make_folder, write_text
from scratchnet.plots.style import png


class Example(NamedTuple):
    """One figure: the name of its function, the call, what is seen, and how it is read."""

    name: str
    call: str
    alt: str
    reading: str


SETUP = """\
import numpy as np
import scratchnet
from scratchnet import plots
from scratchnet.data import Standardizer, datasets, sliding_windows, split_at
from scratchnet.data.tasks import ADDING_BASELINE_MSE, adding
from scratchnet.forecasting.baselines import Autoregression, last_value
from scratchnet.layers import GRU, LSTM, RNN, Linear, Sequential
from scratchnet.losses import softmax_cross_entropy
from scratchnet.models import Vocabulary, character_model
from scratchnet.tracing import TraceWatch
from scratchnet.training import Adam, Batches, Clip, fit, fit_stream, predict

# The adding problem: the sum of two marked numbers out of T.
T, rng = 80, np.random.default_rng(1)
x, y = adding(rng, 2048, T)
unseen, answer = adding(rng, 8, T)
marks = np.flatnonzero(unseen[:, 0, 1]).tolist()
traces, losses, histories = {}, {}, {}
for name, layer in {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}.items():
    rng = np.random.default_rng(0)
    bias = {"forget_bias": 2.0} if name == "LSTM" else {}
    rec = layer(2, 16, return_sequences=False, batch_first=True, rng=rng, **bias)
    model = Sequential(rec=rec, head=Linear(16, 1, rng=rng))
    watch = TraceWatch(every=20, probe=unseen.swapaxes(0, 1))
    histories[name] = fit(
        model, Batches(x.swapaxes(0, 1), y, batch_size=64), Adam(0.01), epochs=25, rng=rng,
        validation=(unseen.swapaxes(0, 1), answer), callbacks=[Clip(1.0), watch], progress=False,
    )
    losses[name] = histories[name].column("loss")
    traces[name] = scratchnet.trace(model, unseen.swapaxes(0, 1), answer, title=name)

# A loss at every step: an untrained LSTM and noise.
rng = np.random.default_rng(0)
model = Sequential(rec=LSTM(1, 8, rng=rng), head=Linear(8, 1, rng=rng))
noise = rng.standard_normal((2, 40, 1, 1))
many = scratchnet.trace(model, noise[0], noise[1], title="A loss at every step")

# Characters.
text = "the cat sat on the mat and the rat ran off to the hat. " * 40
vocabulary = Vocabulary.of(text)
rng = np.random.default_rng(0)
model = character_model(len(vocabulary), units=32, rng=rng)
tokens = vocabulary.encode(text)[:, None]
fit_stream(
    model, (tokens[:-1], tokens[1:]), Adam(0.01), epochs=3, k1=40, loss=softmax_cross_entropy,
    progress=False,
)
letters = scratchnet.trace(model, tokens[:110], labels=text[:110], title="An LSTM reads")

# Yearly sunspots: learn from 1700 to 1920, forecast 1921 to 1955.
series = datasets.load("sunspots")
past, _, test, _ = split_at(series.times, 1890, 1920, 1955)
scaler = Standardizer().fit(series.values[past])
z = scaler.transform(series.values)
learn, ask = sliding_windows(z, 9, part=slice(9, test.start)), sliding_windows(z, 9, part=test)
rng = np.random.default_rng(0)
model = Sequential(
    rec=GRU(1, 12, batch_first=True, return_sequences=False, rng=rng), head=Linear(12, 1, rng=rng)
)
batches = Batches(learn.x, learn.y, batch_size=32)
fit(model, batches, Adam(0.005), epochs=40, rng=rng, progress=False)
raw = sliding_windows(series.values, 9, part=test)
years, truth = [int(t) for t in series.times[raw.at]], raw.y[:, 0]
autoregression = Autoregression(9).fit(series.values[: test.start])
forecasts = {
    "GRU": scaler.inverse_transform(predict(model, ask.x))[:, 0],
    "AR(9)": autoregression.predict(raw.x)[:, 0],
    "last value": last_value(raw.x)[:, 0],
}

# The autoregression, step after step, from each year on: its own forecasts are its next inputs.
window, ahead = raw.x[:-12], []
for _ in range(12):
    ahead.append(autoregression.predict(window)[:, 0])
    window = np.concatenate([window[:, 1:], ahead[-1][:, None, None]], axis=1)
ahead = np.stack(ahead, axis=1)  # (origins, 12)
came = np.stack([truth[k : k + 12] for k in range(len(ahead))])
low, high = np.quantile(came[1:] - ahead[1:], [0.05, 0.95], axis=0)  # of the other years


def rmse(forecast):
    return np.sqrt(np.mean((came - forecast) ** 2, axis=0))
"""

EXAMPLES = (
    Example(
        "river",
        'plots.river(traces, marks=marks, title="Why the LSTM\'s gradient survives")',
        "Three lanes of steps. The ribbon of the RNN narrows, those of LSTM and GRU hardly do.",
        "The loss enters at the right, in red, and the gradient flows to the left. The width of a"
        " ribbon is the size of the gradient, on one log scale for all lanes. In the LSTM c is only"
        " multiplied by the forget gate at each step back; if that is close to 1, the ribbon stays"
        " wide.",
    ),
    Example(
        "cell",
        'plots.cell(traces["LSTM"], t=40, term="dc")',
        "The LSTM cell as a drawing of operations and wires; where two gradients meet in c is lit.",
        "The gradient comes in at the right, from the loss in red and from the future in blue, and"
        " leaves at the left. A highlighted wire is what the line computes; thick ones are what it"
        " reads. Beneath are the equation with the numbers of one unit, and the library's line.",
    ),
    Example(
        "gates",
        'plots.gates(traces["LSTM"], inputs=unseen[:, 0, 0], marks=marks)',
        "Heat maps of the gates i, f, g, o and of tanh c, units down and time across.",
        "Each row is a unit, the same in all panels, with its number. Bright is open, or positive;"
        " dark is shut, or negative. Look for what changes at the marked steps.",
    ),
    Example(
        "saturation",
        'plots.saturation(traces["LSTM"])',
        "A panel for each of the gates i, f, o, with a mark for each unit.",
        "At the right a gate is mostly shut, at the top mostly open, at the lower left mostly in"
        " between. A number is that many units at one place.",
    ),
    Example(
        "text",
        "plots.text(letters)",
        "A text, each letter on the colour of one unit's value.",
        "The ground of each character is tanh(c) of one unit after the character was read. Beneath"
        " is the character that the network expects next.",
    ),
    Example(
        "gradient_norms",
        "plots.gradient_norms(traces)",
        "Curves of the gradient's size by time step; that of the RNN falls to the left.",
        "The gradient starts at the right and travels to the left. A straight line down on the log"
        " axis is the same factor at each step.",
    ),
    Example(
        "per_loss_gradients",
        "plots.per_loss_gradients(many, k1=10, k2=20)",
        "A triangle of colours: loss steps up, time steps across.",
        "Each row is the gradient of one loss, on its way to the left. What truncated BPTT cuts off"
        " is hatched, and the title says what share of the weight gradient is lost.",
    ),
    Example(
        "jacobians",
        'plots.jacobians(traces["LSTM"])',
        "Two panels of singular values by time step.",
        "Above, how much one step can stretch a change of its state; below, all steps together to"
        " the last. Where the largest one below goes to zero nothing is learned from that step.",
    ),
    Example(
        "weight_gradients",
        'plots.weight_gradients(traces["LSTM"])',
        "A curve for each weight: the norm of what each step adds to its gradient.",
        "Every step adds to the gradient of the same weights. The sum is shorter than all its terms"
        " together, since they point in different directions.",
    ),
    Example(
        "learning_curves",
        'plots.learning_curves(losses, smooth=20, lines={"nothing learned": ADDING_BASELINE_MSE})',
        "The loss of RNN, LSTM and GRU by training step.",
        "A running mean of the loss on a log axis. A curve on the dotted line answers the mean.",
    ),
    Example(
        "training_curves",
        'plots.training_curves(histories["GRU"])',
        "Training and validation loss by epoch, with a star at the best epoch.",
        "The curves part where the network begins to know its training data by heart. The star is"
        " the epoch with the lowest validation loss.",
    ),
    Example(
        "clip_factor",
        'plots.clip_factor(histories["GRU"], limit=1.0)',
        "The norm of the gradient before and after clipping, and the limit.",
        "Where the filled area is, the gradient was shortened; its height on the log axis is the"
        " clip factor. A limit below all norms is a learning rate in disguise.",
    ),
    Example(
        "clipping",
        "plots.clipping(watch)",
        "For each parameter and gate two marks: the gradient norm before and after clipping.",
        "Clipping by the global norm moves all marks by one factor. A gate whose gradient is far"
        " above the others is what made the norm large.",
    ),
    Example(
        "histograms",
        'plots.histograms(watch, "activations")',
        "A panel for each gate: the spread of its values over training.",
        "A column is one recorded step, and a brighter bin has more of the values. Gates that run"
        " to 0 or 1 saturate.",
    ),
    Example(
        "forecast",
        'plots.forecast(years, truth, forecasts, xlabel="year", ylabel="sunspots")',
        "Sunspots from 1921 to 1955, and three forecasts one year ahead.",
        "A forecast that looks right may only be late: compare it with the last value, which is"
        " late by one year.",
    ),
    Example(
        "errors_ahead",
        "plots.errors_ahead(\n"
        '    {"AR(9)": rmse(ahead), "mean": rmse(series.values[past].mean())},\n'
        '    ylabel="RMSE [sunspots]",\n)',
        "The error of an autoregression by steps ahead, and that of the mean.",
        "The error grows with the distance. Where the curve meets that of the mean, the forecast"
        " knows nothing any more.",
    ),
    Example(
        "fan",
        "plots.fan(\n"
        "    series.values[test.start - 24 : test.start, 0],\n"
        "    ahead[0],\n"
        "    ahead[0] + low,\n"
        "    ahead[0] + high,\n"
        "    truth=came[0],\n"
        '    label="AR(9)",\n'
        '    ylabel="sunspots",\n)',
        "A forecast of twelve years, its interval, and what was measured later.",
        "The band is where nine in ten of the true values should lie. It must widen with the"
        " distance.",
    ),
    Example(
        "loss_cliff",
        "plots.loss_cliff()",
        "The loss over weight and bias of one unit, with two descents along a wall.",
        "At the wall the gradient is thousands of times as large as next to it: plain descent is"
        " thrown out of the picture, clipped descent takes an ordinary step.",
    ),
)


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "gallery", help="a page with every figure, the call that drew it, and how to read it"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder for gallery.html (default: out)"
    )
    parser.add_argument(
        "--size",
        choices=["slide", "paper"],
        default="slide",
        help="figures for a slide (default) or for paper",
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Train the small networks, draw all figures, write the page, and print its path."""
    make_folder(chosen.out)
    path = chosen.out / "gallery.html"
    write_text(path, page(chosen.size))
    print(path)
    return 0


def drawn(size: str = "slide") -> Iterator[tuple[Example, str, Any]]:
    """Each example, the code that is run after ``SETUP``, and its figure."""
    names: dict[str, Any] = {}
    exec(SETUP, names)
    for example in EXAMPLES:
        call = example.call
        if size != "slide":
            call = call.removesuffix(")").rstrip(",\n")
            call += f"{', ' * (not call.endswith('('))}size={size!r})"
        yield example, call, eval(call, names)


def page(size: str = "slide") -> str:
    """The whole page: one file, no network, light and dark."""
    entries, contents = [], []
    for example, call, figure in drawn(size):
        image = f"data:image/png;base64,{b64encode(png(figure)).decode()}"
        entries.append(
            ENTRY.substitute(
                name=example.name,
                image=image,
                alt=html.escape(example.alt, quote=True),
                call=html.escape(call),
                reading=html.escape(example.reading),
            )
        )
        contents.append(f'<a href="#{example.name}">{example.name}</a>')
    from scratchnet.plots import PALETTE

    themes = {
        theme: "".join(f"--{name}: {entry[theme]}; " for name, entry in PALETTE["page"].items())
        for theme in ("light", "dark")
    }
    return PAGE.substitute(
        **themes, contents="\n".join(contents), setup=html.escape(SETUP), entries="".join(entries)
    )


ENTRY = Template("""<section id="$name">
<h2><code>$name</code></h2>
<figure><img src="$image" alt="$alt"><figcaption>$reading</figcaption></figure>
<div class="code"><button type="button">Copy</button><pre tabindex="0">$call</pre></div>
</section>
""")

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>scratchnet: all figures</title>
<style>
:root { color-scheme: light dark; $light}
@media (prefers-color-scheme: dark) { :root { $dark} }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: clamp(1rem, 0.9rem + 0.4vw, 1.6rem)/1.5 system-ui, sans-serif; }
nav { display: flex; flex-wrap: wrap; gap: 0.2em 1em; }
a { color: var(--highlight); }
a:focus-visible, button:focus-visible, pre:focus-visible { outline: 3px solid var(--highlight); }
section { margin: 2.5em 0; border-top: 1px solid var(--line); }
figure { margin: 0; }
figcaption { margin: 0.6em 0; max-width: 44em; }
img { display: block; max-width: 100%; height: auto; background: #ffffff; }
.code { position: relative; background: var(--code); border-radius: 6px; }
pre { margin: 0; padding: 0.7em 5em 0.7em 0.8em; overflow-x: auto;
  font: 0.85em/1.5 ui-monospace, monospace; }
button { position: absolute; top: 0.4em; right: 0.4em; font: inherit; font-size: 0.8em;
  color: var(--ink); background: var(--panel); border: 1px solid var(--quiet); border-radius: 5px;
  padding: 0.3em 0.8em; }
</style>
</head>
<body>
<main>
<h1>All figures</h1>
<p>Every figure of <code>scratchnet.plots</code>, the call that drew it, and how to read it. A
figure is drawn for a slide; with <code>size="paper"</code> it is 7 inches wide, with letters of
10 points. Run the setup first.</p>
<nav aria-label="figures">$contents</nav>
<details><summary>Setup: the networks and the data</summary>
<div class="code"><button type="button">Copy</button><pre tabindex="0">$setup</pre></div></details>
$entries</main>
<script>
for (const button of document.querySelectorAll("button"))
  button.addEventListener("click", () => {
    const code = button.nextElementSibling;
    getSelection().selectAllChildren(code);  // where a page from a disk may not use the clipboard
    navigator.clipboard?.writeText(code.textContent).catch(() => document.execCommand("copy"));
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
</script>
</body>
</html>
""")
