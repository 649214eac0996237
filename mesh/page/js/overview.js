/** The panel's first tab: numbers and lines of the whole, of a service or of a call. @module */
import { chart } from "./charts.js";
import { byId, h, patch } from "./dom.js";
import { callEditor, disconnect, serviceEditor } from "./edit.js";
import { ms, percent, rate } from "./format.js";
import { openMenu } from "./menu.js";
import { model } from "./model.js";
import { startReading } from "./reading.js";

const panel = () => /** @type {HTMLElement} */ (byId("overview"));
const EMPTY = { keys: [], times: [], rows: [] };
const asMs = (/** @type {number} */ value) => ms(value);
const asRate = (/** @type {number} */ value) => `${rate(value)}/s`;
const asShare = (/** @type {number} */ value) => percent(value);

export function startOverview() {
  const render = () => {
    if (panel().hidden || !model.graph) return;
    const { chosen } = model;
    const content = chosen?.kind === "node" ? service(chosen.name) : chosen?.kind === "edge" ? edge(chosen.name) : whole();
    patch(panel(), content);
    drawCharts();
  };
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    window.setTimeout(() => { waiting = false; render(); }, 200);
  };
  for (const topic of ["graph", "change", "second", "event"]) model.on(topic, soon);
  startReading(panel());
  model.on("choice", () => { panel().scrollTop = 0; render(); });
  model.on("tab", render);
  model.on("theme", render);
  panel().addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const go = /** @type {HTMLElement|null} */ (target?.closest("[data-go]") ?? null);
    const row = /** @type {HTMLElement|null} */ (target?.closest("[data-part]") ?? null);
    const cut = /** @type {HTMLElement|null} */ (target?.closest("[data-disconnect]") ?? null);
    if (cut) void disconnect(cut.dataset.disconnect ?? "");
    else if (target?.closest("[data-back]")) model.choose(null);
    else if (go) model.choose({ kind: /** @type {"node"|"edge"} */ (go.dataset.kind), name: go.dataset.go ?? "" });
    else if (row) openMenu(row.dataset.part ?? "", event.clientX || row.getBoundingClientRect().left, event.clientY || row.getBoundingClientRect().bottom, row);
  });
}

/** @param {string} name @param {string} value @param {string} [unit] @param {string} [mood] @param {string} [id] */
function stat(name, value, unit = "", mood = "", id = "") {
  return h("div", { class: mood, "data-stat": id || null }, h("span", null, name), h("b", null, value, unit ? h("small", null, unit) : ""));
}

/** @param {{p50_ms: number|null, p95_ms?: number|null, p99_ms: number|null}} of */
function quantiles(of) {
  return [stat("p50", ms(of.p50_ms), "", "", "p50"), stat("p95", ms(of.p95_ms), "", "", "p95"), stat("p99", ms(of.p99_ms), "", "", "p99")];
}

/** @param {string} title @param {string} id @param {[string, string][]} legend colour and words */
function figure(title, id, legend) {
  return h("figure.chart", { "data-key": id }, h("figcaption", null, h("b", null, title), legend.map(([colour, words]) => h("span", null, h(`i.${colour}`), words))),
    h("canvas", { "data-chart": id, role: "img", "aria-label": `${title}, last five minutes` }));
}

function whole() {
  const last = model.load.running ? model.load.window ?? {} : {};
  const bad = last.error_rate > 0;
  return [
    h("h2", { "data-key": "title" }, "Whole mesh", h("small", null, "last 10 s, from the load generator")),
    h("div.stats", { "data-key": "stats" },
      stat("answered", rate(last.rps), "/s", "", "rps"), stat("errors", percent(last.error_rate), "", bad ? "bad" : "", "errors"),
      stat("not sent", String(model.load.dropped ?? "–"), "", model.load.dropped ? "bad" : "", "dropped"),
      stat("response p50", ms(last.p50_ms), "", "", "p50"), stat("response p95", ms(last.p95_ms), "", "", "p95"), stat("response p99", ms(last.p99_ms), "", "", "p99"),
      stat("service p50", ms(last.service_p50_ms), "", "", "service-p50"), stat("service p99", ms(last.service_p99_ms), "", "", "service-p99"),
      stat("in flight", model.load.running ? String(model.load.in_flight ?? "–") : "–", "", "", "in-flight")),
    figure("Requests/s", "rps", [["c1", "answered"], ["c2", "planned"]]),
    figure("Latency", "latency", [["c1", "response p50"], ["c2", "p99"], ["c3", "service p99"]]),
    figure("Errors", "errors", [["c4", "share"]]),
    h("p.note", { "data-key": "note" }, "Response time counts from when a request was due, service time from when it was sent; what could not be sent at all is counted, never left out."),
    h("p.note", { "data-key": "marks" }, "Marks:", MARKS.map(([colour, words]) => [h(`i.mark.${colour}`), words])),
    h("h3", { "data-key": "calls-title" }, "Calls"), calls([...model.edges.keys()]),
    h("h3", { "data-key": "parts-title" }, "Parts of the mesh"),
    h("table.rows", { "data-key": "parts" }, h("tbody", null, model.parts.map((part) => h("tr.go", { "data-part": part.name, "data-key": part.name },
      h("td", null, h("button.link", { type: "button" }, part.name)), h("td", { class: part.state === "healthy" ? "good-text" : "bad-text" }, part.state))))),
  ];
}

const MARKS = [["red", "offline"], ["green", "healed"], ["yellow", "fault"], ["accent", "traffic, topology, policy"]];

/** @param {string} name @returns {any[]} */
function service(name) {
  const node = model.nodes.get(name);
  if (!node) return [h("p.note", null, `${name} is not known.`)];
  const keys = [...model.edges.keys()];
  return [
    h("h2", { "data-key": "title" }, name, h("small", null, `${node.up} of ${node.instances.length} up`), h("button", { type: "button", "data-back": true }, "Whole mesh")),
    h("div.stats", { "data-key": "stats" },
      stat("requests", rate(node.rps), "/s", "", "rps"), stat("errors", percent(node.error_rate), "", node.error_rate ? "bad" : "", "errors"),
      stat("restarts", String(node.instances.reduce((sum, one) => sum + one.restarts, 0))), quantiles(node)),
    h("p.note", { "data-key": "note" }, "Last 10 s at its sidecars; percentiles of the slowest instance."),
    serviceEditor(name),
    figure("Requests/s", "rps", [["c1", "in"]]), figure("Latency", "latency", [["c1", "p50"], ["c2", "p99"]]), figure("Errors", "errors", [["c4", "share"]]),
    h("h3", { "data-key": "instances-title" }, "Instances"),
    h("table.rows", { "data-key": "instances" }, h("thead", null, h("tr", null, ["", "state", "/s", "p99", "errors"].map((word) => h("th", null, word)))),
      h("tbody", null, node.instances.map((one) => h("tr.go", { "data-part": one.name, "data-key": one.name }, h("td", null, h("button.link", { type: "button" }, one.name)),
        h("td", { class: one.colour === "red" ? "bad-text" : one.colour === "yellow" ? "warn-text" : "" }, one.state), h("td.num", null, rate(one.rps)), h("td.num", null, ms(one.p99_ms)), h("td.num", null, percent(one.error_rate)))))),
    h("h3", { "data-key": "in-title" }, "Called by"), calls(keys.filter((key) => key.endsWith(`>${name}`)), 0),
    h("h3", { "data-key": "out-title" }, "Calls"), calls(keys.filter((key) => key.startsWith(`${name}>`)), 1),
  ];
}

/** @param {string} name @returns {any[]} */
function edge(name) {
  const found = model.edges.get(name);
  if (!found) return [h("p.note", null, `${name} is not known.`)];
  const open = found.endpoints.filter((one) => one.breaker === "open").length;
  return [
    h("h2", { "data-key": "title" }, name.replace(">", " → "), h("button", { type: "button", "data-back": true }, "Whole mesh")),
    h("div.stats", { "data-key": "stats" },
      stat("requests", rate(found.rps), "/s", "", "rps"), stat("errors", percent(found.error_rate), "", found.error_rate ? "bad" : "", "errors"),
      stat("breakers open", `${open} of ${found.endpoints.length}`, "", open ? "bad" : "", "open"), quantiles(found),
      stat("requests so far", found.requests.toLocaleString("en"), "", "", "requests"), stat("failed so far", found.failed.toLocaleString("en"), "", "", "failed"), stat("retries so far", found.retries.toLocaleString("en"), "", "", "retries")),
    h("p.note", { "data-key": "note" }, "Last 10 s at the callers' sidecars; percentiles of the slowest caller."),
    callEditor(name),
    figure("Requests/s", "rps", [["c1", "out"]]), figure("Latency", "latency", [["c1", "p50"], ["c2", "p99"]]), figure("Errors", "errors", [["c4", "share"]]),
    h("h3", { "data-key": "budget-title" }, "Retry budget"),
    h("div", { "data-key": "budget" }, found.budget === null ? h("p.note", null, "No budget is in use yet.") : [h("div.gauge", { class: found.budget < 0.25 ? "low" : "", role: "meter", "aria-valuenow": Math.round(found.budget * 100), "aria-label": "Retry budget left, percent" }, h("i", { style: { width: `${found.budget * 100}%` } })), h("span.quiet", null, `${percent(found.budget)} left at the caller that has least`)]),
    h("h3", { "data-key": "breakers-title" }, "Breakers, by endpoint"),
    h("table.rows", { "data-key": "breakers" }, h("thead", null, h("tr", null, ["endpoint", "breaker", "so at callers", "share", "failed"].map((word) => h("th", null, word)))),
      h("tbody", null, found.endpoints.map((one) => h("tr", { "data-key": one.id, title: one.reason }, h("td", null, one.id), h("td", null, h(`span.breaker.${one.breaker}`, null, one.breaker), one.left_s !== null ? ` ${one.left_s} s` : ""),
        h("td.num", null, `${Object.values(one.callers).filter((state) => state === one.breaker).length}/${Object.keys(one.callers).length}`), h("td.num", null, percent(one.share)), h("td.num", null, `${one.failures}/${one.requests}`))))),
    h("div", { "data-key": "reasons" }, found.endpoints.filter((one) => one.reason && one.breaker !== "closed").map((one) => h("p.note", null, h("b", null, one.id), ` ${one.breaker}: ${one.reason}`))),
  ];
}

/** @param {string[]} names @param {number} [side] only the caller's (0) or the callee's name */
function calls(names, side) {
  if (!names.length) return h("p.note", { "data-key": `none${side}` }, "None.");
  const title = (/** @type {string} */ name) => (side === undefined ? name.replace(">", " → ") : name.split(">")[side]);
  return h("table.rows.calls", { "data-key": `calls${side ?? ""}` }, h("thead", null, h("tr", null, ["", "/s", "p50", "p99", "errors"].map((word) => h("th", null, word)))),
    h("tbody", null, names.map((name) => {
      const found = /** @type {import("./model.js").Edge} */ (model.edges.get(name));
      return h("tr.go", { "data-go": name, "data-kind": "edge", "data-key": name, "data-edge": name }, h("td", null, h("button.link", { type: "button" }, title(name))), h("td.num", null, rate(found.rps)), h("td.num", null, ms(found.p50_ms)), h("td.num", null, ms(found.p99_ms)),
        h("td.num", { class: found.error_rate ? "bad-text" : "" }, percent(found.error_rate)));
    })));
}

function drawCharts() {
  const { chosen } = model;
  const series = chosen ? model.series.get(chosen.name) ?? EMPTY : model.history;
  const find = (/** @type {string} */ id) => /** @type {HTMLCanvasElement|null} */ (panel().querySelector(`canvas[data-chart="${id}"]`));
  const draw = (/** @type {string} */ id, /** @type {import("./charts.js").Line[]} */ lines, /** @type {(value: number) => string} */ words, /** @type {number} */ least) => {
    const canvas = find(id);
    if (canvas) chart(canvas, series, lines, words, least);
  };
  draw("rps", chosen ? [{ key: "rps", colour: "c1", words: "requests" }] : [{ key: "offered_rps", colour: "c2", words: "planned", dash: true }, { key: "rps", colour: "c1", words: "answered" }], asRate, 1);
  draw("latency", chosen ? [{ key: "p99_ms", colour: "c2", words: "p99" }, { key: "p50_ms", colour: "c1", words: "p50" }] : [{ key: "service_p99_ms", colour: "c3", words: "service p99", dash: true }, { key: "p99_ms", colour: "c2", words: "response p99" }, { key: "p50_ms", colour: "c1", words: "response p50" }], asMs, 1);
  draw("errors", [{ key: "error_rate", colour: "c4", words: "errors" }], asShare, 0.01);
}
