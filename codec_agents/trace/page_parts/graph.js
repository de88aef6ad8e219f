// The graph of one run, drawn: it can be zoomed, dragged, and walked with the keyboard.

const READABLE = .75, NARROW = 640, MAX_SCALE = 3;
const view = { scale: 1, width: 0, height: 0 };

function drawGraph() {
  const run = RUNS[state.shown], home = byId("graph");
  if (!run) return;
  const graph = graphOf(run), room = Math.max(NARROW, (home.clientWidth || 1270) * 1.29), placed = place(graph, room);
  const root = svg("svg", { viewBox: `0 0 ${placed.width} ${placed.height}`, role: "group" });
  const shared = { into: tally(graph.edges, "to"), from: tally(graph.edges, "from") }, labels = [], nth = new Map();
  const frames = [...placed.boxes].filter(([path]) => isBody(graph, path)), nodes = [...placed.boxes].filter(([path]) => !isBody(graph, path));
  root.append(...frames.map(([path, box]) => nodeBox(run, path, box, true)));
  for (const edge of graph.edges) {
    const pair = `${edge.from} ${edge.to}`, count = nth.get(pair) || 0, line = route(edge, placed.boxes, shared, count * 20);
    nth.set(pair, count + 1);
    const kind = OF_STRATEGY[edge.all[0].strategy] || "boundary", mark = state.edge === edge.key ? " chosen" : "";
    root.append(svg("path", { class: `edge ${kind}${mark}`, d: line.path }), svg("path", { class: `edge head ${kind}${mark}`, d: line.head }));
    labels.push(edgeLabel(edge, line.label));
  }
  root.append(...nodes.map(([path, box]) => nodeBox(run, path, box, false)), ...labels);
  home.replaceChildren(root);
  Object.assign(view, { width: placed.width, height: placed.height });
  scaleGraph(fitting());
  showChosen();
}
// What is chosen elsewhere, in a row or by a link, is brought into the graph's window.
function showChosen() {
  const home = byId("graph"), found = home.querySelector(".node.chosen, .label-of.chosen");
  if (!found) return;
  const box = found.getBoundingClientRect(), room = home.getBoundingClientRect();
  const moved = (from, to, first, last) => from < first || to > last ? (from + to - first - last) / 2 : 0;
  home.scrollLeft += moved(box.left, box.right, room.left, room.right);
  home.scrollTop += moved(box.top, box.bottom, room.top, room.bottom);
}
const isBody = (graph, path) => graph.paths.some(other => parentOf(other) === path);
const tally = (edges, field) => edges.reduce((counts, edge) => counts.set(edge[field], (counts.get(edge[field]) || 0) + 1), new Map());
// At first the whole width is seen where it stays readable: on a narrow screen the graph is wider than it.
const fitting = () => Math.min(1, Math.max(READABLE, (byId("graph").clientWidth || view.width) / view.width));

function scaleGraph(scale, at = [0, 0]) {
  const home = byId("graph"), root = home.firstElementChild, before = view.scale;
  if (!root) return;
  view.scale = Math.min(MAX_SCALE, Math.max(.1, scale));
  root.setAttribute("width", view.width * view.scale);
  root.setAttribute("height", view.height * view.scale);
  // The point under the pointer stays where it is.
  home.scrollLeft = (home.scrollLeft + at[0]) * view.scale / before - at[0];
  home.scrollTop = (home.scrollTop + at[1]) * view.scale / before - at[1];
}

function wheelGraph(event) {
  if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls
  event.preventDefault();
  const box = byId("graph").getBoundingClientRect();
  scaleGraph(view.scale * (event.deltaY < 0 ? 1.15 : 1 / 1.15), [event.clientX - box.left, event.clientY - box.top]);
}
// Drag the background with a mouse; a finger scrolls by itself.
function dragGraph(event) {
  const home = byId("graph");
  if (event.pointerType !== "mouse" || event.button || event.target.closest(".node, .label-of")) return;
  const from = [event.clientX + home.scrollLeft, event.clientY + home.scrollTop];
  home.classList.add("dragged");
  const move = moved => home.scrollTo(from[0] - moved.clientX, from[1] - moved.clientY);
  const end = () => { home.classList.remove("dragged"); removeEventListener("pointermove", move); };
  addEventListener("pointermove", move);
  addEventListener("pointerup", end, { once: true });
}

function edgeLabel(edge, { x, y }) {
  const sum = field => edge.all.reduce((total, each) => total + (each[field] || 0), 0), [before, after, size] = ["ids_in", "ids_out", "bytes"].map(sum);
  const counts = !before && !after ? "" : !before || !after || before === after ? `${number(before || after)} ids` : `${number(before)} → ${number(after)}`;
  const port = edge.all[0].source.split(".").at(-1), name = port === "value" || !edge.all[0].source.includes(".") ? "" : port;
  const lines = [[name, edge.all.length > 1 ? `×${edge.all.length}` : ""].filter(Boolean).join(" "), counts].filter(Boolean);
  if (!lines.length) lines.push(edge.all[0].strategy.replace("_", " "));
  const wide = Math.max(...lines.map(line => line.length)) * 6.3 + 10, tall = lines.length * 13 + 4, first = edge.all[0];
  const title = [edgeName(first), first.strategy.replace("_", " "), size ? bytes(size) : "", first.gap === null ? "" : `gap ${time(first.gap)}, first id ${time(first.first_id_latency)}`];
  return button(svg("g", { class: `label-of${state.edge === edge.key ? " chosen" : ""}`, "data-edge": edge.key, "aria-label": title.filter(Boolean).join(", ") },
    svg("title", {}, title.filter(Boolean).join("\n")), svg("rect", { class: "plate", x: x - wide / 2, y: y - tall / 2, width: wide, height: tall, rx: 5 }),
    ...lines.map((line, i) => svg("text", { x, y: y - tall / 2 + 12 + i * 13, class: i || !name ? "sub" : "label", "text-anchor": "middle" }, line))),
    () => chooseEdge(edge.key));
}

// All that a run says of a node: of each round and item, where it has several.
const entriesOf = (run, path) => Object.entries(run.nodes).filter(([name]) => declared(name) === path);

function nodeBox(run, path, box, body) {
  const entries = entriesOf(run, path).map(([, node]) => node), node = entries[0] || {}, model = Boolean(node.map), error = entries.find(each => each.error)?.error;
  const failed = error || entries.some(each => each.outcome === "failed"), cut = entries.some(each => each.finish_reason === "length");
  const sum = field => entries.reduce((total, each) => total + ((each.usage || {})[field] || 0), 0), turns = sum("turns"), name = path.split("/").at(-1);
  const done = model && sum("generated_ids") ? `${number(sum("generated_ids"))} ids, ${turns} turn${turns === 1 ? "" : "s"}` : node.outcome || "";
  const lines = [model ? short(node.map, 23) : "", failed ? "failed" : cut ? "cut" : model ? done : node.outcome && node.outcome !== "finished" ? node.outcome : ""].filter(Boolean);
  const reason = body && node.reason ? ` · ${short(node.reason, 18)}` : "", classes = ["node", model ? "model" : "", body ? "body" : "", failed ? "bad" : "", isChosen(path) ? "chosen" : ""];
  const message = error ? `${error.type}: ${error.message}` : "", x = box.x + 10, times = entries.length > 1 ? ` ×${entries.length}` : "";
  return button(svg("g", { class: classes.filter(Boolean).join(" "), "data-node": path, "aria-label": `${path}: ${[...lines, message].filter(Boolean).join(", ")}` },
    svg("title", {}, [path, node.model, node.map, message].filter(Boolean).join("\n")),
    svg("rect", { x: box.x, y: box.y, width: box.width, height: box.height }),
    svg("text", { x, y: box.y + (lines.length && !body ? 18 : body ? 20 : 32) }, short(name, 19 - times.length) + times + reason),
    ...(body && !failed ? [] : lines).map((line, i) => svg("text", { x: body ? box.x + box.width - 10 : x, y: box.y + (body ? 20 : 33 + i * 14), class: "sub", "text-anchor": body ? "end" : "start" }, line))),
    () => choose(path));
}
const isChosen = path => state.node !== null && declared(state.node).toLowerCase() === path.toLowerCase();

function button(group, act) {
  group.setAttribute("tabindex", 0);
  group.setAttribute("role", "button");
  group.addEventListener("click", act);
  group.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } });
  return group;
}
