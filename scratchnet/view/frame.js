// The notebook's side of a trace's page, which is in a sandboxed frame: it gives the frame the height of its page, tells the page
// the notebook's theme and how high the screen is, and hands it the keys while the pointer is over it. Once per document.

(() => {
  if (window.scratchnetFrames) return;
  window.scratchnetFrames = true;
  const frames = () => [...document.querySelectorAll("iframe.scratchnet")];

  // Any colour of CSS as red, green, blue and alpha, 0 to 255.
  const paint = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  function rgba(colour) {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = colour;
    paint.fillRect(0, 0, 1, 1);
    return paint.getImageData(0, 0, 1, 1).data;
  }
  const bright = ([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b > 127;

  // The theme of what is really behind a frame; where nothing is opaque, that in which its text could be read.
  function theme(frame) {
    for (let node = frame.parentElement; node; node = node.parentElement) {
      const ground = rgba(getComputedStyle(node).backgroundColor);
      if (ground[3] > 127) return bright(ground) ? "light" : "dark";
    }
    return bright(rgba(getComputedStyle(frame.parentElement).color)) ? "dark" : "light";
  }

  // The theme that the frame was last told. A theme chosen in the page stays until the notebook's changes.
  function tell(frame) {
    const now = { theme: theme(frame), screen: innerHeight },
      change = Object.entries(now).filter(([name, value]) => frame.told[name] !== value);
    frame.told = now;
    if (change.length) frame.contentWindow.postMessage({ scratchnet: Object.fromEntries(change) }, "*");
  }
  const tellAll = () => frames().filter(f => f.told).forEach(tell);

  addEventListener("message", e => {
    const page = e.data && e.data.scratchnet,
      frame = page && frames().find(f => f.contentWindow === e.source);
    if (!frame) return;
    if (page.pointer in POINTER) POINTER[page.pointer](frame);
    if (!Number.isFinite(page.height)) return;
    const picture = frame.parentElement.querySelector("img");
    if (picture) picture.style.display = "none"; // the page is there, and instead of it
    frame.parentElement.style.height = `${page.height}px`;
    if (page.opened) frame.told = {};
    if (frame.told) tell(frame);
  });

  // A theme's style sheet may come later than its name.
  const soon = () => [0, 100, 1000].forEach(wait => setTimeout(tellAll, wait));
  const observer = new MutationObserver(soon);
  for (const node of [document.documentElement, document.body]) observer.observe(node, { attributes: true });
  observer.observe(document.head, { childList: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
  addEventListener("resize", tellAll);

  // Keys without a click, unless somebody is writing; afterwards they go where they went before, but after a click.
  const WRITING = "input, textarea, select, [contenteditable]:not([contenteditable=false])";
  let back = null; // [the frame that was given the keys, what had them]
  const POINTER = {
    over(frame) {
      const had = document.activeElement || document.body;
      if (had === frame || had.closest(WRITING)) return;
      back = [frame, had];
      frame.focus({ preventScroll: true });
    },
    down: () => (back = null),
    out() {
      if (back && document.activeElement === back[0]) {
        back[0].blur();
        back[1].focus({ preventScroll: true });
      }
      back = null;
    },
  };
  document.addEventListener("pointermove", POINTER.out); // it is over the notebook
})();
