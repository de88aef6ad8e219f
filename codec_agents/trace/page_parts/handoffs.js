// Each handoff with its parts; and, over several runs, the percentiles and each run beside the first.

const ORDERS = { gap: edge => edge.gap || 0, first: edge => edge.first_id_latency || 0 };

function drawHandoffs() {
  const runs = chosen(), several = runs.length > 1, found = measured(runs), key = ORDERS[state.order];
  if (key) found.sort(([, a], [, b]) => key(b) - key(a));
  const sizeOf = edge => state.engine ? edge.first_id_latency ?? edge.gap : edge.gap;
  const longest = Math.max(1e-9, ...found.map(([, edge]) => sizeOf(edge)));
  const keyOf = edge => `${declared(edge.source)} ${declared(edge.target)}`;
  const rows = found.map(([run, edge]) => el("tr", { className: keyOf(edge) === state.edge ? "chosen" : "" },
    el("td", {}, el("div", {}, el("button", { type: "button", className: "plain", on: { click: () => chooseEdge(keyOf(edge)) } }, edgeName(edge))), el("div", { className: "dim" }, edge.strategy, several ? ` · ${run.name}` : "")),
    el("td", {}, el("div", {}, edge.ids_in && edge.ids_in !== edge.ids_out ? `${number(edge.ids_in)} → ${number(edge.ids_out)}` : number(edge.ids_out)),
      el("div", { className: "dim" }, edge.bytes ? bytes(edge.bytes) : "")),
    el("td", {}, time(edge.translate)),
    el("td", { className: "wide" }, partsBar(edge, longest), partsText(edge)),
    el("td", {}, el("b", {}, time(edge.gap))), el("td", {}, time(edge.engine)), el("td", {}, el("b", {}, time(edge.first_id_latency)))));
  const heads = ["handoff", "ids", "translating", "what the gap consists of", "gap", "engine", "first id"];
  const empty = el("tr", {}, el("td", { className: "dim" }, "no handoff was measured"));
  byId("handoffs").replaceChildren(el("table", {}, el("tr", {}, ...heads.map((head, i) => el("th", { className: i === 3 ? "wide" : "" }, head))), ...(rows.length ? rows : [empty])));
  byId("percentiles").replaceChildren(...(several && rows.length ? [overRuns(found, runs)] : []));
}
function partsBar(edge, longest) {
  const bar = el("div", { className: "parts" });
  for (const part of Object.keys(PARTS)) {
    if (part === "engine" && !state.engine) continue;
    bar.append(el("i", { style: `width:${(edge[part] || 0) / longest * 100}%;background:var(--${colorOfPart(part)})`, title: `${PARTS[part]}: ${time(edge[part])}` }));
  }
  return bar;
}
function partsText(edge) {
  const parts = Object.keys(PARTS).filter(part => part !== "engine" && edge[part]).map(part => `${part} ${time(edge[part])}`);
  return el("div", { className: "split" }, parts.join(" · "), edge.prefilled ? ` · ${number(edge.prefilled)} ids read ahead` : "");
}

function overRuns(found, runs) {
  const edges = new Map();
  for (const [run, edge] of found) {
    if (!edges.has(edgeName(edge))) edges.set(edgeName(edge), []);
    edges.get(edgeName(edge)).push([run, edge]);
  }
  const each = runs.length <= 6 ? runs : [], shares = [.5, .9, .99];
  const rows = [...edges].map(([name, list]) => {
    const of = field => list.map(([, edge]) => edge[field]);
    const cells = [name, number(list.length), ...shares.map(p => time(quantile(of("gap"), p))), ...shares.map(p => time(quantile(of("first_id_latency"), p)))];
    return el("tr", {}, ...cells.map(cell => el("td", {}, cell)), ...each.map((run, i) => beside(list, each[0], run, i)));
  });
  const heads = ["over the runs shown", "handoffs", "gap p50", "p90", "p99", "first id p50", "p90", "p99", ...each.map(run => `gap of ${short(run.name, 14)}`)];
  return el("div", { className: "card scroll", style: "margin-top:10px" }, el("table", {}, el("tr", {}, ...heads.map(head => el("th", {}, head))), ...rows));
}
function beside(list, first, run, i) {
  const gap = of => quantile(list.filter(([other]) => other === of).map(([, edge]) => edge.gap), .5), [base, own] = [gap(first), gap(run)];
  if (!i || !base || own === null) return el("td", {}, time(own));
  const change = Math.round((own / base - 1) * 100), kind = change > 5 ? "worse" : change < -5 ? "better" : "dim";
  return el("td", {}, time(own), el("span", { className: kind }, ` ${change > 0 ? "+" : ""}${change} %`));
}
