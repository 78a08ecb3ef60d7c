// Small tools that every part of the page uses: unpacking, making elements, writing numbers, colours.

const DATA = JSON.parse(document.getElementById("data").textContent);
const PALETTE = DATA.palette.quantities;
const $ = id => document.getElementById(id);
const clamp = (v, low, high) => Math.max(low, Math.min(high, v));

// The height of the screen that the page is seen on. A notebook's frame is as high as its page, and the notebook says how high the
// screen is: a page that grew with its frame would never end.
let screenTold = null;
const screenHeight = () => screenTold ?? innerHeight;

function unpack({ shape, data, type }) {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const values = type === "f8" ? new Float64Array(bytes.buffer) : Float64Array.from(new Float32Array(bytes.buffer));
  values.shape = shape;
  return values;
}

// Every packed array inside a value.
function unpackDeep(v) {
  if (v && v.data && v.shape) return unpack(v);
  if (Array.isArray(v)) return v.map(unpackDeep);
  return v && typeof v === "object" ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, unpackDeep(w)])) : v;
}

// The norm of an array and its largest size. Math.hypot(...v) would hand each number over as an argument: too many for a large matrix.
const normOf = v => Math.sqrt(v.reduce((sum, a) => sum + a * a, 0));
const largestOf = v => v.reduce((most, a) => Math.max(most, Math.abs(a)), 0);

// All text reaches the page through textContent: a label is never markup.
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") node.style.cssText = value; // the page's policy allows no style attribute
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.map(c => (c instanceof Node ? c : document.createTextNode(c))));
  return node;
}

function svg(tag, attributes = {}, content = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") node.style.cssText = value;
    else node.setAttribute(name, value);
  }
  if (content !== null) node.textContent = content;
  return node;
}

function fmt(v, digits = 4) {
  if (v === undefined || v === null) return "";
  if (!Number.isFinite(v)) return String(v);
  const size = Math.abs(v);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return v.toExponential(Math.max(0, digits - 2));
  return Number(v.toPrecision(digits)).toString();
}

const theme = () => document.documentElement.dataset.theme || "light";
// What the page remembers between visits; null where it has no storage, as in a sandboxed frame.
function store(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(`scratchnet ${name}`);
    localStorage.setItem(`scratchnet ${name}`, value);
  } catch {
    return null;
  }
  return null;
}

// The page's colours of a theme, from the palette.
function paintPage(name) {
  document.documentElement.dataset.theme = name;
  for (const [key, colours] of Object.entries(DATA.palette.page)) document.documentElement.style.setProperty(`--${key}`, colours[name]);
  store("theme", name);
}

// The theme of the last visit, else the system's.
const firstTheme = () => store("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

const dark = () => theme() === "dark";
const tint = name => (PALETTE[name] ? PALETTE[name][theme()] : null);

// The address names what is shown; a frame without an address has nothing to name it in.
function setAddress(hash) {
  if (location.hash === hash) return;
  try {
    history.replaceState(null, "", hash);
  } catch {
    /* a frame without an address */
  }
}

// One live region, kept: screen readers do not hear an element that is replaced.
function say(words) {
  if ($("say").textContent !== words) $("say").textContent = words;
}

// Keys act on the page, and buttons act as their keys, unless a dialog is open or the focus is in a field that uses the key itself:
// a button uses space and Enter, a slider its arrows, Home and End.
function listen(keys, buttons) {
  for (const [id, key] of Object.entries(buttons)) $(id).addEventListener("click", e => keys[key](e));
  let closing = false; // a browser may close the dialog before it hands on the Escape that closed it
  $("keys").addEventListener("close", () => {
    closing = true;
    setTimeout(() => (closing = false), 100);
  });
  document.addEventListener("keydown", e => {
    if ($("keys").open || closing || e.ctrlKey || e.metaKey || e.altKey || !(e.key in keys)) return;
    const field = e.target.closest("input, select, textarea, dialog, button, summary"),
      free = !field || (field.tagName === "BUTTON" && e.key !== " " && e.key !== "Enter") || (field.type === "range" && !/^(Arrow|Home$|End$)/.test(e.key));
    if (!free) return;
    e.preventDefault();
    keys[e.key](e);
  });
}

// A text with its line breaks, tabs and spaces as signs.
const visible = text => text.replaceAll("\n", "↵").replaceAll("\t", "→").replaceAll(" ", "␣");

const rangeText = ({ low, high }) => (low < 0 ? `± ${fmt(high, 2)}` : `${fmt(low, 2)} … ${fmt(high, 2)}`);

// A sigmoid's gate lies in 0..1, a tanh in -1..1: fixed. A gradient is scaled by its own largest, and the scale is printed.
function scaleOf(run, name, largest = () => run.largest(name)) {
  const range = run.ranges[name];
  if (range) return { low: range[0], high: range[1] };
  const most = largest() || 1;
  return { low: -most, high: most };
}

const rgb = hex => [1, 3, 5].map(k => parseInt(hex.slice(k, k + 2), 16));
const NOT_FINITE = [255, 0, 255];

// The 256 colours of a map of the palette, made once.
const shades = {};
function shadesOf(map) {
  const key = `${map} ${theme()}`;
  if (!shades[key]) {
    const stops = DATA.palette.maps[map][theme()].map(rgb);
    shades[key] = Array.from({ length: 256 }, (_, i) => {
      const u = (i / 255) * (stops.length - 1),
        k = Math.min(Math.floor(u), stops.length - 2);
      return stops[k].map((c, n) => Math.round(c + (u - k) * (stops[k + 1][n] - c)));
    });
  }
  return shades[key];
}

function shadeOf(v, { low, high }) {
  if (!Number.isFinite(v)) return NOT_FINITE;
  return shadesOf(low < 0 ? "signed" : "gate")[Math.round(255 * clamp((v - low) / (high - low), 0, 1))];
}

// Fill a canvas of columns by rows with the colours of value(column, row).
function fill(canvas, columns, rows, value, scale) {
  const paint = canvas.getContext("2d"),
    image = paint.createImageData(columns, rows);
  for (let r = 0, at = 0; r < rows; r++)
    for (let c = 0; c < columns; c++, at += 4) {
      const shade = shadeOf(value(c, r), scale);
      image.data[at] = shade[0];
      image.data[at + 1] = shade[1];
      image.data[at + 2] = shade[2];
      image.data[at + 3] = 255;
    }
  paint.putImageData(image, 0, 0);
}
