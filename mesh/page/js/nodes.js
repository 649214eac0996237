/** The cards of the services: real buttons over the canvas, so that keyboard and screen readers have them. @module */
import { h } from "./dom.js";
import { ms, percent, rate } from "./format.js";
import { model } from "./model.js";
import { busy } from "./actions.js";

/** @type {Map<string, {card: HTMLElement, rows: Map<string, HTMLElement>}>} */
const cards = new Map();
const WORDS = /** @type {Record<string, string>} */ ({ down: "offline", paused: "paused", draining: "draining", starting: "starting" });
const RANK = ["grey", "green", "yellow", "red"];

/** @param {HTMLElement} layer @param {Map<string, import("./layout.js").Box>} boxes all cards anew */
export function build(layer, boxes) {
  layer.replaceChildren();
  cards.clear();
  for (const name of boxes.keys()) {
    const isIngress = name === model.graph.ingress;
    const isOutside = (model.graph.outside ?? []).includes(name);
    const card = h(isIngress ? "article.node.ingress" : isOutside ? "article.node.outside" : "article.node", { "data-service": name, "aria-label": name },
      h("header", null, h("button.name", { type: "button", title: `Numbers of ${name}` }, name), h("span.num", null, ""), h("small", null, "/s")),
      !isIngress && !isOutside && h("span.port", { "data-connect": name, "aria-hidden": "true", title: `Draw a call: drag to the service that ${name} shall call` }));
    layer.append(card);
    cards.set(name, { card, rows: new Map() });
  }
  move(boxes);
}

/** @param {Map<string, import("./layout.js").Box>} boxes */
export function move(boxes) {
  for (const [name, { card }] of cards) {
    const box = boxes.get(name);
    if (box) card.style.transform = `translate(${box.x}px, ${box.y}px)`;
  }
}

/** @param {string[]} names of the services that are different */
export function update(names) {
  for (const name of names) {
    const found = cards.get(name);
    const node = model.nodes.get(name);
    if (!found || !node) continue;
    text(/** @type {HTMLElement} */ (found.card.querySelector("header .num")), rate(node.rps));
    const several = new Set(node.instances.map((instance) => instance.version)).size > 1;
    for (const instance of node.instances) row(found, instance, several, name === model.graph.ingress);
    const worst = node.up === 0 ? "red" : node.instances.some((one) => one.colour === "red") ? "yellow"
      : RANK[Math.max(...node.instances.map((one) => RANK.indexOf(one.colour)))];
    for (const colour of RANK) found.card.classList.toggle(colour, colour === worst);
    const label = `${name}, ${node.up} of ${node.instances.length} up, ${rate(node.rps)} requests per second. Press for its numbers.`;
    found.card.querySelector(".name")?.setAttribute("aria-label", label);
  }
}

/** @param {string|null} name the chosen service */
export function choose(name) {
  for (const [service, { card }] of cards) {
    card.classList.toggle("chosen", service === name);
    card.querySelector(".name")?.setAttribute("aria-pressed", String(service === name));
  }
}

/** @param {{card: HTMLElement, rows: Map<string, HTMLElement>}} found @param {import("./model.js").Instance} instance @param {boolean} several @param {boolean} isIngress */
function row(found, instance, several, isIngress) {
  let element = found.rows.get(instance.name);
  if (!element) {
    // what lies outside is no process of ours: there is nothing to press
    element = instance.state === "outside" ? h("div.inst", null, h("i"), h("span.tag"), h("span"), h("span.num"), h("span.num"))
      : h("button.inst", { "data-instance": instance.name, type: "button" },
        h("i"), h("span.tag"), h("span"), h("span.num"), h("span.num"), h("span.more", { "aria-hidden": "true", "data-menu": instance.name }, "⋮"));
    found.card.append(element);
    found.rows.set(instance.name, element);
  }
  const offline = WORDS[instance.state];
  element.className = `inst ${instance.colour}${busy.has(instance.name) ? " busy" : ""}`;
  element.setAttribute("data-state", instance.state);
  const [, tag, extra, first, second] = /** @type {HTMLElement[]} */ ([...element.children]);
  const isOutside = instance.state === "outside";
  if (isOutside) element.title = `${instance.name}: ${instance.why}`;
  text(tag, isIngress ? "" : isOutside ? instance.name : instance.name.slice(instance.name.lastIndexOf("-") + 1));
  const labels = [several ? instance.version : "", instance.zone].filter(Boolean).join(" ");
  const faulty = (instance.faults ?? []).map(inWords).join(", ");
  const wanted = `${labels}${faulty && "!"}`;
  if (extra.textContent !== wanted) extra.replaceChildren(...(labels ? [h("em", null, labels)] : []), ...(faulty ? [h("em.fault", null, "!")] : []));
  extra.className = "tag";
  first.className = offline ? "word" : "num";
  text(first, offline ?? (isOutside ? "" : `${rate(instance.rps)}/s`));
  text(second, offline ? "" : ms(instance.p99_ms));
  second.hidden = Boolean(offline);
  const what = offline && instance.state !== "starting" ? "bring it back" : "take it offline";
  const label = `${instance.name}, ${instance.state}, ${instance.why}, ${rate(instance.rps)} requests per second${faulty ? `, faults: ${faulty}` : ""}`;
  if (isOutside) return;
  element.setAttribute("aria-label", isIngress ? `${label}. Press for its actions.` : `${label}. Press to ${what}.`);
}

/** @param {import("./model.js").Fault} fault */
function inWords(fault) {
  return [fault.delay_ms ? `delay ${ms(fault.delay_ms)}` : "", fault.action === "none" ? "" : fault.action].filter(Boolean).join(", ") || fault.name;
}

/** @param {HTMLElement} element @param {string} words */
function text(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/** @param {import("./model.js").Instance} instance @returns {(Node|string)[]} what the tip says of it */
export function about(instance) {
  const callers = instance.open + instance.half + instance.closed;
  const pids = Object.entries(instance.pids).filter(([, pid]) => pid).map(([part, pid]) => `${part} ${pid}`).join(", ");
  const line = (/** @type {string} */ key, /** @type {any} */ value) => h("tr", null, h("td.quiet", null, key), h("td", null, value));
  return [h("b", null, instance.name), ` ${instance.state}`, h("div", { class: `${instance.colour === "red" ? "bad-text" : "quiet"}` }, instance.why),
    h("table", null,
      line("requests", `${rate(instance.rps)}/s`), line("p50, p95, p99", [instance.p50_ms, instance.p95_ms, instance.p99_ms].map(ms).join(", ")),
      line("errors", percent(instance.error_rate)),
      callers ? line("breakers", `${instance.closed} closed, ${instance.open} open, ${instance.half} half-open`) : "",
      (instance.faults ?? []).map((fault) => line("fault", `${inWords(fault)}${fault.left_s === null ? "" : `, ${fault.left_s} s left`}`)),
      line("version", instance.version || "–"), instance.zone ? line("zone", instance.zone) : "",
      line("processes", pids || "none"), line("restarts", instance.restarts))];
}
