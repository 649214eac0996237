/**
 * Puts thousands of small pictures on a canvas, cheaply with and without a GPU.
 *
 * Pixels are written into one buffer that is handed to the canvas once a frame; what a frame wrote is what the
 * next one clears. `drawImage` for each dot is a call into the renderer for each dot; here a frame has one.
 * @module
 */

export class Stamps {
  /** @param {CanvasRenderingContext2D} context @param {number} most how many a frame may put */
  constructor(context, most) {
    this.context = context;
    this.most = most;
    this.at = new Int32Array(most);
    this.what = new Uint8Array(most);
    this.count = 0;
    /** @type {{width: number, height: number, words: Uint32Array}[]} */ this.pictures = [];
    this.width = 1;
    this.height = 1;
    this.image = new ImageData(1, 1);
    this.words = new Uint32Array(this.image.data.buffer);
    this.resize();
  }

  /** The canvas has another size, or was cleared. */
  resize() {
    this.width = Math.max(1, this.context.canvas.width);
    this.height = Math.max(1, this.context.canvas.height);
    this.image = new ImageData(this.width, this.height);
    this.words = new Uint32Array(this.image.data.buffer);
    this.count = 0;
  }

  /** @param {ImageData[]} pictures by number */
  use(pictures) {
    this.clear();
    this.pictures = pictures.map(({ width, height, data }) => ({ width, height, words: new Uint32Array(data.buffer) }));
  }

  /** Begin a frame: what the last one wrote goes. */
  clear() {
    const { words, width } = this;
    for (let index = 0; index < this.count; index += 1) {
      const picture = this.pictures[this.what[index]];
      let place = this.at[index];
      for (let y = 0; y < picture.height; y += 1, place += width) words.fill(0, place, place + picture.width);
    }
    this.count = 0;
  }

  /** @param {number} what a picture's number @param {number} middleX @param {number} middleY in pixels of the canvas */
  put(what, middleX, middleY) {
    const picture = this.pictures[what];
    const left = (middleX - picture.width / 2) | 0;
    const top = (middleY - picture.height / 2) | 0;
    if (left < 0 || top < 0 || left + picture.width > this.width || top + picture.height > this.height || this.count >= this.most) return;
    const { words, width } = this;
    const place = top * width + left;
    this.at[this.count] = place;
    this.what[this.count] = what;
    this.count += 1;
    for (let y = 0, from = 0; y < picture.height; y += 1) {
      for (let x = 0, to = place + y * width; x < picture.width; x += 1, from += 1, to += 1) {
        const word = picture.words[from];
        // a soft edge must not cover the middle of another one
        if (word >>> 24 > words[to] >>> 24) words[to] = word;
      }
    }
  }

  /** End the frame. */
  show() {
    this.context.putImageData(this.image, 0, 0);
  }
}
