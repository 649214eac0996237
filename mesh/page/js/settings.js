/** A service's settings between the topology file's words and a form's numbers. Pure. @module */

/** @typedef {{replicas: number, p50: number|null, p99: number|null, errors: number, kind: string}} Form times in ms, errors in percent */

const UNITS = /** @type {Record<string, number>} */ ({ ns: 1e-6, us: 1e-3, "µs": 1e-3, ms: 1, s: 1000, m: 60000, h: 3600000 });

/** @param {any} text as `1.5s` or 0 @returns {number|null} milliseconds */
export function milliseconds(text) {
  if (text === 0 || text === "0") return 0;
  if (typeof text !== "string") return null;
  let sum = 0;
  let rest = text;
  for (const [all, number, unit] of text.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g)) {
    sum += Number(number) * UNITS[unit];
    rest = rest.replace(all, "");
  }
  return rest ? null : Math.round(sum * 1000) / 1000;
}

/** @param {any} service as the control API says it @returns {Form} */
export function formOf(service) {
  const { latency } = service;
  const kind = latency === undefined ? "none" : typeof latency === "object" ? latency.distribution : "constant";
  return {
    replicas: service.numReplicas,
    p50: kind === "lognormal" ? milliseconds(latency.p50) : kind === "constant" ? milliseconds(latency?.value ?? latency) : null,
    p99: kind === "lognormal" ? milliseconds(latency.p99) : null,
    errors: Math.round(service.errorRate * 1e6) / 1e4,
    kind,
  };
}

/** @param {Form} before @param {Form} now @returns {Record<string, any>} only what is different, as the file says it */
export function changes(before, now) {
  /** @type {Record<string, any>} */
  const found = {};
  if (now.replicas !== before.replicas) found.numReplicas = now.replicas;
  if (now.p50 !== before.p50 || now.p99 !== before.p99) found.latency = latencyOf(now);
  if (now.errors !== before.errors) found.errorRate = now.errors / 100;
  return found;
}

/** @param {Form} form */
function latencyOf({ p50, p99 }) {
  if (p50 === null && p99 === null) return null;
  if (p99 === null || p50 === null || p99 === p50) return `${p50 ?? p99}ms`;
  return { distribution: "lognormal", p50: `${p50}ms`, p99: `${p99}ms` };
}
