/**
 * The dots: each is one attempt of a real, sampled request on its way to the instance that really took it.
 *
 * Arrays of a fixed size that are used again; nothing is made while it runs. A dot starts when the request did
 * (some seconds late) and is slower on screen the longer the attempt took.
 * @module
 */
const POOL = 4096;
export const MOST_ON_SCREEN = 2000;
const MOST_WAITING = 6000;
/** On screen an attempt of 1 ms takes 0.5 s, one of 20 ms 1.1 s, one of a second 2.2 s: legible, and in order. */
const FIRST_S = 0.45;
const PER_DOUBLING_S = 0.17;
const LONGEST_S = 4;
/** Time within a trace, stretched so that one can follow it. */
const STRETCH = 18;
const LONGEST_GAP_S = 1.5;

export const OK = 0;
export const RETRY = 1;
export const ERROR = 2;

export class Particles {
  constructor() {
    this.begin = new Float64Array(POOL);
    this.lasting = new Float32Array(POOL);
    this.side = new Float32Array(POOL);
    this.kind = new Uint8Array(POOL);
    this.x = new Float32Array(POOL);
    this.y = new Float32Array(POOL);
    /** @type {(Float32Array|null)[]} */ this.curve = new Array(POOL).fill(null);
    /** @type {string[]} */ this.trace = new Array(POOL).fill("");
    this.count = 0;
    /** @type {{at: number, s: number, key: string, kind: number, id: string}[]} */ this.waiting = [];
    this.dropped = 0;
  }

  /** @param {any[]} flights @param {number} now seconds @param {(instance: string) => string} serviceOf */
  add(flights, now, serviceOf) {
    const first = Math.min(...flights.map((flight) => flight.at));
    for (const flight of flights) {
      /** @type {number[]} */ const arrival = [];
      /** @type {number[]} */ const began = [];
      flight.hops.forEach((/** @type {any[]} */ hop, /** @type {number} */ index) => {
        const [before, from, to, start, duration, outcome, attempt] = hop;
        const base = before >= 0 && before < index ? arrival[before] : now + (flight.at - first);
        const since = before >= 0 && before < index ? start - began[before] : start;
        const at = base + Math.min(LONGEST_GAP_S, Math.max(0, (since / 1000) * STRETCH));
        const lasting = Math.min(LONGEST_S, FIRST_S + PER_DOUBLING_S * Math.log2(1 + Math.max(0, duration)));
        arrival[index] = at + lasting;
        began[index] = start;
        if (this.waiting.length >= MOST_WAITING) this.dropped += 1;
        else this.waiting.push({ at, s: lasting, key: `${serviceOf(from)}>${to}`, kind: outcome !== "ok" ? ERROR : attempt > 1 ? RETRY : OK, id: flight.id });
      });
    }
    this.waiting.sort((a, b) => b.at - a.at); // the next one last: popping is cheap
  }

  /** Move to `now`. @param {number} now seconds @param {Map<string, import("./routes.js").Route>} routes */
  step(now, routes) {
    while (this.waiting.length && this.waiting[this.waiting.length - 1].at <= now) {
      const one = /** @type {NonNullable<ReturnType<typeof this.waiting.pop>>} */ (this.waiting.pop());
      const route = routes.get(one.key);
      if (!route || this.count >= MOST_ON_SCREEN) {
        this.dropped += 1;
        continue;
      }
      const index = this.count;
      this.count += 1;
      this.begin[index] = one.at;
      this.lasting[index] = one.s;
      this.kind[index] = one.kind;
      this.side[index] = ((index * 7919) % 7) - 3;
      this.curve[index] = route.c;
      this.trace[index] = one.id;
    }
    for (let index = this.count - 1; index >= 0; index -= 1) {
      const t = (now - this.begin[index]) / this.lasting[index];
      const c = this.curve[index];
      if (t >= 1 || !c) {
        this.drop(index);
        continue;
      }
      const u = 1 - t;
      const a = u * u * u;
      const b = 3 * u * u * t;
      const d = 3 * u * t * t;
      const e = t * t * t;
      this.x[index] = a * c[0] + b * c[2] + d * c[4] + e * c[6];
      this.y[index] = a * c[1] + b * c[3] + d * c[5] + e * c[7] + this.side[index] * 4 * t * u;
    }
  }

  /** @param {number} index its place is taken by the last one */
  drop(index) {
    const last = this.count - 1;
    this.begin[index] = this.begin[last];
    this.lasting[index] = this.lasting[last];
    this.side[index] = this.side[last];
    this.kind[index] = this.kind[last];
    this.x[index] = this.x[last];
    this.y[index] = this.y[last];
    this.curve[index] = this.curve[last];
    this.trace[index] = this.trace[last];
    this.curve[last] = null;
    this.trace[last] = "";
    this.count = last;
  }

  clear() {
    while (this.count) this.drop(this.count - 1);
    this.waiting.length = 0;
  }

  /** @param {number} x @param {number} y in the world @param {number} near @returns {string|null} the trace of the dot there */
  at(x, y, near) {
    let best = near * near;
    /** @type {string|null} */
    let found = null;
    for (let index = 0; index < this.count; index += 1) {
      const dx = this.x[index] - x;
      const dy = this.y[index] - y;
      if (dx * dx + dy * dy < best) {
        best = dx * dx + dy * dy;
        found = this.trace[index];
      }
    }
    return found;
  }
}

/** @param {Record<string, string>} colours @param {number} ratio @returns {ImageData[]} one small picture a kind */
export function sprites(colours, ratio) {
  const make = (/** @type {number} */ size, /** @type {(context: CanvasRenderingContext2D, half: number) => void} */ paint) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = Math.ceil(size * ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    paint(context, canvas.width / 2);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
  const circle = (/** @type {CanvasRenderingContext2D} */ context, /** @type {number} */ half, /** @type {number} */ radius) => {
    context.beginPath();
    context.arc(half, half, radius, 0, 7);
  };
  return [
    make(7, (context, half) => { context.fillStyle = colours.ok; circle(context, half, half * 0.78); context.fill(); }),
    make(12, (context, half) => { context.strokeStyle = colours.retry; context.lineWidth = half * 0.36; circle(context, half, half * 0.66); context.stroke(); }),
    make(14, (context, half) => {
      context.fillStyle = colours.red;
      context.strokeStyle = colours.stage;
      context.lineWidth = half * 0.16;
      context.beginPath();
      context.moveTo(half, half * 0.12);
      context.lineTo(half * 1.88, half);
      context.lineTo(half, half * 1.88);
      context.lineTo(half * 0.12, half);
      context.closePath();
      context.fill();
      context.stroke();
    }),
  ];
}
