// What each node said, thought and asked of its tools, as text where the map is at hand, and as ids.

const TEXT_STEP = 20000, LANE_STEP = 200, OPEN_LANES = 12;

function drawLanes() {
  const found = [];
  for (const run of chosen()) {
    for (const lane of run.lanes) {
      if (state.kinds.has(lane.port) && wanted(lane.node, lane.port, lane.text)) found.push([run, lane]);
    }
    for (const [sink, text] of Object.entries(run.texts)) {
      if (wanted(sink, text)) found.push([run, { node: sink, port: "text", turn: "", ids: [], text, start: null }]);
    }
  }
  const list = found.slice(0, LANE_STEP).map(([run, lane]) => laneCard(run, lane, found.length <= OPEN_LANES));
  if (found.length > LANE_STEP) list.push(el("p", { className: "dim" }, `${found.length - LANE_STEP} more; filter for them`));
  byId("lanes").replaceChildren(...list);
}
function laneCard(run, lane, open) {
  const turn = lane.turn ? ` · turn ${lane.turn} · ${number(lane.ids.length)} ids · ${time(lane.start)} to ${time(lane.end)}` : " · sink";
  const first = lane.text ? short(lane.text.trim().replace(/\s+/g, " ").slice(0, 200), 140) : "";
  const head = el("summary", {}, swatch(lane.port in KINDS ? lane.port : "identity"), ` ${lane.node} · ${lane.port}`,
    el("span", { className: "dim" }, turn + (RUNS.length > 1 ? ` · ${run.name}` : "")), el("span", { className: "first" }, first ? `  ${first}` : ""));
  const card = el("details", { className: "card" }, head);
  card.addEventListener("toggle", () => { if (card.open && card.children.length === 1) card.append(laneBody(lane)); });
  if (open) card.open = true;
  return card;
}
function laneBody(lane) {
  const pre = el("pre"), body = el("div", {}, pre);
  if (lane.text !== null) grow(pre, lane.text, body);
  else pre.append(el("span", { className: "dim" }, "the map is not at hand; ids "), lane.ids.slice(0, 2000).join(" "));
  if (lane.text !== null && lane.ids.length) {
    const ids = el("pre", { className: "dim", hidden: true });
    const button = el("button", { "aria-expanded": "false", on: { click: () => {
      if (!ids.textContent) grow(ids, lane.ids.join(" "), body);
      ids.hidden = !ids.hidden;
      button.setAttribute("aria-expanded", String(!ids.hidden));
    } } }, "ids");
    body.append(button, ids);
  }
  return body;
}
function grow(pre, text, body) {
  let shown = 0;
  const more = el("button", { on: { click: step } }, "more");
  function step() {
    pre.append(text.slice(shown, shown + TEXT_STEP));
    shown += TEXT_STEP;
    if (shown >= text.length) more.remove(); else body.append(more);
  }
  step();
}
