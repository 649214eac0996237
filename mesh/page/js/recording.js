/**
 * A recording: the messages of the stream with their times, and what the page may ask of them. Pure.
 *
 * One JSON object a line: first `{"recording": 1, …}`, then `{"t": seconds, "event": topic, "data": message}`.
 * @module
 *
 * @typedef {{t: number, event: string, data: any}} Message
 */

const PART = ["rps", "p50_ms", "p99_ms", "error_rate"];
const KEPT_SECONDS = 300;
const KEPT_EVENTS = 300;
const LISTED = 60;

/** @param {string} text @returns {Message[]} beginning with everything; a line that was cut off is left out */
export function parse(text) {
  /** @type {Message[]} */
  const found = [];
  for (const line of text.split("\n").slice(1)) {
    try {
      if (line) found.push(JSON.parse(line));
    } catch {
      break;
    }
  }
  const first = found.findIndex((message) => message.event === "hello");
  return first < 0 ? [] : found.slice(first);
}

/** Everything as it was at a time. @param {Message[]} messages @param {number} t @returns {{hello: any, next: number}} and the index of the first later message */
export function stateAt(messages, t) {
  const next = after(messages, t);
  const start = lastHello(messages, next);
  const hello = structuredClone(messages[start].data);
  const watches = new Map(hello.watches.map((/** @type {any} */ watch) => [watch.id, watch]));
  for (const { event, data } of messages.slice(start + 1, next)) {
    if (event === "change") {
      Object.assign(hello.picture.nodes, data.nodes);
      Object.assign(hello.picture.edges, data.edges);
      for (const key of ["phase", "parts", "load", "faults"]) if (key in data) hello.picture[key] = data[key];
    } else if (event === "second") {
      hello.history.times.push(data.at);
      hello.history.rows.push(data.row);
    } else if (event === "event") hello.events.push(data);
    else if (event === "watch") watches.set(data.id, data);
  }
  for (const list of [hello.history.times, hello.history.rows]) list.splice(0, list.length - KEPT_SECONDS);
  hello.events.splice(0, hello.events.length - KEPT_EVENTS);
  hello.watches = [...watches.values()];
  return { hello, next };
}

/** The charts of a service or call up to a time. @param {Message[]} messages @param {number} t @param {string} name */
export function seriesOf(messages, t, name) {
  /** @type {{keys: string[], times: number[], rows: (number|null)[][]}} */
  const series = { keys: PART, times: [], rows: [] };
  /** @type {any} */ let now = null;
  for (const { event, data } of messages.slice(0, after(messages, t))) {
    const picture = event === "hello" ? data.picture : event === "change" ? data : null;
    now = picture?.nodes?.[name] ?? picture?.edges?.[name] ?? now;
    if (event !== "second" || !now) continue;
    series.times.push(data.at);
    series.rows.push(PART.map((key) => now[key]));
  }
  return series;
}

/** @param {Message[]} messages @param {number} t @param {{service: string, kind: string, least: number}} filter @returns {any[]} the sampled requests as a list of traces */
export function recentAt(messages, t, { service, kind, least }) {
  /** @type {any[]} */
  const found = [];
  for (let index = after(messages, t) - 1; index >= 0 && found.length < LISTED; index -= 1) {
    if (messages[index].event !== "flights") continue;
    for (const flight of messages[index].data.flights.toReversed()) {
      const services = [...new Set(flight.hops.flatMap((/** @type {any[]} */ hop) => [hop[1], hop[2]].map(serviceOf)))].sort();
      const retries = flight.hops.filter((/** @type {any[]} */ hop) => hop[6] > 1).length;
      if ((service && !services.includes(service)) || flight.ms < least || (kind === "failed" && !flight.failed) || (kind === "retried" && !retries)) continue;
      found.push({ id: flight.id, at: flight.at, ms: flight.ms, name: flight.name, status: flight.status, failed: flight.failed, services, retries });
    }
  }
  return found.slice(0, LISTED);
}

/** A sampled request as a trace: its attempts, without the spans in the services. @param {Message[]} messages @param {string} id @returns {any} as Jaeger gives one, or null */
export function traceOf(messages, id) {
  for (const { event, data } of messages) {
    const flight = event === "flights" ? data.flights.find((/** @type {any} */ one) => one.id === id) : null;
    if (flight) return asTrace(flight);
  }
  return null;
}

/** @param {any} flight */
function asTrace(flight) {
  const tag = (/** @type {string} */ key, /** @type {any} */ value) => ({ key, value });
  /** @type {Record<string, any>} */
  const processes = {};
  const process = (/** @type {string} */ instance) => {
    processes[instance] = { serviceName: serviceOf(instance), tags: [tag("service.instance.id", instance), tag("mesh.component", "sidecar")] };
    return instance;
  };
  const begun = flight.at * 1e6;
  const spans = [{
    spanID: "root", references: [], operationName: flight.name, startTime: begun, duration: flight.ms * 1000, processID: process("ingress"),
    tags: [tag("http.response.status_code", flight.status), tag("error", flight.failed)],
  }];
  flight.hops.forEach((/** @type {any[]} */ [before, from, to, start, lasting, outcome, attempt, status], /** @type {number} */ index) => spans.push({
    spanID: String(index), references: /** @type {any} */ ([{ refType: "CHILD_OF", spanID: before < 0 ? "root" : String(before) }]),
    operationName: attempt ? `attempt ${attempt} ${to}` : to, startTime: begun + start * 1000, duration: lasting * 1000, processID: process(from),
    tags: [tag("mesh.attempt", attempt), tag("mesh.endpoint", to), tag("mesh.outcome", outcome), tag("http.response.status_code", status || null), tag("error", outcome !== "ok")],
  }));
  return { traceID: flight.id, spans, processes };
}

/** @param {string} instance */
function serviceOf(instance) {
  return instance.replace(/-\d+$/, "");
}

/** @param {Message[]} messages @param {number} t @returns {number} the index of the first one later than that */
function after(messages, t) {
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (messages[middle].t <= t) low = middle + 1;
    else high = middle;
  }
  return Math.max(1, low);
}

/** @param {Message[]} messages @param {number} before @returns {number} */
function lastHello(messages, before) {
  for (let index = before - 1; index > 0; index -= 1) if (messages[index].event === "hello") return index;
  return 0;
}
