/** Where the page reads what the stream does not bring: of a mesh that runs, or of a recording. @module */

import { ask } from "./token.js";

/** @param {string} path @returns {Promise<any>} null when there is no answer, or not this one */
async function read(path) {
  const answer = await ask(path).catch(() => null);
  return answer?.ok ? answer.json() : null;
}

/** A recording puts its own in the place of these. */
export const source = {
  live: true,
  /** @param {string} name of a service or call @returns {Promise<any>} its charts */
  history: (name) => read(`/api/history?of=${encodeURIComponent(name)}`),
  /** @param {string} id @returns {Promise<any>} as Jaeger gives it */
  trace: async (id) => (await read(`/api/traces/${id}`))?.data[0] ?? null,
  /** @param {URLSearchParams} query @returns {Promise<any[]|null>} the newest traces, one line each */
  recent: async (query) => (await read(`/api/recent?${query}`))?.traces ?? null,
  /** @param {string} id of a trace @returns {Promise<any[]>} what the sidecars kept of it */
  explain: async (id) => (await read(`/api/explain/${id}?maybe=true`))?.exchanges ?? [],
  /** @returns {Promise<any>} faults in force */
  faults: () => read("/api/faults"),
  /** @returns {Promise<any>} policies, and who acts on them */
  policies: () => read("/api/policies"),
};
