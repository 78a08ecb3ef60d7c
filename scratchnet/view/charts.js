// Charts: curves over the training steps, and answers against targets.

// A chart of curves, or of dots, with a logarithmic or linear y axis. Returns the SVG.
// series: [{ name, colour, points: [[x, y]], thick, dash, dots }], named at the ends of their curves; lines: [{ y, words }] go across;
// x, y: the ends of the axes, y's found from the points where it is missing; ticks: [[x, words]].
function chart(wide, high, plan) {
  const frame = frameOf(wide, high, plan),
    root = svg("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "img", "aria-label": plan.label, style: `--letters:${frame.f}px` });
  drawAxes(root, frame, plan);
  const names = plan.series.map(s => drawSeries(root, frame, s)).filter(n => n?.name);
  drawLevels(root, frame, plan.lines || []); // on top of the curves
  drawNames(root, frame, names);
  return root;
}

// Where things are: f is the height of a letter, X and Y turn values into pixels, `shows` says which values the axis can show.
function frameOf(wide, high, { series, lines = [], log = false, x: [x0, x1], y = [] }) {
  const f = letters(),
    shows = v => Number.isFinite(v) && (!log || v > 0),
    values = [...series.flatMap(s => s.points.map(p => p[1])), ...lines.map(l => l.y), ...y].filter(shows),
    [low, top] = log ? decades(values) : [Math.min(...values, 0), Math.max(...values, 1e-9)];
  const named = series.filter(s => s.name),
    room = named.length ? 0.8 * f + 0.7 * f * Math.max(...named.map(s => s.name.length)) : 0.8 * f,
    above = room > 0.3 * wide; // the names do not fit at the right
  const box = { left: 3.6 * f, right: wide - (above ? 0.8 * f : room), top: 0.8 * f + (above ? 1.2 * f * named.length : 0), bottom: high - 2.8 * f };
  const scale = log ? Math.log10 : v => v,
    X = v => box.left + ((box.right - box.left) * (v - x0)) / (x1 - x0 || 1),
    Y = v => box.bottom - ((box.bottom - box.top) * (scale(v) - scale(low))) / (scale(top) - scale(low) || 1);
  return { ...box, f, high, log, low, topValue: top, above, shows, X, Y };
}

function drawAxes(root, { left, right, bottom, f, high, log, low, topValue, X, Y }, { x, ticks, xWords }) {
  const text = (at, y, words, anchor, size = f) => root.append(svg("text", { x: at, y, class: "quiet", "text-anchor": anchor, style: `font-size:${size}px` }, words));
  const marks = log ? powers(low, topValue) : evenly(low, topValue),
    apart = marks.length > 1 ? Math.abs(Y(marks[1]) - Y(marks[0])) : Infinity;
  marks.forEach((v, k) => {
    root.append(svg("line", { x1: left, x2: right, y1: Y(v), y2: Y(v), class: "grid" }));
    if (k % Math.ceil((1.1 * f) / apart) === 0) text(left - 0.4 * f, Y(v) + 0.33 * f, log ? power(v) : fmt(v, 3), "end");
  });
  const along = ticks || whole(x[1], Math.max(1, Math.floor((right - left) / (4.7 * f)))).map(v => [v, String(v)]),
    room = along.length > 1 ? X(along[1][0]) - X(along[0][0]) : Infinity, // symbols become smaller before every other one is left out
    size = along.every(([, words]) => words.length === 1) ? clamp(1.3 * room, 0.75 * f, f) : f,
    every = Math.ceil((0.65 * size) / room);
  along.forEach(([v, words], k) => k % every || text(X(v), bottom + 1.2 * f, words, "middle", size));
  text((left + right) / 2, high - 0.4 * f, xWords, "middle");
}

// Returns where the series ends, for its name.
function drawSeries(root, { X, Y, shows }, { name, colour, points, thick, dash, dots }) {
  const spots = points.filter(p => shows(p[1])).map(([u, v]) => [X(u), Y(v)]);
  if (!spots.length) return null;
  const marker = ([x, y]) => (dots === "square" ? svg("rect", { x: x - 3.5, y: y - 3.5, width: 7, height: 7 }) : svg("circle", { cx: x, cy: y, r: 4 })),
    line = dots ? svg("g") : svg("polyline", { points: spots.map(p => p.map(v => v.toFixed(1)).join()).join(" "), class: "curve", "stroke-dasharray": dash || "" });
  if (dots) line.append(...spots.map(marker));
  line.style.strokeWidth = thick || 1.3;
  line.style[dots ? "fill" : "stroke"] = colour;
  root.append(line);
  return { name, colour, y: spots[spots.length - 1][1] };
}

// Lines across; the words of two lines that are close are written one after the other.
function drawLevels(root, { left, right, top, f, shows, Y }, lines) {
  let before = { y: -99, end: 0 };
  for (const { y, words } of lines.filter(l => shows(l.y)).sort((a, b) => b.y - a.y)) {
    const at = Y(y) < top + 1.2 * f ? Y(y) + f : Y(y) - 0.35 * f,
      x = Math.abs(at - before.y) < 1.1 * f ? before.end : left + 0.35 * f;
    before = { y: at, end: x + 0.58 * f * words.length + f };
    root.append(svg("line", { x1: left, x2: right, y1: Y(y), y2: Y(y), class: "level" }), svg("text", { x, y: at, class: "level" }, words));
  }
}

// At the ends of the curves, moved apart where they are close; above the curves where there is no room at the right.
function drawNames(root, { left, right, top, bottom, f, above }, names) {
  names.sort((a, b) => a.y - b.y);
  names.forEach((n, k) => (n.y = above ? 0.8 * f + 1.2 * f * k : Math.max(n.y, k ? names[k - 1].y + 1.15 * f : top)));
  const over = names.length ? Math.max(0, names[names.length - 1].y - bottom) : 0;
  for (const { name, colour, y } of names) root.append(svg("text", { x: above ? left : right + 0.4 * f, y: y - over + 0.33 * f, class: "series", style: `fill:${colour}` }, name));
}

const power = v => (v >= 1e-3 && v <= 1e4 ? fmt(v, 1) : v.toExponential(0));

// The ends of a logarithmic axis: 1, 2 or 5 times a power of ten.
function decades(all) {
  if (!all.length) return [0.1, 1];
  const round = (v, up) => {
    const ten = 10 ** Math.floor(Math.log10(v)),
      steps = [1, 2, 5, 10].map(k => k * ten);
    return up ? steps.find(s => s >= v * 0.999) : steps.findLast(s => s <= v * 1.001);
  };
  const low = round(Math.min(...all), false),
    top = round(Math.max(...all), true);
  return top > low ? [low, top] : [low / 2, top * 2];
}

// Its marks: powers of ten, every other one or so where they are many; 2 and 5 between them where they are few.
function powers(low, top) {
  const first = Math.floor(Math.log10(low)),
    count = Math.ceil(Math.log10(top)) - first,
    every = Math.ceil(count / 6),
    each = count > 2 ? [1] : [1, 2, 5];
  const all = Array.from({ length: count + 1 }, (_, k) => each.map(m => m * 10 ** (first + k))).filter((_, k) => k % every === 0).flat();
  return all.filter(v => v >= low * 0.999 && v <= top * 1.001);
}

// Round numbers between two, about four steps apart.
function evenly(low, top) {
  const raw = (top - low) / 5,
    ten = 10 ** Math.floor(Math.log10(raw)),
    step = [1, 2, 5, 10].map(k => k * ten).find(s => s >= raw),
    first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(top / step + 1e-9) - first + 1 }, (_, k) => (first + k) * step);
}

// Round numbers from 0 to last, at most `count` steps apart.
function whole(last, count) {
  const raw = Math.max(1, last / count),
    size = 10 ** Math.floor(Math.log10(raw)),
    step = [1, 2, 5, 10].map(k => k * size).find(s => s >= raw);
  const found = Array.from({ length: Math.floor(last / step) + 1 }, (_, k) => k * step);
  return found.length > 1 || last < 1 ? found : [0, last];
}

// At most `count` points of a history: for each run of steps the mean, or another summary.
function binned(values, count, summary = v => v.reduce((a, b) => a + b, 0) / v.length) {
  const size = Math.max(1, Math.ceil(values.length / count)),
    points = [];
  for (let k = 0; k < values.length; k += size) points.push([Math.min(values.length, k + size), summary(values.slice(k, k + size))]);
  return points;
}

