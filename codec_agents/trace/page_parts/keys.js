// The keyboard, and links into the page: `#node=writer` shows one node when the page opens.

const ZOOM = 1.5;

function choose(name) {
  byId("filter").value = state.filter === name.toLowerCase() ? "" : name;
  byId("filter").dispatchEvent(new Event("input"));
}

function zoom(factor) {
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
    state.range = null;
    byId("filter").value = "";
    byId("filter").dispatchEvent(new Event("input"));
    return;
  }
  // Typing into a field is typing; an arrow outside of the graph scrolls.
  if (/^(INPUT|SELECT)$/.test(event.target.tagName) || !(event.key in KEYS)) return;
  if (KEYS[event.key]() !== false) event.preventDefault();
}

function readLink() {
  const node = new URLSearchParams(location.hash.slice(1)).get("node");
  if (node !== null) { byId("filter").value = node; state.filter = node.trim().toLowerCase(); }
}
function writeLink() {
  const link = state.filter ? `#${new URLSearchParams({ node: byId("filter").value.trim() })}` : location.pathname;
  history.replaceState(null, "", link);
}
