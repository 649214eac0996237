/** Keeps what the stream says, and gives it as one file that `mesh replay` plays. @module */
import { toast } from "./actions.js";
import { byId, give } from "./dom.js";
import { model } from "./model.js";
import { open, taps } from "./stream.js";

/** Some ten minutes of the shop; what would be more is not kept. */
const MOST_CHARACTERS = 48e6;

/** @type {{lines: string[], size: number, began: number, timer: number}|null} */
let recording = null;

export function startRecorder() {
  byId("record").addEventListener("click", toggleRecording);
}

export function toggleRecording() {
  if (recording) stop();
  else begin();
}

function begin() {
  const header = JSON.stringify({ recording: 1, mesh: model.graph?.name ?? "", at: Date.now() / 1000 });
  recording = { lines: [header], size: header.length, began: performance.now(), timer: window.setInterval(say, 1000) };
  taps.add(tap);
  say();
  open();
}

/** @param {string} topic @param {string} text */
function tap(topic, text) {
  if (!recording) return;
  const line = `{"t":${((performance.now() - recording.began) / 1000).toFixed(3)},"event":"${topic}","data":${text}}`;
  recording.lines.push(line);
  recording.size += line.length;
  if (recording.size > MOST_CHARACTERS) {
    toast("The recording is as long as one can be: it ends here.", true);
    stop();
  }
}

function stop() {
  if (!recording) return;
  const { lines, timer } = recording;
  recording = null;
  taps.delete(tap);
  window.clearInterval(timer);
  say();
  void download(lines);
}

function say() {
  const button = byId("record");
  button.setAttribute("aria-pressed", String(Boolean(recording)));
  const seconds = recording ? Math.floor((performance.now() - recording.began) / 1000) : 0;
  button.textContent = recording ? `Stop ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` : "Record";
}

/** @param {string[]} lines */
async function download(lines) {
  const text = new Blob([lines.join("\n"), "\n"]).stream().pipeThrough(new CompressionStream("gzip"));
  const at = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, "").replace("T", "-");
  const name = `${model.graph?.name ?? "mesh"}-${at}.jsonl.gz`;
  give(await new Response(text).blob(), name);
  toast(`Play it with: mesh replay ${name}`);
}
