// A guided walk: captioned stops, each a place of the page, next and back by key, button and touch.

const stops = DATA.traces[DATA.lead].story;

function drawStory() {
  const box = $("story");
  $("tell").hidden = !stops.length;
  box.hidden = view.story === null || !stops.length;
  if (box.hidden) return;
  const stop = stops[view.story];
  $("stop").textContent = `${view.story + 1} of ${stops.length}`;
  $("caption").textContent = stop.say;
  $("stop-title").textContent = stop.title;
  $("stop-back").disabled = view.story === 0;
  $("stop-on").textContent = view.story === stops.length - 1 ? "end" : "next";
}

// Go to a stop; null ends the walk.
function tell(k) {
  if (k === null || k >= stops.length) {
    go({ story: null });
    return;
  }
  const stop = stops[Math.max(0, k)],
    { first, units } = lead(),
    change = { story: Math.max(0, k) };
  if (stop.zoom) change.zoom = stop.zoom;
  if (stop.t !== undefined) change.t = stop.t - first;
  if (stop.unit !== undefined) change.j = Math.max(0, units.indexOf(stop.unit));
  if (stop.walk) change.mode = stop.walk;
  if (stop.step !== undefined) change.s = stop.step;
  if (stop.around) Object.assign(change, placeAround(stop.around));
  go(change);
  say(`${stop.title}. ${stop.say}`);
}

// The step that clips or updates, after the first time step; the river where the page cannot compute it.
function placeAround(what) {
  const at = lead().walk.backward.findIndex(step => step.around === what);
  return at < 0 ? { zoom: "river" } : { zoom: "cell", mode: "backward", t: 0, s: at - lead().before.backward };
}

$("stop-back").addEventListener("click", () => tell(view.story - 1));
$("stop-on").addEventListener("click", () => tell(view.story + 1));
$("stop-end").addEventListener("click", () => tell(null));

// A finger drawn across the box: to the left the next stop, to the right the one before.
let touched = null;
$("story").addEventListener("touchstart", e => (touched = e.changedTouches[0].clientX), { passive: true });
$("story").addEventListener("touchend", e => {
  const by = touched === null ? 0 : e.changedTouches[0].clientX - touched;
  touched = null;
  if (Math.abs(by) > 40) tell(view.story + (by < 0 ? 1 : -1));
});
