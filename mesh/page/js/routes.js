/**
 * The curves that lines and dots follow: from a service to each instance of another. Pure.
 * @module
 */
import { rowY } from "./layout.js";

/** @typedef {{edge: string, instance: string, c: Float32Array}} Route `c`: x0 y0 x1 y1 x2 y2 x3 y3 of a cubic curve */

const LEAST_BEND = 40;

/**
 * @param {import("./layout.js").Box} from @param {import("./layout.js").Box} to @param {number} row
 * @returns {Float32Array}
 */
export function curve(from, to, row) {
  const x0 = from.x + from.w;
  const y0 = from.y + from.h / 2;
  const x3 = to.x;
  const y3 = rowY(to, row);
  const bend = x3 > x0 ? Math.max(LEAST_BEND, (x3 - x0) * 0.5) : Math.max(120, (x0 - x3) * 0.6);
  return new Float32Array([x0, y0, x0 + bend, y0, x3 - bend, y3, x3, y3]);
}

/** @param {Float32Array} c @param {number} t 0 to 1 @returns {number} */
export function xAt(c, t) {
  const u = 1 - t;
  return u * u * u * c[0] + 3 * u * u * t * c[2] + 3 * u * t * t * c[4] + t * t * t * c[6];
}

/** @param {Float32Array} c @param {number} t 0 to 1 @returns {number} */
export function yAt(c, t) {
  const u = 1 - t;
  return u * u * u * c[1] + 3 * u * u * t * c[3] + 3 * u * t * t * c[5] + t * t * t * c[7];
}

/**
 * @param {Map<string, import("./layout.js").Box>} boxes
 * @param {Map<string, import("./model.js").Edge>} edges @param {Map<string, import("./model.js").Service>} nodes
 * @returns {Map<string, Route>} by "caller>instance"
 */
export function routes(boxes, edges, nodes) {
  /** @type {Map<string, Route>} */
  const found = new Map();
  for (const edge of edges.keys()) {
    const [caller, callee] = edge.split(">");
    const from = boxes.get(caller);
    const to = boxes.get(callee);
    if (!from || !to) continue;
    (nodes.get(callee)?.instances ?? []).forEach((instance, row) => {
      found.set(`${caller}>${instance.name}`, { edge, instance: instance.name, c: curve(from, to, row) });
    });
  }
  return found;
}
