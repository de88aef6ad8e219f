// The graph of one run. Layers run from left to right, and continue in the next band where the page ends.

const NODE = { width: 168, height: 54, across: 320, down: 92, margin: 22 };
const WIDEST = 430;

function layers(run) {
  const names = new Set(), into = {};
  for (const edge of run.edges) {
    const [a, b] = [edge.source.split(".")[0], edge.target.split(".")[0]];
    names.add(a); names.add(b); (into[b] ||= new Set()).add(a);
  }
  Object.keys(run.nodes).forEach(name => names.add(name));
  const depth = {}, open = new Set();
  const find = name => {
    if (name in depth) return depth[name];
    if (open.has(name)) return 0;
    open.add(name);
    const found = Math.max(-1, ...[...(into[name] || [])].map(find)) + 1;
    open.delete(name);
    return depth[name] = found;
  };
  const columns = [];
  for (const name of names) (columns[find(name)] ||= []).push(name);
  return Array.from(columns, column => column || []);
}

// The place of each node: { name: [x, y] }, and the size of it all.
function places(columns, room) {
  const free = room - 2 * NODE.margin - NODE.width, most = Math.max(1, Math.floor(free / NODE.across) + 1), at = {};
  const perBand = Math.min(most, columns.length), across = perBand > 1 ? Math.min(WIDEST, Math.max(NODE.across, free / (perBand - 1))) : 0;
  let top = NODE.margin;
  for (let first = 0; first < columns.length; first += perBand) {
    const band = columns.slice(first, first + perBand), tall = Math.max(1, ...band.map(column => column.length));
    band.forEach((column, x) => column.forEach((name, y) => {
      at[name] = [NODE.margin + x * across, top + (y + (tall - column.length) / 2) * NODE.down];
    }));
    top += tall * NODE.down;
  }
  const width = 2 * NODE.margin + NODE.width + Math.max(0, perBand - 1) * across;
  return { at, width, height: top - NODE.down + NODE.height + NODE.margin };
}

function drawGraph() {
  const run = RUNS[state.shown];
  if (!run) return;
  const { at, width, height } = places(layers(run), byId("graph").clientWidth || 1270);
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group" });
  const labels = [], count = {};
  for (const edge of run.edges) {
    const [a, b] = [edge.source.split(".")[0], edge.target.split(".")[0]];
    const nth = count[`${a} ${b}`] = (count[`${a} ${b}`] || 0) + 1;
    const kind = OF_STRATEGY[edge.strategy] || "boundary", line = curve(at[a], at[b], (nth - 1) * 34);
    root.append(svg("path", { class: `edge ${kind}`, d: line.path }), svg("path", { class: `edge head ${kind}`, d: line.head }));
    labels.push(edgeLabel(edge, line.x, line.y));
  }
  root.append(...Object.entries(at).map(([name, place]) => nodeBox(run, name, place)), ...labels);
  byId("graph").replaceChildren(root);
}

// A line from node to node, the place of its label, and its arrowhead.
function curve([ax, ay], [bx, by], bend) {
  const half = NODE.height / 2;
  if (bx > ax) {
    const [x1, y1, x2, y2] = [ax + NODE.width, ay + half, bx - 2, by + half], pull = Math.min(90, (x2 - x1) / 2), t = .5;
    return { path: `M${x1},${y1} C${x1 + pull},${y1 + bend} ${x2 - pull},${y2 + bend} ${x2},${y2}`,
      head: `M${x2 - 7},${y2 - 4} L${x2},${y2} L${x2 - 7},${y2 + 4}`, x: x1 + (x2 - x1) * t, y: y1 + (y2 - y1) * t + bend * .75 };
  }
  const [x1, y1, x2, y2] = [ax + NODE.width / 2, ay + NODE.height, bx + NODE.width / 2, by - 2], middle = (y1 + y2) / 2 + bend / 4;
  return { path: `M${x1},${y1} C${x1},${middle + 10} ${x2},${middle - 10} ${x2},${y2}`,
    head: `M${x2 - 4},${y2 - 7} L${x2},${y2} L${x2 + 4},${y2 - 7}`, x: (x1 + x2) / 2, y: middle };
}

function edgeLabel(edge, x, y) {
  const port = edge.source.split(".")[1] || "", counts = edge.ids_in === null || edge.ids_in === undefined ? "" :
    edge.ids_in === 0 && edge.ids_out ? `${number(edge.ids_out)} ids` :
    edge.ids_out === null || edge.ids_out === edge.ids_in ? `${number(edge.ids_in)} ids` : `${number(edge.ids_in)} → ${number(edge.ids_out)} ids`;
  const what = [counts, edge.bytes ? bytes(edge.bytes) : ""].filter(Boolean).join(" · ");
  const kind = port === "value" || !port ? edge.strategy : `${port} · ${edge.strategy}`, wide = Math.max(kind.length, what.length) * 6.2 + 10;
  const title = `${edgeName(edge)}\n${edge.strategy}, ${what || "no ids"}${edge.gap === null ? "" : `\ngap ${time(edge.gap)}, first id ${time(edge.first_id_latency)}`}`;
  return svg("g", { class: "on" }, svg("title", {}, title),
    svg("rect", { class: "plate", x: x - wide / 2, y: y - 16, width: wide, height: what ? 31 : 18, rx: 5 }),
    svg("text", { x, y: y - 3, class: "label", "text-anchor": "middle" }, kind),
    svg("text", { x, y: y + 11, class: "sub", "text-anchor": "middle" }, what));
}

function nodeBox(run, name, [x, y]) {
  const node = run.nodes[name] || {}, usage = node.usage || {}, model = Boolean(node.map);
  const failed = node.error || node.outcome === "failed", trouble = failed ? "failed" : node.finish_reason === "length" ? "cut" : "";
  const lines = trouble ? [short(node.map || "", 26), trouble] : model ? [short(node.map, 26), usage.generated_ids ? `${number(usage.generated_ids)} ids, ${usage.turns} turn${usage.turns === 1 ? "" : "s"}` : node.outcome || ""] : [];
  const toggle = () => choose(name), error = node.error ? `${node.error.type}: ${node.error.message}` : "";
  const box = svg("g", { class: `node${model ? " model" : ""}${failed ? " bad" : ""}${state.filter && state.filter === name.toLowerCase() ? " chosen" : ""}`, "data-node": name,
    tabindex: 0, role: "button", "aria-label": `${name}: ${[...lines, error].filter(Boolean).join(", ")}` },
    svg("title", {}, [name, node.model, node.map, error].filter(Boolean).join("\n")),
    svg("rect", { x, y, width: NODE.width, height: NODE.height }),
    svg("text", { x: x + 11, y: y + (lines.length ? 18 : 32) }, short(name, 21)),
    ...lines.map((line, i) => svg("text", { x: x + 11, y: y + 33 + i * 14, class: "sub" }, line)));
  box.addEventListener("click", toggle);
  box.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); } });
  return box;
}
