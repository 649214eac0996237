/**
 * What the page knows of the mesh: told by the stream, read by everything else.
 * @module
 *
 * @typedef {{name: string, action: string, delay_ms: number|null, left_s: number|null}} Fault
 * @typedef {{name: string, state: string, colour: string, why: string, version: string, zone: string,
 *   faults?: Fault[], pids: Record<string, number|null>, restarts: number, open: number, half: number, closed: number,
 *   rps: number|null, p50_ms: number|null, p95_ms?: number|null, p99_ms: number|null, error_rate: number}} Instance
 * @typedef {{instances: Instance[], rps: number, p50_ms: number|null, p95_ms?: number|null, p99_ms: number|null, error_rate: number, up: number}} Service
 * @typedef {{id: string, health: string, breaker: string, reason: string, callers: Record<string, string>, ewma_ms: number|null,
 *   requests: number, failures: number, share: number, left_s: number|null}} Endpoint
 * @typedef {{rps: number, p50_ms: number|null, p95_ms: number|null, p99_ms: number|null, error_rate: number, requests: number,
 *   failed: number, retries: number, budget: number|null, endpoints: Endpoint[]}} Edge
 * @typedef {{kind: "node"|"edge", name: string}|null} Choice
 */

import { mark } from "./marks.js";
import { source } from "./source.js";

const KEPT_SECONDS = 300;
const KEPT_EVENTS = 300;
/** More than lines have room for. */
const KEPT_MARKS = 300;

export class Model {
  constructor() {
    /** @type {any} */ this.graph = null;
    /** @type {string} */ this.phase = "connecting";
    /** @type {Map<string, Service>} */ this.nodes = new Map();
    /** @type {Map<string, Edge>} */ this.edges = new Map();
    /** @type {Instance[]} */ this.parts = [];
    /** @type {any} */ this.load = {};
    /** @type {string[]} */ this.warnings = [];
    /** @type {{keys: string[], times: number[], rows: (number|null)[][]}} */ this.history = { keys: [], times: [], rows: [] };
    /** @type {Map<string, {keys: string[], times: number[], rows: (number|null)[][]}>} */ this.series = new Map();
    /** @type {any[]} */ this.events = [];
    /** Apart from the events, which in a bad minute are many. @type {import("./marks.js").Mark[]} */ this.marks = [];
    /** @type {Map<number, any>} */ this.watches = new Map();
    /** @type {Choice} */ this.chosen = null;
    /** @type {Map<string, Set<(value: any) => void>>} */ this.listeners = new Map();
  }

  /** @param {string} topic graph, change, second, event, flights, watch, choice, link @param {(value: any) => void} listener */
  on(topic, listener) {
    const found = this.listeners.get(topic) ?? new Set();
    found.add(listener);
    this.listeners.set(topic, found);
  }

  /** @param {string} topic @param {any} [value] */
  tell(topic, value) {
    for (const listener of this.listeners.get(topic) ?? []) listener(value);
  }

  /** Everything anew. @param {any} message */
  hello(message) {
    const old = JSON.stringify(this.graph);
    this.graph = message.graph;
    this.nodes.clear();
    this.edges.clear();
    this.take(message.picture);
    this.history = message.history;
    this.events = message.events;
    this.marks = this.events.flatMap((event) => mark(event) ?? []);
    this.watches = new Map(message.watches.map((/** @type {any} */ watch) => [watch.id, watch]));
    this.series.clear();
    if (JSON.stringify(this.graph) !== old) this.tell("graph");
    this.tell("change", message.picture);
    this.tell("second");
    this.tell("event");
    this.tell("watch");
    if (!this.chosen) return;
    if (this.nodes.has(this.chosen.name) || this.edges.has(this.chosen.name)) void this.fetchSeries(this.chosen.name);
    else this.choose(null);
  }

  /** @param {any} message only what is different */
  change(message) {
    this.take(message);
    this.tell("change", message);
  }

  /** @param {any} message */
  take(message) {
    for (const [name, node] of Object.entries(message.nodes ?? {})) this.nodes.set(name, /** @type {Service} */ (node));
    for (const [name, edge] of Object.entries(message.edges ?? {})) this.edges.set(name, /** @type {Edge} */ (edge));
    if (message.phase) this.phase = message.phase;
    if (message.parts) this.parts = message.parts;
    if (message.load) this.load = message.load;
    if (message.warnings) this.warnings = message.warnings;
  }

  /** @param {{at: number, row: (number|null)[]}} message one row of the charts */
  second(message) {
    append(this.history, message.at, message.row);
    for (const [name, series] of this.series) {
      const found = /** @type {any} */ (this.nodes.get(name) ?? this.edges.get(name));
      if (found) append(series, message.at, series.keys.map((key) => found[key]));
    }
    this.tell("second");
  }

  /** @param {any} event */
  event(event) {
    this.events.push(event);
    if (this.events.length > KEPT_EVENTS) this.events.splice(0, this.events.length - KEPT_EVENTS);
    const made = mark(event);
    if (made) this.marks.push(made);
    if (this.marks.length > KEPT_MARKS) this.marks.shift();
    this.tell("event", event);
  }

  /** @param {any} watch */
  watch(watch) {
    this.watches.set(watch.id, watch);
    if (this.watches.size > 30) this.watches.delete(this.watches.keys().next().value ?? 0);
    this.tell("watch", watch);
  }

  /** @param {Choice} choice a service, a call, or nothing */
  choose(choice) {
    this.chosen = choice;
    if (choice) void this.fetchSeries(choice.name);
    this.tell("choice");
  }

  /** @param {string} name of a service or call */
  async fetchSeries(name) {
    const found = await source.history(name);
    if (!found || this.chosen?.name !== name) return; // another one was chosen meanwhile
    this.series.clear(); // one at a time is shown
    this.series.set(name, found);
    this.tell("second");
  }

  /** @param {string} name @returns {Instance|undefined} */
  instance(name) {
    for (const node of this.nodes.values()) for (const one of node.instances) if (one.name === name) return one;
    return this.parts.find((part) => part.name === name);
  }
}

/** @param {{times: number[], rows: any[]}} series @param {number} at @param {any[]} row */
function append(series, at, row) {
  series.times.push(at);
  series.rows.push(row);
  if (series.times.length > KEPT_SECONDS) {
    series.times.shift();
    series.rows.shift();
  }
}

export const model = new Model();
