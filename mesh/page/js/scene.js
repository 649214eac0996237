/** The picture as a whole: cards, lines, dots, and the one loop that draws them. @module */
import { Camera, FAR } from "./camera.js";
import { byId } from "./dom.js";
import { height, layout } from "./layout.js";
import * as lines from "./lines.js";
import { model } from "./model.js";
import * as nodes from "./nodes.js";
import { MOST_ON_SCREEN, Particles, sprites } from "./particles.js";
import { routes } from "./routes.js";
import { Stamps } from "./stamps.js";

const still = window.matchMedia("(prefers-reduced-motion: reduce)");

class Scene {
  constructor() {
    this.stage = /** @type {HTMLElement} */ (byId("stage"));
    this.layer = /** @type {HTMLElement} */ (byId("nodes"));
    this.back = context("lines");
    // its pixels are written by hand: kept where the processor is, not on a GPU
    this.stamps = new Stamps(byId("particles").getContext("2d", { willReadFrequently: true }), MOST_ON_SCREEN);
    this.above = context("labels");
    this.particles = new Particles();
    /** @type {Map<string, import("./layout.js").Box>} */ this.boxes = new Map();
    /** @type {Map<string, import("./routes.js").Route>} */ this.routes = new Map();
    /** @type {string|null} */ this.hovered = null;
    this.camera = new Camera(this.stage, () => this.changed());
    /** @type {Record<string, string>} */ this.colours = {};
    /** @type {Map<string, string>} */ this.services = new Map();
    this.ratio = 1;
    this.dirty = true;
    this.dots = !still.matches;
    this.blank = true;
    this.frames = 0;
    this.k = 1;
    this.shape = "";
    this.rows = new Map();
  }

  start() {
    this.dress();
    new ResizeObserver(() => this.resize()).observe(this.stage);
    model.on("graph", () => this.arrange(true));
    model.on("change", (message) => this.change(message));
    model.on("choice", () => { nodes.choose(model.chosen?.kind === "node" ? model.chosen.name : null); this.dirty = true; });
    model.on("flights", (message) => {
      this.k = message.k;
      if (this.dots) this.particles.add(message.flights, performance.now() / 1000, (instance) => this.services.get(instance) ?? instance);
    });
    still.addEventListener("change", () => { this.show(!still.matches); model.tell("dots"); });
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.particles.clear(); });
    const frame = () => {
      this.draw();
      requestAnimationFrame(frame); // a hidden tab gets no frames
    };
    requestAnimationFrame(frame);
  }

  /** Colours of the theme, and what is drawn of them. */
  dress() {
    const style = getComputedStyle(document.documentElement);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
    this.colours = {
      red: colour("red"), yellow: colour("yellow"), ok: colour("ok"), retry: colour("retry"), line: colour("line"),
      strong: colour("line-strong"), accent: colour("accent"), text: colour("text"), quiet: colour("quiet"), stage: colour("stage"),
    };
    this.stamps.use(sprites(this.colours, this.ratio));
    this.dirty = true;
  }

  resize() {
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    for (const { canvas } of [this.back, this.stamps.context, this.above]) {
      canvas.width = Math.round(this.stage.clientWidth * this.ratio);
      canvas.height = Math.round(this.stage.clientHeight * this.ratio);
    }
    this.stamps.resize();
    this.dress();
    if (this.camera.touched) this.dirty = true;
    else this.camera.fit(this.boxes.values());
  }

  /** @param {boolean} anew */
  arrange(anew) {
    if (!model.graph) return;
    const replicas = (/** @type {string} */ name) => model.nodes.get(name)?.instances.length ?? 1;
    this.boxes = layout(model.graph, replicas);
    for (const [name, [x, y]] of Object.entries(this.moved())) {
      const box = this.boxes.get(name);
      if (box) Object.assign(box, { x, y });
    }
    nodes.build(this.layer, this.boxes);
    nodes.update([...this.boxes.keys()]);
    nodes.choose(model.chosen?.kind === "node" ? model.chosen.name : null);
    if (anew && !this.camera.touched) this.camera.fit(this.boxes.values());
    this.lay();
  }

  /** The curves anew, and who is of which service. */
  lay() {
    this.routes = routes(this.boxes, model.edges, model.nodes);
    this.services.clear();
    for (const [name, node] of model.nodes) for (const one of node.instances) this.services.set(one.name, name);
    this.dirty = true;
  }

  /** @param {any} message */
  change(message) {
    if (!this.boxes.size) return;
    const names = Object.keys(message.nodes ?? {});
    const grown = names.some((name) => this.boxes.get(name)?.h !== height(model.nodes.get(name)?.instances.length ?? 1));
    if (grown) this.arrange(true);
    else nodes.update(names);
    if (Object.keys(message.edges ?? {}).some((edge) => ![...this.routes.values()].some((route) => route.edge === edge))) this.lay();
    this.dirty = true;
    byId("empty").hidden = true;
  }

  changed() {
    const { x, y, scale } = this.camera;
    this.layer.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
    this.layer.classList.toggle("far", scale < FAR);
    this.dirty = true;
  }

  /** @param {string} name @param {number} dx @param {number} dy in pixels */
  drag(name, dx, dy) {
    const box = this.boxes.get(name);
    if (!box) return;
    box.x += dx / this.camera.scale;
    box.y += dy / this.camera.scale;
    nodes.move(this.boxes);
    this.lay();
    const moved = this.moved();
    moved[name] = [box.x, box.y];
    localStorage.setItem(this.key(), JSON.stringify(moved));
  }

  /** Everything where the layout puts it. */
  fit() {
    localStorage.removeItem(this.key());
    this.camera.touched = false;
    this.arrange(true);
  }

  key() {
    return `mesh.places.${model.graph?.name}`;
  }

  /** @returns {Record<string, [number, number]>} what a person moved */
  moved() {
    try {
      return JSON.parse(localStorage.getItem(this.key()) ?? "{}");
    } catch {
      return {};
    }
  }

  /** @param {boolean} on */
  show(on) {
    this.dots = on;
    if (!on) this.particles.clear();
  }

  draw() {
    this.frames += 1;
    if (this.dirty) {
      this.dirty = false;
      lines.draw(this.back, this.above, this.camera, this.ratio, this.routes, model, this.colours, this.hovered);
    }
    this.particles.step(performance.now() / 1000, this.routes);
    const { particles, stamps } = this;
    if (!particles.count && this.blank) return;
    const scale = this.camera.scale * this.ratio;
    stamps.clear();
    for (let index = 0; index < particles.count; index += 1) {
      stamps.put(particles.kind[index], particles.x[index] * scale + this.camera.x * this.ratio, particles.y[index] * scale + this.camera.y * this.ratio);
    }
    stamps.show();
    this.blank = !particles.count;
  }

  /** @param {number} clientX @param {number} clientY @returns {{x: number, y: number}} in the world */
  world(clientX, clientY) {
    const box = this.stage.getBoundingClientRect();
    return { x: (clientX - box.left - this.camera.x) / this.camera.scale, y: (clientY - box.top - this.camera.y) / this.camera.scale };
  }
}

/** @param {string} id @returns {CanvasRenderingContext2D} */
function context(id) {
  return byId(id).getContext("2d");
}

export const scene = new Scene();
