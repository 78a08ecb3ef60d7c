// Small tools that every part of the page uses: unpacking, making elements, writing numbers, colours.

const DATA = JSON.parse(document.getElementById("data").textContent);
const PALETTE = DATA.palette;
const $ = id => document.getElementById(id);

function unpack({ shape, data, type }) {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const values = type === "f8" ? new Float64Array(bytes.buffer) : Float64Array.from(new Float32Array(bytes.buffer));
  values.shape = shape;
  return values;
}

// All text reaches the page through textContent: a label is never markup.
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.map(c => (c instanceof Node ? c : document.createTextNode(c))));
  return node;
}

function svg(tag, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

function fmt(v, digits = 4) {
  if (v === undefined || v === null) return "";
  if (!Number.isFinite(v)) return String(v);
  const size = Math.abs(v);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return v.toExponential(digits - 2);
  return Number(v.toPrecision(digits)).toString();
}

const dark = () => document.documentElement.dataset.theme === "dark";
const tint = name => (PALETTE[name] ? PALETTE[name][dark() ? "dark" : "light"] : null);

// A sigmoid's gate lies in 0..1, a tanh in -1..1: fixed. A gradient is scaled by its own largest, and the scale is printed.
function scaleOf(run, name) {
  const own = name.replace(/_prev$/, "");
  if ("iforz".includes(own) && own.length === 1) return { low: 0, high: 1 };
  if (["g", "n", "h", "tanh_c"].includes(own) && !(run.options.nonlinearity === "relu")) return { low: -1, high: 1 };
  run.scales ??= {};
  run.scales[own] ??= run.largest(own) || 1;
  return { low: -run.scales[own], high: run.scales[own] };
}

const VIRIDIS = [
  [68, 1, 84],
  [59, 82, 139],
  [33, 145, 140],
  [94, 201, 98],
  [253, 231, 37],
];
const SIGNED = [
  [33, 102, 172],
  [146, 197, 222],
  [247, 247, 247],
  [244, 165, 130],
  [178, 24, 43],
];
const SIGNED_DARK = [
  [90, 170, 255],
  [40, 80, 130],
  [24, 26, 32],
  [135, 60, 40],
  [255, 120, 90],
];

function colourOf(v, { low, high }) {
  if (!Number.isFinite(v)) return "#ff00ff";
  const stops = low < 0 ? (dark() ? SIGNED_DARK : SIGNED) : VIRIDIS;
  const u = clamp((v - low) / (high - low), 0, 1) * (stops.length - 1),
    k = Math.min(Math.floor(u), stops.length - 2),
    w = u - k;
  return `rgb(${stops[k].map((c, i) => Math.round(c + w * (stops[k + 1][i] - c))).join(",")})`;
}
