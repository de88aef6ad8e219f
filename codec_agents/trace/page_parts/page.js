// The controls, and what is drawn when something is chosen.

function choice(name, checked, changed, ...label) {
  return el("label", {}, el("input", { type: "checkbox", checked, value: name, on: { change: event => changed(event.target.checked) } }), ...label);
}
function controls() {
  byId("title").textContent = [...new Set(RUNS.map(run => run.pipeline))].join(", ") || "Codec trace";
  const keep = (set, value, on) => { on ? set.add(value) : set.delete(value); draw(); };
  RUNS.forEach((run, i) => {
    const label = el("span", { className: run.complete ? "" : "failed" }, `${run.name} · ${time(run.seconds)}${run.complete ? "" : " · not complete"}`);
    byId("runs").append(choice(run.name, state.runs.has(i), on => keep(state.runs, i, on), label));
    byId("shown").append(el("option", { value: String(i) }, run.name));
  });
  for (const [kind, title] of Object.entries(KINDS)) {
    byId("kinds").append(choice(kind, true, on => keep(state.kinds, kind, on), swatch(kind), title));
  }
  byId("edge-kinds").append(...Object.entries(EDGES).map(([kind, title]) =>
    el("span", {}, el("i", { className: `rule ${kind}`, style: `border-color:var(--${kind})` }), title)));
  byId("part-kinds").append(...Object.entries(PARTS).map(([part, title]) => el("span", {}, swatch(colorOfPart(part)), title)));
  byId("runs").hidden = byId("shown-of").hidden = byId("grouped-by").hidden = RUNS.length < 2;
  byId("shown").addEventListener("change", event => { state.shown = Number(event.target.value); drawGraph(); drawDetail(); });
  byId("grouping").addEventListener("change", event => { state.grouping = event.target.value; drawWaterfall(); });
  byId("order").addEventListener("change", event => { state.order = event.target.value; drawHandoffs(); });
  byId("with-engine").addEventListener("change", event => { state.engine = event.target.checked; drawHandoffs(); });
  byId("whole").addEventListener("click", () => { state.range = null; drawWaterfall(); });
  byId("filter").addEventListener("input", event => typed(event.target.value));
  byId("graph").addEventListener("wheel", wheelGraph, { passive: false });
  byId("graph").addEventListener("pointerdown", dragGraph);
  byId("larger").addEventListener("click", () => scaleGraph(view.scale * ZOOM));
  byId("smaller").addEventListener("click", () => scaleGraph(view.scale / ZOOM));
  byId("fit").addEventListener("click", () => scaleGraph(Math.min(1, byId("graph").clientWidth / view.width)));
  byId("close").addEventListener("click", () => { state.node = state.edge = null; filterBy(""); });
  addEventListener("resize", drawGraph);
  addEventListener("keydown", keyPressed);
  addEventListener("hashchange", () => { readLink(); draw(); markChosen(); });
}
function drawFigures() {
  const runs = chosen(), ids = runs.reduce((sum, run) => sum + run.lanes.reduce((n, lane) => n + lane.ids.length, 0), 0);
  const edges = measured(runs).map(([, edge]) => edge), middle = field => time(quantile(edges.map(edge => edge[field]), .5));
  const figures = { runs: `${runs.length} of ${RUNS.length}`, models: number(Math.max(0, ...runs.map(run => Object.values(run.nodes).filter(node => node.map).length))),
    ids: number(ids), "longest run": time(Math.max(0, ...runs.map(run => run.seconds))), "median gap": middle("gap"), "median first id": middle("first_id_latency") };
  byId("figures").replaceChildren(...Object.entries(figures).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
function draw() { drawFigures(); drawTroubles(); drawDetail(); drawWaterfall(); drawHandoffs(); drawLanes(); }
controls(); readLink(); draw(); drawGraph(); // the graph last: it takes the room that is left beside the scrollbar
document.body.dataset.ready = "1";
