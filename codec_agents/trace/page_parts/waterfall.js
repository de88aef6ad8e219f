// What each node did over time, one row per node; its tools are below it. Bars carry the beginning of their text.

const ROW_STEP = 400;

function drawWaterfall() {
  const runs = chosen(), whole = [0, Math.max(1e-6, ...runs.map(run => run.seconds))], range = state.range || whole;
  byId("whole").hidden = !state.range;
  const rows = runs.flatMap(run => rowsOf(run)), shown = arranged(rows, runs.length > 1).slice(0, ROW_STEP);
  const drawn = [axis(range)];
  let group = null;
  for (const row of shown) {
    if (row.group && row.group !== group) drawn.push(el("div", { className: "group" }, group = row.group));
    drawn.push(drawRow(row, range));
  }
  if (rows.length > ROW_STEP) drawn.push(el("div", { className: "group dim" }, `${rows.length - ROW_STEP} more rows; filter for them`));
  byId("waterfall").replaceChildren(...drawn);
}

function rowsOf(run) {
  const rows = new Map(), texts = new Map(run.lanes.map(lane => [`${lane.node} ${lane.port} ${lane.end}`, lane.text]));
  for (const bar of run.bars) {
    if (!state.kinds.has(bar.kind) || !wanted(bar.node, bar.label)) continue;
    const part = bar.kind === "tool" ? bar.label.split(":")[0] : "", key = `${bar.node}\n${part}`;
    if (!rows.has(key)) rows.set(key, { run, node: bar.node, part, bars: [] });
    rows.get(key).bars.push({ ...bar, text: texts.get(`${bar.node} ${bar.kind} ${bar.end}`) });
  }
  const order = [...new Set(run.bars.map(bar => bar.node))];
  return [...rows.values()].sort((a, b) => order.indexOf(a.node) - order.indexOf(b.node) || (a.part > b.part) - (a.part < b.part));
}
function arranged(rows, several) {
  if (!several) return rows;
  if (state.grouping === "run") return rows.map(row => ({ ...row, group: row.run.name }));
  const nodes = [...new Set(rows.map(row => row.node))], parts = row => nodes.indexOf(row.node);
  return rows.map(row => ({ ...row, group: row.node, label: row.part ? `${row.part} · ${row.run.name}` : row.run.name }))
    .sort((a, b) => parts(a) - parts(b) || (a.part > b.part) - (a.part < b.part));
}

function axis([from, to]) {
  const ticks = [0, .25, .5, .75, 1].map(part => el("span", { style: `left:${part * 100}%` }, time(from + part * (to - from))));
  return el("div", { className: "row axis" }, el("span"), el("span", { className: "track" }, ...ticks), el("span", { className: "took" }, "worked"));
}
function drawRow(row, [from, to]) {
  const scale = 100 / (to - from), track = el("span", { className: "track", on: { pointerdown: event => drag(event, [from, to], row.node) } });
  for (const bar of row.bars) {
    if (bar.end < from || bar.start > to) continue;
    const wide = (bar.end - bar.start) * scale, text = wide > 6 && bar.text ? short(bar.text.trim(), 160) : "";
    track.append(el("i", { style: `left:${(bar.start - from) * scale}%;width:${wide}%;background:var(--${bar.kind})`,
      className: text ? "" : "bare", textContent: text,
      title: `${bar.node}: ${bar.label}\n${time(bar.start)} to ${time(bar.end)}, ${time(bar.end - bar.start)}` }));
  }
  const worked = row.bars.filter(bar => bar.kind !== "handoff").reduce((sum, bar) => sum + bar.end - bar.start, 0);
  const label = row.label || row.part || row.node;
  return el("div", { className: row.part ? "row part" : "row" }, el("span", { className: (row.run.nodes[row.node] || {}).error ? "name failed" : "name", title: `${row.node} ${row.part}` }, label),
    track, el("span", { className: "took" }, time(worked)));
}

// Choose a stretch of time by dragging over a row; a click chooses its node.
function drag(event, [from, to], node) {
  const track = event.currentTarget, box = track.getBoundingClientRect(), mark = el("span", { className: "span" });
  const share = at => Math.min(1, Math.max(0, (at.clientX - box.left) / box.width)), start = share(event);
  let end = start;
  track.setPointerCapture(event.pointerId);
  track.append(mark);
  track.onpointermove = moved => {
    end = share(moved);
    mark.style.cssText = `left:${Math.min(start, end) * 100}%;width:${Math.abs(end - start) * 100}%`;
  };
  track.onpointerup = () => {
    track.onpointermove = track.onpointerup = null;
    mark.remove();
    if (Math.abs(end - start) < .005) return choose(declared(node));
    state.range = [from + Math.min(start, end) * (to - from), from + Math.max(start, end) * (to - from)];
    drawWaterfall();
  };
}
