// What all parts of the page share: the runs, what is chosen, and how things are made and written.

const RUNS = JSON.parse(document.getElementById("data").textContent);
const KINDS = { wait: "waiting for the first id", reasoning: "reasoning", answer: "answer", tool_calls: "tool call ids",
  tool: "tool at work", handoff: "handoff" };
const PARTS = { detect: "see that the source has ended", tail: "translate the tail", wait: "wait for the other inputs",
  render: "assemble the prompt", queue: "wait for a place at the engine", request: "connect and write the request",
  engine: "engine's time to first id" };
const EDGES = { identity: "ids as they are", translate: "ids, translated", boundary: "text boundary" };
const OF_STRATEGY = { pass_through: "identity", translate: "translate" };
const state = { runs: new Set(RUNS.map((_, i) => i).slice(0, 6)), kinds: new Set(Object.keys(KINDS)), filter: "", shown: 0,
  range: null, node: null, edge: null, grouping: "run", order: "time", engine: false };

function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (key === "style") node.style.cssText = value;
    else if (key === "on") Object.entries(value).forEach(([name, listener]) => node.addEventListener(name, listener));
    else if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}
function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const byId = id => document.getElementById(id);
const number = value => value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en");
const short = (text, length) => text.length > length ? text.slice(0, length - 1) + "…" : text;
const swatch = color => el("i", { className: "swatch", style: `background:var(--${color})` });
const colorOfPart = part => part === "wait" ? "wait-part" : part;
const edgeName = edge => `${edge.source} → ${edge.target}`;
function time(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (Math.abs(value) < 1e-3) return (value * 1e6).toFixed(0) + " µs";
  return Math.abs(value) < 1 ? (value * 1e3).toPrecision(3) + " ms" : value.toFixed(2) + " s";
}
function bytes(value) {
  return value < 10000 ? `${number(value)} B` : value < 1e7 ? `${(value / 1e3).toFixed(1)} kB` : `${(value / 1e6).toFixed(1)} MB`;
}
function quantile(values, share) {
  const sorted = values.filter(value => value !== null && value !== undefined).sort((a, b) => a - b);
  if (!sorted.length) return null;
  const place = (sorted.length - 1) * share, low = Math.floor(place), high = Math.ceil(place);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}
const wanted = (...texts) => !state.filter || texts.some(text => [text || "", declared(text)].some(each => each.toLowerCase().includes(state.filter)));
const chosen = () => [...state.runs].sort((a, b) => a - b).map(i => RUNS[i]);
const measured = runs => runs.flatMap(run => run.edges.filter(edge => edge.gap !== null).map(edge => [run, edge]))
  .filter(([, edge]) => wanted(edge.source, edge.target));
