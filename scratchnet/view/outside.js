// The page from outside: as a part of slides (?embed=cell or river), driven by messages, its drawings as SVG files, and on paper.
//
// A parent page sends   frame.contentWindow.postMessage({ scratchnet: { t: 3, zoom: "cell", walk: "backward", step: 2, unit: 5 } }, "*")
// and is told           { scratchnet: { t, zoom, walk, step, unit, run, height } }   whenever the page has changed,
// with opened: true the first time; { scratchnet: { pointer } } says "over", "down" or "out". frame.js is a notebook's side of it.

const EMBEDS = ["cell", "river"];

function embedded() {
  const kind = new URLSearchParams(location.search).get("embed");
  return EMBEDS.includes(kind) ? kind : null;
}

let opened = true;

function tellParent() {
  if (window.parent === window) return;
  const { first, units } = lead(),
    place = { t: view.t + first, zoom: view.zoom, walk: view.mode, step: view.s, unit: units[view.j], run: view.run };
  const height = Math.ceil(document.documentElement.getBoundingClientRect().height);
  window.parent.postMessage({ scratchnet: { ...place, height, ...(opened && { opened }) } }, "*");
  opened = false;
}

if (window.parent !== window) {
  new ResizeObserver(() => panes.length && tellParent()).observe(document.documentElement);
  for (const [event, pointer] of [["pointerenter", "over"], ["pointerdown", "down"], ["pointerleave", "out"]])
    document.documentElement.addEventListener(event, () => window.parent.postMessage({ scratchnet: { pointer } }, "*"));
}

addEventListener("message", e => {
  const asked = e.data && e.data.scratchnet;
  if (!asked || typeof asked !== "object" || e.source !== window.parent) return;
  const { first, units } = lead(),
    change = {},
    whole = name => Number.isInteger(asked[name]);
  if (whole("run")) change.run = asked.run;
  if (whole("t")) change.t = asked.t - first;
  if (whole("step")) change.s = asked.step;
  if (whole("unit") && units.includes(asked.unit)) change.j = units.indexOf(asked.unit);
  if (["forward", "backward"].includes(asked.walk)) change.mode = asked.walk;
  if (EMBEDS.includes(asked.zoom)) change.zoom = asked.zoom;
  if (typeof asked.lecture === "boolean") change.lecture = asked.lecture;
  if (whole("screen") && asked.screen > 0) {
    screenTold = asked.screen;
    document.documentElement.style.setProperty("--vh", `${screenTold / 100}px`);
    document.documentElement.style.overflowY = "hidden"; // the frame gets the height of the page
  }
  go(change);
  if (["light", "dark"].includes(asked.theme)) setTheme(asked.theme);
  if (asked.play === true) play();
});

const STYLED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "paint-order", "font-size", "font-family", "font-weight", "font-style", "opacity", "text-anchor"];

// A drawing as the text of an SVG file, with the page's styles in its elements.
function asSvg(drawing) {
  const copy = drawing.cloneNode(true),
    [own, made] = [drawing, copy].map(root => [root, ...root.querySelectorAll("*")]);
  own.forEach((node, k) => {
    const style = getComputedStyle(node);
    for (const name of STYLED) made[k].style.setProperty(name, style.getPropertyValue(name));
    made[k].style.animation = "none";
  });
  const { width, height } = drawing.viewBox.baseVal,
    ground = svg("rect", { width, height, fill: getComputedStyle(document.body).backgroundColor });
  copy.prepend(ground);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  return new XMLSerializer().serializeToString(copy);
}

// Save the drawings in view: the river, or the cell of each pane.
function save() {
  const drawings = view.zoom === "river" ? [["river", $("river").querySelector("svg")]] : panes.map(p => [`${p.trace.label} t=${view.t + p.run.first}`, p.cell.querySelector("svg")]);
  for (const [name, drawing] of drawings.filter(d => d[1])) {
    const address = URL.createObjectURL(new Blob([asSvg(drawing)], { type: "image/svg+xml" })),
      link = element("a", { href: address, download: `${name.replace(/[^\w=. -]/g, "_")}.svg` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
}

// On paper: one landscape page, light, without buttons and sliders. It has a layout width for paper, whatever the
// window's, and shrinks until it fits on A4 and on Letter (stepper.css).
const PAPER = { wide: 990, high: 710 }; // pixels of CSS: what both have without margins of 9 mm
let onScreen = null; // what the page looked like before it was printed

function beforePrint() {
  if (window.parent !== window) return; // of a frame its parent's layout is printed
  onScreen = { theme: theme(), lecture: view.lecture };
  view.lecture = false;
  const { body } = document,
    wide = PAPER.wide * (view.zoom === "cell" ? (1 + panes.length) / 2 : 1); // cells side by side need room for their letters
  body.classList.add("printing");
  body.style.width = `${wide}px`;
  setTheme("light");
  body.style.zoom = Math.min(PAPER.wide / wide, PAPER.high / body.offsetHeight);
}

function afterPrint() {
  if (!onScreen) return;
  document.body.style.cssText = "";
  document.body.classList.remove("printing");
  view.lecture = onScreen.lecture;
  setTheme(onScreen.theme);
  onScreen = null;
}

addEventListener("beforeprint", beforePrint);
addEventListener("afterprint", afterPrint);
