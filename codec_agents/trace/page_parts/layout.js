// The places of nodes and edges. Layers run from left to right, and continue in the next band where the page
// ends. A map or a loop is a frame around its body; all its items, or rounds, are one box for each node.

const NODE = { width: 156, height: 54 }, GAP = { across: 128, down: 20, band: 46 }, FRAME = { side: 14, top: 32, bottom: 14 };
const MARGIN = 20, CHANNEL = 16;

// The path of a node in the declaration: `each[2]/m` is `each/m`.
const declared = name => (name || "").replace(/\[\d+\]/g, "");
const nodeOf = end => declared(end.lastIndexOf(".") > end.lastIndexOf("/") ? end.slice(0, end.lastIndexOf(".")) : end);
const parentOf = path => path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";

// The graph of a run: nodes by path, and edges with the handoffs of all items and rounds on them.
function graphOf(run) {
  const paths = new Set(), edges = new Map();
  const add = path => { if (path && !paths.has(path)) { add(parentOf(path)); paths.add(path); } };
  for (const edge of run.edges) {
    const [from, to] = [nodeOf(edge.source), nodeOf(edge.target)], key = `${declared(edge.source)} ${declared(edge.target)}`;
    add(from); add(to);
    if (!edges.has(key)) edges.set(key, { from, to, key, all: [] });
    edges.get(key).all.push(edge);
  }
  Object.keys(run.nodes).forEach(name => add(declared(name)));
  return { paths: [...paths], edges: [...edges.values()] };
}

// A box for each node, by path: { x, y, width, height }; the frames of bodies contain the boxes inside.
function place(graph, room) {
  const boxes = new Map(), size = arrange(graph, "", room, boxes);
  return { boxes, width: size.width, height: size.height };
}

function arrange(graph, parent, room, boxes) {
  const inside = graph.paths.filter(path => parentOf(path) === parent), sizes = new Map(), inner = new Map();
  for (const path of inside) {
    if (!graph.paths.some(other => parentOf(other) === path)) { sizes.set(path, { ...NODE }); continue; }
    const own = new Map(), size = arrange(graph, path, Infinity, own);
    inner.set(path, own);
    sizes.set(path, { width: Math.max(NODE.width, size.width + 2 * FRAME.side), height: size.height + FRAME.top + FRAME.bottom });
  }
  const edges = graph.edges.filter(edge => parentOf(edge.from) === parent && parentOf(edge.to) === parent);
  const columns = layers(inside, edges), bands = banded(columns, sizes, room), left = bands.length > 1 ? GAP.across - CHANNEL : 0;
  const margin = parent ? 0 : MARGIN;
  let top = margin, width = 0;
  bands.forEach((band, index) => {
    const tall = Math.max(...band.map(column => heightOf(column, sizes)));
    let x = margin + left;
    for (const column of band) {
      const wide = Math.max(...column.map(path => sizes.get(path).width));
      let y = top + (tall - heightOf(column, sizes)) / 2;
      for (const path of column) {
        const box = { x, y, ...sizes.get(path), band: `${parent}:${index}`, bottom: top + tall };
        boxes.set(path, box);
        for (const [name, own] of inner.get(path) || []) {
          boxes.set(name, { ...own, x: own.x + x + FRAME.side, y: own.y + y + FRAME.top, bottom: own.bottom + y + FRAME.top });
        }
        y += box.height + GAP.down;
      }
      x += wide + GAP.across;
    }
    width = Math.max(width, x - GAP.across);
    top += tall + GAP.band;
  });
  return { width: width + margin + (bands.length > 1 ? CHANNEL * 2 : 0), height: Math.max(0, top - GAP.band) + margin + (parent ? 0 : CHANNEL) };
}

// Longest way from a node without sources; within a layer near the nodes that lead there.
function layers(paths, edges) {
  const into = new Map(paths.map(path => [path, []])), depth = new Map(), open = new Set();
  for (const edge of edges) into.get(edge.to).push(edge.from);
  const find = path => {
    if (depth.has(path)) return depth.get(path);
    if (open.has(path)) return 0; // the edge closes a loop
    open.add(path);
    const found = Math.max(-1, ...into.get(path).map(find)) + 1;
    open.delete(path);
    depth.set(path, found);
    return found;
  };
  const columns = [];
  for (const path of paths) (columns[find(path)] ||= []).push(path);
  const full = Array.from(columns, column => column || []), rank = new Map();
  for (const column of full) {
    const middle = path => { const ranks = into.get(path).map(from => rank.get(from)).filter(each => each !== undefined); return ranks.length ? ranks.reduce((a, b) => a + b) / ranks.length : 0; };
    const order = new Map(column.map(path => [path, middle(path)]));
    column.sort((a, b) => order.get(a) - order.get(b)).forEach((path, index) => rank.set(path, index / column.length));
  }
  return full.filter(column => column.length);
}
function banded(columns, sizes, room) {
  const bands = [[]];
  let used = 0;
  for (const column of columns) {
    const wide = Math.max(...column.map(path => sizes.get(path).width)) + GAP.across;
    if (bands.at(-1).length && used + wide + MARGIN * 2 > room) { bands.push([]); used = 0; }
    bands.at(-1).push(column);
    used += wide;
  }
  return bands;
}
const heightOf = (column, sizes) => column.reduce((sum, path) => sum + sizes.get(path).height + GAP.down, -GAP.down);

// The line of an edge, and the place of its label: beside the end that fewer edges share.
function route(edge, boxes, shared, offset) {
  const [a, b] = [boxes.get(edge.from), boxes.get(edge.to)];
  const [x1, y1, x2, y2] = [a.x + a.width, middleOf(a) + offset, b.x - 2, middleOf(b) + offset];
  const atSource = shared.into.get(edge.to) > shared.from.get(edge.from), stub = GAP.across / 2;
  const label = atSource ? { x: x1 + stub, y: y1 } : { x: x2 - stub, y: y2 };
  const head = `M${x2 - 7},${y2 - 4} L${x2},${y2} L${x2 - 7},${y2 + 4}`;
  if (a.band === b.band && x2 > x1 && !obstructed(a, b, boxes)) {
    const pull = Math.max(24, (x2 - x1) / 2);
    return { path: `M${x1},${y1} C${x1 + pull},${y1} ${x2 - pull},${y2} ${x2},${y2}`, head, label };
  }
  // Around the nodes between: down beside the source, along below its band, and up or down beside the target.
  const [down, along, up] = [x1 + CHANNEL, a.bottom + GAP.band / 2, b.x - GAP.across + CHANNEL];
  return { path: `M${x1},${y1} H${down} V${along} H${up} V${y2} H${x2}`, head, label: atSource ? { x: x1 + stub + CHANNEL / 2, y: y1 } : label };
}
const middleOf = box => box.y + Math.min(box.height, NODE.height) / 2;

function obstructed(a, b, boxes) {
  const [y1, y2] = [middleOf(a), middleOf(b)], from = a.x + a.width;
  for (const box of boxes.values()) {
    if (box.band !== a.band || box.x <= a.x || box.x >= b.x) continue;
    const y = y1 + (y2 - y1) * (box.x + box.width / 2 - from) / (b.x - from);
    if (y > box.y - 12 && y < box.y + box.height + 12) return true;
  }
  return false;
}
