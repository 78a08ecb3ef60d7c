// A guided walk: captioned stops, each a place of the page, next and back by key, button and touch.

function drawStory() {
  const box = $("story"),
    stops = DATA.traces[0].story || [];
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
  const stops = DATA.traces[0].story || [];
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
  go(change);
  say(`${stop.title}. ${stop.say}`);
}

$("stop-back").addEventListener("click", () => tell(view.story - 1));
$("stop-on").addEventListener("click", () => tell(view.story + 1));
$("stop-end").addEventListener("click", () => tell(null));
