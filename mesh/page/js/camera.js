/** The view on the picture: pan, zoom, fit; world to screen is `screen = world * scale + offset`. @module */

/** Below this scale numbers are too small to read: names and colours take their room. */
export const FAR = 0.6;
const MIN = 0.12;
const MAX = 2.2;
const MARGIN = 26;
const LEGEND = 34;

export class Camera {
  /** @param {HTMLElement} stage @param {() => void} changed */
  constructor(stage, changed) {
    this.stage = stage;
    this.changed = changed;
    this.x = 0;
    this.y = 0;
    this.scale = 1;
    this.touched = false;
    /** @type {Map<number, {x: number, y: number}>} */ this.pointers = new Map();
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      const box = stage.getBoundingClientRect();
      this.zoom(Math.exp(-event.deltaY * 0.0014), event.clientX - box.left, event.clientY - box.top);
    }, { passive: false });
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const name of /** @type {const} */ (["pointerup", "pointercancel", "pointerleave"])) {
      stage.addEventListener(name, (event) => {
        this.pointers.delete(event.pointerId);
        if (!this.pointers.size) stage.classList.remove("moving");
      });
    }
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (event.target instanceof Element && event.target.closest(".node")) return;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  /** @param {PointerEvent} event */
  move(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    if (others.length) {
      const before = Math.hypot(last.x - others[0].x, last.y - others[0].y) || 1;
      const now = Math.hypot(event.clientX - others[0].x, event.clientY - others[0].y);
      const box = this.stage.getBoundingClientRect();
      this.zoom(now / before, (event.clientX + others[0].x) / 2 - box.left, (event.clientY + others[0].y) / 2 - box.top);
    } else {
      this.stage.classList.add("moving");
      this.pan(event.clientX - last.x, event.clientY - last.y);
    }
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  /** @param {number} dx @param {number} dy in pixels */
  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.touched = true;
    this.changed();
  }

  /** @param {number} factor @param {number} [px] @param {number} [py] the point that stays where it is */
  zoom(factor, px = this.stage.clientWidth / 2, py = this.stage.clientHeight / 2) {
    const scale = Math.min(MAX, Math.max(MIN, this.scale * factor));
    this.x = px - ((px - this.x) * scale) / this.scale;
    this.y = py - ((py - this.y) * scale) / this.scale;
    this.scale = scale;
    this.touched = true;
    this.changed();
  }

  /** @param {Iterable<import("./layout.js").Box>} boxes all of them into view */
  fit(boxes) {
    const all = [...boxes];
    if (!all.length) return;
    const left = Math.min(...all.map((box) => box.x));
    const right = Math.max(...all.map((box) => box.x + box.w));
    const top = Math.min(...all.map((box) => box.y));
    const bottom = Math.max(...all.map((box) => box.y + box.h));
    const width = this.stage.clientWidth - 2 * MARGIN;
    const height = this.stage.clientHeight - 2 * MARGIN - LEGEND;
    this.scale = Math.min(1.25, Math.max(MIN, Math.min(width / (right - left), height / (bottom - top))));
    this.x = MARGIN + (width - (right - left) * this.scale) / 2 - left * this.scale;
    this.y = MARGIN + (height - (bottom - top) * this.scale) / 2 - top * this.scale;
    this.touched = false;
    this.changed();
  }
}
