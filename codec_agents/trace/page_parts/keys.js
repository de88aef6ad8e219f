// What is chosen, the keyboard, and links into the page: `#node=writer` and `#handoff=planner.answer->writer.draft`.

const ZOOM = 1.5;

// Choose a node, or let go of it: everything else shows what concerns it.
function choose(name) {
  state.node = state.node === name ? null : name;
  state.edge = null;
  filterBy(state.node || "");
}
function chooseEdge(key) {
  state.edge = state.edge === key ? null : key;
  state.node = null;
  filterBy("");
  if (state.edge) document.querySelector("#handoffs tr.chosen")?.scrollIntoView({ block: "nearest" });
}
function filterBy(text) {
  byId("filter").value = text;
  state.filter = text.trim().toLowerCase();
  redraw();
}
// Text typed into the filter chooses a node where it is the whole name of one.
function typed(text) {
  const same = Object.keys(RUNS[state.shown]?.nodes || {}).map(declared).find(name => name.toLowerCase() === text.trim().toLowerCase());
  state.node = same || null;
  state.edge = null;
  state.filter = text.trim().toLowerCase();
  redraw();
}
function redraw() { draw(); markChosen(); writeLink(); }

// Mark nodes and edges where they are, so that the graph keeps its zoom and its focus.
function markChosen() {
  for (const group of document.querySelectorAll("#graph [data-node]")) group.classList.toggle("chosen", isChosen(group.dataset.node));
  for (const group of document.querySelectorAll("#graph [data-edge]")) group.classList.toggle("chosen", group.dataset.edge === state.edge);
  showChosen();
}

function zoom(factor) {
  if (document.activeElement?.closest("#graph")) return scaleGraph(view.scale / factor);
  const whole = Math.max(1e-6, ...chosen().map(run => run.seconds)), [from, to] = state.range || [0, whole];
  const middle = (from + to) / 2, half = (to - from) * factor / 2;
  state.range = half * 2 >= whole ? null : [Math.max(0, middle - half), Math.min(whole, middle + half)];
  drawWaterfall();
}

// Move the focus from node to node of the graph.
function step(by) {
  const nodes = [...document.querySelectorAll("#graph .node")], at = nodes.indexOf(document.activeElement);
  if (at >= 0) nodes[(at + by + nodes.length) % nodes.length].focus();
  return at >= 0;
}

const KEYS = {
  "/": () => byId("filter").focus(),
  "+": () => zoom(1 / ZOOM), "=": () => zoom(1 / ZOOM), "-": () => zoom(ZOOM),
  ArrowRight: () => step(1), ArrowDown: () => step(1), ArrowLeft: () => step(-1), ArrowUp: () => step(-1),
};

function keyPressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    state.range = state.node = state.edge = null;
    filterBy("");
    scaleGraph(fitting());
    return;
  }
  // Typing into a field is typing; an arrow outside of the graph scrolls.
  if (/^(INPUT|SELECT)$/.test(event.target.tagName) || !(event.key in KEYS)) return;
  if (KEYS[event.key]() !== false) event.preventDefault();
}

function readLink() {
  const link = new URLSearchParams(location.hash.slice(1)), node = link.get("node"), handoff = link.get("handoff");
  if (node !== null) [state.node, state.filter, byId("filter").value] = [node.trim(), node.trim().toLowerCase(), node];
  if (handoff !== null) state.edge = handoff.split(/->|→/).map(end => declared(end.trim())).join(" ");
}
function writeLink() {
  const link = state.edge ? { handoff: state.edge.replace(" ", "->") } : state.filter ? { node: state.node || byId("filter").value.trim() } : null;
  history.replaceState(null, "", link ? `#${new URLSearchParams(link)}` : location.pathname);
}
