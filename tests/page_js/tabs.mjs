// A browser without one, for tests: tabs that share what is kept, and a server that says what a test has it say.
import { webcrypto } from "node:crypto";

import { Files } from "../../ovis_app/ui/static/page/files.mjs";
import { Session } from "../../ovis_app/ui/static/page/session.mjs";
import { open } from "../../ovis_app/ui/static/page/store.mjs";
import { WireError } from "../../ovis_app/ui/static/page/wire.mjs";

globalThis.crypto ??= webcrypto; // node 18 has it by that name alone

export const FACTS = {
  version: "v1", session: "session-1", most_text: 1000, most_files: 3, model: { knobs: [], switches: ["thinking"] },
};

/** A server: it has uploads until it is started again, and says what a test has it say. */
export class Server {
  uploads = new Map();
  asked = [];
  count = 0;
  script = (question) => [{ kind: "answer", text: `You said: ${question}` }];
  stats = null;
  up = true;
  restart() { this.uploads.clear(); }
  address = (path) => `at:${path}`;
  async upload(blob, name) {
    this.#reached();
    const path = `/folder${++this.count}/${name}`;
    this.uploads.set(path, blob);
    return path;
  }
  async bring(session, path) {
    this.#reached();
    if (path.endsWith(".txt")) return { refused: `“${path.split("/").at(-1)}” is no picture.` };
    if (path.endsWith(".pdf")) {
      const pages = [1, 2].map((page) => `/page${page}-of${path}`);
      for (const page of pages) this.uploads.set(page, new Blob([page]));
      return { files: pages.map((page, i) => ({ kind: "image", name: `page ${i + 1}`, path: page })), notes: [] };
    }
    return { files: [{ kind: /\.(?:mp4|gif)$/.test(path) ? "video" : "image", name: path.split("/").at(-1), path, moves: path.endsWith(".gif") }] };
  }
  async shown(path) { return this.uploads.get(path); }
  async own(path) { return new Blob([path], { type: "image/png" }); }
  async ask(sent, hear, { signal }) {
    this.#reached();
    this.asked.push(sent.request);
    const urls = sent.request.messages.flatMap((one) => (Array.isArray(one.content) ? one.content : []))
      .map((part) => part[part.type]?.url).filter(Boolean);
    const missing = urls.flatMap((url, i) => (this.uploads.has(url.slice(3)) ? [] : [i]));
    let seq = 0;
    hear({ seq: seq++, kind: "begun", version: this.version ?? "v1" });
    if (missing.length) return hear({ seq, kind: "missing", files: missing });
    const goesOn = sent.request.continue_final_message === true;
    const begun = goesOn ? sent.request.messages.at(-1) : {};
    const said = { text: begun.content ?? "", thinking: begun.reasoning ?? "" };
    for (const frame of this.script(textOf(sent.request.messages.at(goesOn ? -2 : -1)))) {
      if (signal.aborted) throw new DOMException("stopped", "AbortError");
      if (frame instanceof Error) throw frame;
      if (frame instanceof Promise) { await Promise.race([frame, new Promise((go) => signal.addEventListener("abort", go))]); continue; }
      if (frame.kind === "answer") said.text += frame.text;
      if (frame.kind === "thinking") said.thinking += frame.text;
      hear({ seq: seq++, ...frame });
    }
    if (signal.aborted) throw new DOMException("stopped", "AbortError");
    hear({ seq, kind: "done", finish: "end", ...said, stats: this.stats });
  }
  #reached() { if (!this.up) throw new WireError("gone", { lost: true }); }
}

const textOf = (message) => (typeof message.content === "string" ? message.content : message.content.at(-1).text);

/** A browser: tabs of it share what is kept. */
export async function browser(server = new Server()) {
  const said = [];
  const store = await open((sentence) => said.push(sentence), { factory: null });
  const clock = { now: 1_000_000 };
  const here = { server, store, said, clock, tab: () => tab(new Map()) };
  async function tab(kept, { reloaded = false } = {}) {
    const keeps = { get: (key) => kept.get(key) ?? null, set: (key, value) => (value === null ? kept.delete(key) : kept.set(key, value)) };
    const wire = server;
    const files = new Files({ store, wire, session: () => session.facts.session });
    const session = new Session({ store, wire, files, tab: keeps, changed: () => {}, now: () => ++clock.now });
    session.facts = { ...FACTS, session: reloaded ? "session-2" : "session-1" };
    await session.start();
    session.reload = () => { session.put_aside(); return tab(new Map(kept), { reloaded: true }); };
    return session;
  }
  return here;
}

export const shown = (session) => session.path.map((one) => one.text);
export const last = (session) => session.path.at(-1);
export async function say(session, text) {
  session.draft.text = text;
  await session.ask();
}
export const picture = (name, content = name) => ({ blob: new Blob([content], { type: "image/png" }), name });
export const messages = (server) => server.asked.at(-1).messages;
