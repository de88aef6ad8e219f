// What went wrong: errors of nodes, repeated requests, answers that were cut, dropped history.

function troublesOf(run) {
  const failed = Object.entries(run.nodes).filter(([, node]) => node.error)
    .map(([name, node]) => ({ kind: "failed", node: name, text: `${node.error.type}: ${node.error.message}` }));
  const cut = Object.entries(run.nodes).filter(([, node]) => node.finish_reason === "length")
    .map(([name]) => ({ kind: "cut", node: name, text: "the last turn ended at its limit of ids" }));
  const retried = run.retries.map(each => ({ kind: "retried", node: each.node,
    text: `turn ${each.turn} was asked again after ${time(each.at)}${each.kept ? `, keeping ${number(each.kept)} ids` : ""}: ${each.type}: ${each.message}` }));
  const forgotten = run.cache_losses.map(each => ({ kind: "cache", node: each.node,
    text: `turn ${each.turn}: the engine found ${number(each.cached)} of the ${number(each.kept)} ids of the turn before, and read anew from id ${each.id} at position ${number(each.cached)} on` }));
  const dropped = run.dropped.map(each => ({ kind: "dropped", node: each.node,
    text: `before turn ${each.turn} (${each.policy}): ${number(each.before)} ids would have been in the prompt, ${number(each.after)} are, of a context of ${number(each.context)}` }));
  return [...failed, ...cut, ...retried, ...forgotten, ...dropped];
}

function drawTroubles() {
  const runs = chosen(), rows = runs.flatMap(run => troublesOf(run).filter(each => wanted(each.node, each.text)).map(each => [run, each]));
  byId("troubles").hidden = !rows.length;
  byId("trouble-list").replaceChildren(...rows.map(([run, each]) => el("li", { className: each.kind },
    el("button", { type: "button", on: { click: () => choose(each.node) } }, each.node),
    el("b", {}, each.kind), el("span", {}, each.text), el("span", { className: "dim" }, runs.length > 1 ? run.name : ""))));
}
