/**
 * Where the services stand: in layers from the ingress, callers left of callees. Pure.
 *
 * A position depends on the graph alone, not on what is healthy, so that nothing moves when an instance is
 * killed and healed.
 * @module
 *
 * @typedef {{x: number, y: number, w: number, h: number}} Box
 */

export const WIDTH = 190;
export const INGRESS_WIDTH = 118;
const HEAD = 30;
const ROW = 23;
const GAP_X = 100;
const GAP_Y = 30;
/** A layer higher than this goes on in a column of its own beside it: the first that fills a screen best. */
const COLUMN_HEIGHTS = [1100, 1400, 1700, 2000, 2400, 2800];
/** Width to height of the picture beside the panel, on most screens. */
const ASPECT = 1.45;
const SWEEPS = 6;

/** @param {any} graph @param {(name: string) => number} replicas @returns {Map<string, Box>} */
export function layout(graph, replicas) {
  const names = [graph.ingress, ...graph.services.map((/** @type {any} */ service) => service.name), ...(graph.outside ?? [])];
  const calls = forward(graph.ingress, names, graph.calls);
  const layers = order(layering(graph.ingress, names, calls), calls);
  const tries = COLUMN_HEIGHTS.map((most) => place(graph.ingress, layers, replicas, most));
  return tries.reduce((best, one) => (size(one) < size(best) - 1 ? one : best));
}

/** @param {Map<string, Box>} boxes @returns {number} the higher, the smaller is everything on a screen */
function size(boxes) {
  const all = [...boxes.values()];
  const width = Math.max(...all.map((box) => box.x + box.w));
  return Math.max(width / ASPECT, Math.max(...all.map((box) => box.y + box.h)) - Math.min(...all.map((box) => box.y)));
}

/** @param {string} ingress @param {string[][]} layers @param {(name: string) => number} replicas @param {number} most a column's height @returns {Map<string, Box>} */
function place(ingress, layers, replicas, most) {
  /** @type {Map<string, Box>} */
  const boxes = new Map();
  let x = 0;
  for (const layer of layers) {
    for (const column of columns(layer, replicas, most)) {
      const width = column.includes(ingress) ? INGRESS_WIDTH : WIDTH;
      const total = column.reduce((sum, name) => sum + height(replicas(name)) + GAP_Y, -GAP_Y);
      let y = -total / 2;
      for (const name of column) {
        const h = height(replicas(name));
        boxes.set(name, { x, y, w: width, h });
        y += h + GAP_Y;
      }
      x += width + GAP_X;
    }
  }
  return boxes;
}

/** @param {number} rows @returns {number} */
export function height(rows) {
  return HEAD + ROW * rows;
}

/** @param {Box} box @param {number} row @returns {number} where the line to that instance ends */
export function rowY(box, row) {
  return box.y + HEAD + ROW * (row + 0.5);
}

/** Calls without those that close a circle. @param {string} root @param {string[]} names @param {[string, string][]} calls */
function forward(root, names, calls) {
  /** @type {Map<string, string[]>} */
  const out = new Map(names.map((name) => [name, []]));
  for (const [caller, callee] of calls) out.get(caller)?.push(callee);
  /** @type {Map<string, string[]>} */
  const kept = new Map(names.map((name) => [name, []]));
  /** @type {Map<string, number>} */
  const seen = new Map();
  const visit = (/** @type {string} */ name) => {
    seen.set(name, 1);
    for (const callee of out.get(name) ?? []) {
      if (seen.get(callee) === 1 || !out.has(callee)) continue;
      kept.get(name)?.push(callee);
      if (!seen.has(callee)) visit(callee);
    }
    seen.set(name, 2);
  };
  for (const name of [root, ...names]) if (!seen.has(name)) visit(name);
  return kept;
}

/** Each service one layer behind its last caller. @param {string} root @param {string[]} names @param {Map<string, string[]>} calls */
function layering(root, names, calls) {
  const depth = new Map(names.map((name) => [name, name === root ? 0 : 1]));
  for (let round = 0; round < names.length; round += 1) {
    let moved = false;
    for (const [caller, callees] of calls) {
      for (const callee of callees) {
        const least = (depth.get(caller) ?? 0) + 1;
        if ((depth.get(callee) ?? 0) < least) {
          depth.set(callee, least);
          moved = true;
        }
      }
    }
    if (!moved) break;
  }
  /** @type {string[][]} */
  const layers = [];
  for (const name of names) (layers[depth.get(name) ?? 0] ??= []).push(name);
  return layers.filter(Boolean);
}

/** Fewer crossings: each service near the middle of those it is called by and calls. @param {string[][]} layers @param {Map<string, string[]>} calls */
function order(layers, calls) {
  /** @type {Map<string, Set<string>>} */
  const near = new Map();
  const join = (/** @type {string} */ a, /** @type {string} */ b) => (near.get(a) ?? near.set(a, new Set()).get(a))?.add(b);
  for (const [caller, callees] of calls) for (const callee of callees) { join(caller, callee); join(callee, caller); }
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const place = new Map(layers.flatMap((layer) => layer.map((name, index) => [name, (index + 0.5) / layer.length])));
    for (const layer of layers) {
      const middle = new Map(layer.map((name) => {
        const others = [...(near.get(name) ?? [])].filter((other) => !layer.includes(other));
        const sum = others.reduce((total, other) => total + (place.get(other) ?? 0.5), 0);
        return [name, others.length ? sum / others.length : place.get(name) ?? 0.5];
      }));
      layer.sort((a, b) => (middle.get(a) ?? 0) - (middle.get(b) ?? 0) || (place.get(a) ?? 0) - (place.get(b) ?? 0));
    }
  }
  return layers;
}

/** @param {string[]} layer @param {(name: string) => number} replicas @param {number} most @returns {string[][]} */
function columns(layer, replicas, most) {
  const total = layer.reduce((sum, name) => sum + height(replicas(name)) + GAP_Y, 0);
  const count = Math.ceil(total / most);
  const size = Math.ceil(layer.length / count);
  return Array.from({ length: count }, (_, index) => layer.slice(index * size, (index + 1) * size)).filter((part) => part.length);
}
