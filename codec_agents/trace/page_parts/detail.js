// What a chosen node was given and what it did: inputs, prompts, lanes, calls of tools and functions, errors.

const TURNS_SHOWN = 60;

function drawDetail() {
  const run = RUNS[state.shown], home = byId("detail");
  const parts = !run ? [] : state.node !== null ? nodeDetail(run, declared(state.node)) : state.edge !== null ? edgeDetail(run, state.edge) : [];
  home.hidden = !parts.length;
  byId("detail-of").textContent = state.node ?? (state.edge || "").replace(" ", " → ");
  byId("detail-body").replaceChildren(...parts);
}

function nodeDetail(run, path) {
  const entries = entriesOf(run, path), same = name => declared(name) === path, names = [...new Set(entries.map(([name]) => name))];
  const inner = [...new Set(Object.keys(run.nodes).map(declared).filter(other => parentOf(other) === path))];
  const parts = entries.slice(0, TURNS_SHOWN).map(([name, node]) => facts(name, node, names.length > 1));
  if (path in run.inputs) parts.push(passage("input", asText(run.inputs[path])));
  if (inner.length) parts.push(el("p", {}, "its body: ", ...inner.map(name => el("button", { type: "button", on: { click: () => choose(name) } }, name))));
  for (const retry of run.retries.filter(each => same(each.node))) parts.push(el("p", { className: "failed" }, `turn ${retry.turn} was asked again after ${time(retry.at)}: ${retry.type}: ${retry.message}`));
  const calls = Object.entries(run.functions).filter(([name]) => same(name)).flatMap(([name, all]) => all.map(call => [name, call]));
  for (const [name, call] of calls.slice(0, TURNS_SHOWN)) parts.push(passage(`${name} was given`, asText(call.given)), passage("and returned", asText(call.gave)));
  const turns = run.turns.filter(turn => same(turn.node));
  parts.push(...turns.slice(0, TURNS_SHOWN).map(turn => turnCard(run, turn, turns.length <= 3)));
  if (turns.length > TURNS_SHOWN) parts.push(el("p", { className: "dim" }, `${turns.length - TURNS_SHOWN} more turns: see the lanes below`));
  if (path in run.texts) parts.push(passage("text", run.texts[path]));
  return parts.length ? parts : [el("p", { className: "dim" }, "nothing is recorded of this node itself; its edges are below")];
}

function facts(name, node, several) {
  const told = Object.entries(node.probabilities || {}).map(([label, part]) => `${label} ${(100 * part).toFixed(1)} %`).join(", ");
  const usage = node.usage || {}, known = { outcome: node.outcome, reason: node.reason, "labels' probabilities": told, model: node.model, map: node.map, engine: node.engine, dialect: node.dialect,
    "prompt ids": usage.prompt_ids || null, ids: usage.generated_ids || null, reasoning: usage.reasoning_ids || null, "last turn ended by": node.finish_reason };
  const list = Object.entries(known).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("div", { className: "facts" }, several ? el("b", {}, name) : null, ...list.map(([key, value]) => el("span", {}, el("span", { className: "dim" }, `${key} `), typeof value === "number" ? number(value) : value)),
    node.error ? el("p", { className: "failed" }, `${node.error.type}: ${node.error.message}`) : null);
}

function turnCard(run, turn, open) {
  const kept = turn.kept ? `, ${number(turn.kept)} of them the turn before` : "", lanes = run.lanes.filter(lane => lane.node === turn.node && lane.turn === turn.number);
  const card = el("details", { className: "card", open }, el("summary", {}, `${turn.node} · turn ${turn.number}`, el("span", { className: "dim" }, ` · ${number(turn.prompt_ids)} prompt ids${kept} · ${turn.finish_reason || "not complete"}`)));
  const body = el("div", {}, lanePassage(turn.kept ? "added to the prompt" : "prompt", turn.prompt, turn.prompt_ids - turn.kept));
  body.append(...lanes.map(lane => lanePassage(lane.port, lane.text, lane.ids.length)), ...turn.tools.map(toolCall));
  card.append(body);
  return card;
}
function toolCall(tool) {
  const state = el("span", { className: tool.status === "ok" ? "dim" : "failed" }, ` ${tool.status}${tool.seconds === null || tool.seconds === undefined ? "" : `, ${time(tool.seconds)}`}`);
  return el("div", { className: "tool" }, el("h3", {}, swatch("tool"), ` ${tool.name}`, state), passage("arguments", asText(tool.arguments)), passage("result", tool.told || ""));
}

function edgeDetail(run, key) {
  const same = run.edges.filter(edge => `${declared(edge.source)} ${declared(edge.target)}` === key);
  return same.slice(0, TURNS_SHOWN).map(edge => {
    const known = { strategy: edge.strategy.replace("_", " "), "ids in": edge.ids_in, "ids out": edge.ids_out, bytes: edge.bytes, "prefilled ahead": edge.prefilled || null };
    const times = { translating: edge.translate, gap: edge.gap, engine: edge.engine, "first id": edge.first_id_latency };
    const shown = [...Object.entries(known).map(([name, value]) => [name, typeof value === "number" ? number(value) : value]), ...Object.entries(times).map(([name, value]) => [name, value === null ? null : time(value)])];
    return el("div", { className: "facts" }, same.length > 1 ? el("b", {}, edgeName(edge)) : null, ...shown.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => el("span", {}, el("span", { className: "dim" }, `${name} `), value)));
  });
}

const asText = value => typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "";
function lanePassage(name, text, ids) {
  return text === null || text === undefined ? el("p", { className: "dim" }, `${name}: ${number(ids)} ids; their map is not at hand`) : passage(`${name}, ${number(ids)} ids`, text);
}
function passage(name, text) {
  const pre = el("pre"), home = el("div", { className: "passage" }, el("h3", {}, name), pre);
  grow(pre, text, home);
  return home;
}
