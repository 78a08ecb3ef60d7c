// Charts: curves over the training steps, and answers against targets.

const LETTER = 14; // pixels

// A chart with a logarithmic or linear y axis. series: [{ name, colour, points: [[x, y]], thick, dash }]; names stand at the ends of
// their curves, and lines: [{ y, words }] go across. Returns the SVG.
function chart(wide, high, { series, lines = [], log = false, x: [x0, x1], y: ends, xWords, label, ticks = null }) {
  const all = [...series.flatMap(s => s.points.map(p => p[1])), ...lines.map(l => l.y), ...(ends || [])].filter(v => Number.isFinite(v) && (!log || v > 0)),
    [low, top] = log ? decades(all) : [Math.min(...all, 0), Math.max(...all, 1e-9)];
  const marked = series.filter(s => s.name),
    room = marked.length ? 12 + 0.66 * LETTER * Math.max(...marked.map(s => s.name.length)) : 12,
    narrow = room > 0.3 * wide, // then the names stand above the curves
    box = { left: 54, right: wide - (narrow ? 12 : room), top: 12 + (narrow ? 18 * marked.length : 0), bottom: high - 42 };
  const scale = v => (log ? Math.log10(v) : v),
    X = v => box.left + ((box.right - box.left) * (v - x0)) / (x1 - x0 || 1),
    Y = v => box.bottom - ((box.bottom - box.top) * (scale(v) - scale(low))) / (scale(top) - scale(low) || 1);
  const root = svg("svg", { viewBox: `0 0 ${wide} ${high}`, width: wide, height: high, role: "img", "aria-label": label });
  const text = (x, y, words, attributes = {}) => root.append(svg("text", { x, y, class: "quiet", ...attributes }, words));
  for (const v of log ? powers(low, top) : evenly(low, top)) {
    root.append(svg("line", { x1: box.left, x2: box.right, y1: Y(v), y2: Y(v), class: "grid" }));
    text(box.left - 6, Y(v) + 5, log ? power(v) : fmt(v, 3), { "text-anchor": "end" });
  }
  for (const [v, words] of ticks || whole(x1, Math.max(1, Math.floor((box.right - box.left) / 70))).map(v => [v, String(v)])) text(X(v), box.bottom + 18, words, { "text-anchor": "middle" });
  text((box.left + box.right) / 2, high - 5, xWords, { "text-anchor": "middle" });
  const names = [];
  for (const { name, colour, points, thick, dash, dots } of series) {
    const spots = points.filter(p => Number.isFinite(p[1]) && (!log || p[1] > 0)).map(([u, v]) => [X(u), Y(v)]);
    if (!spots.length) continue;
    const line = dots ? svg("g") : svg("polyline", { points: spots.map(p => p.map(v => v.toFixed(1)).join()).join(" "), class: "curve", "stroke-dasharray": dash || "" });
    line.style.strokeWidth = thick || 1.3;
    if (dots) for (const [u, v] of spots) line.append(dots === "square" ? svg("rect", { x: u - 3.5, y: v - 3.5, width: 7, height: 7 }) : svg("circle", { cx: u, cy: v, r: 4 }));
    line.style[dots ? "fill" : "stroke"] = colour;
    root.append(line);
    if (name) names.push({ name, colour, y: spots[spots.length - 1][1] });
  }
  // On top of the curves; the words of two lines that are close stand side by side.
  let before = { y: -99, end: 0 };
  for (const { y, words } of lines.filter(l => Number.isFinite(l.y) && (!log || l.y > 0)).sort((a, b) => b.y - a.y)) {
    const at = Y(y) < box.top + 18 ? Y(y) + 15 : Y(y) - 5,
      x = Math.abs(at - before.y) < LETTER + 2 ? before.end : box.left + 5;
    before = { y: at, end: x + 0.58 * LETTER * words.length + 14 };
    root.append(svg("line", { x1: box.left, x2: box.right, y1: Y(y), y2: Y(y), class: "level" }));
    root.append(svg("text", { x, y: at, class: "level" }, words));
  }
  names.sort((a, b) => a.y - b.y);
  names.forEach((n, k) => (n.y = narrow ? 12 + 18 * k : Math.max(n.y, k ? names[k - 1].y + LETTER + 2 : box.top)));
  const over = names.length ? Math.max(0, names[names.length - 1].y - box.bottom) : 0;
  for (const { name, colour, y } of names) {
    const words = svg("text", { x: narrow ? box.left : box.right + 6, y: y - over + 5, class: "name" }, name);
    words.style.fill = colour;
    root.append(words);
  }
  return root;
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

const largestOf = v => v.reduce((a, b) => Math.max(a, b));
