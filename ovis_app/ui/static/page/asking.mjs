// A question on its way: sent with its files, heard as it is answered, stopped, taken back where nobody heard it.
// Knows frames and requests; what is kept and shown of them it leaves to the session.

import { fresh, heard } from "./frames.mjs";
import { filesOf, requestOf } from "./request.mjs";
import * as trees from "./tree.mjs";

export const WRITE_MS = 300; // between two writes of an answer that grows
export const WAITS = "There is no connection to the server just now: the question waits here until there is.";
export const UPDATED = "This page was updated: reload to get the new one. Nothing is lost.";
const TRIES = 3; // of sending files that the server says it lacks

export class Asking {
  #session; #wire; #files;

  constructor(session, { wire, files }) {
    [this.#session, this.#wire, this.#files] = [session, wire, files];
    this.running = null; // {id, controller, over}
  }

  /** An answer to `question`, which stands in the tree or is `said` with it. `before` puts the box back. */
  async answer(question, { before = null } = {}) {
    const session = this.#session;
    const answer = session.made("assistant", question.id, { by: session.mine });
    const said = before ? [question, answer] : [answer];
    session.say(said, answer.id);
    await this.#run(answer.id, before, async (signal) => {
      await session.write(said);
      await this.#hear(question, answer.id, signal);
    });
  }

  /** Ends the answer that is under way; what was said stays. */
  async stop() {
    const running = this.running;
    if (!running) return;
    running.controller.abort();
    await running.over;
  }

  async #run(id, before, work) {
    const controller = new AbortController();
    let over;
    this.running = { id, controller, over: new Promise((resolve) => { over = resolve; }) };
    this.#session.changed();
    try {
      await work(controller.signal);
    } catch (error) {
      await this.#failed(error, id, before);
    } finally {
      this.running = null;
      over();
      this.#session.changed();
    }
  }

  /** Sends the question and lets its answer grow. Files that the server lacks are sent again, from this browser's copy. */
  async #hear(question, id, signal) {
    const session = this.#session;
    for (let tries = 1; ; tries++) {
      const path = trees.path(session.tree, question.id);
      const places = await this.#files.placed(filesOf(path), { signal, note: (note) => session.grow(id, { note }) });
      const address = (file) => this.#wire.address(places.get(file.hash));
      const request = requestOf(path, session.settings, session.facts.model, address);
      const answer = await this.#listen(request, id, signal);
      if (answer.missing === null) return await session.end(id, { ...partOf(answer), finish: answer.finish ?? "cut" });
      const lacking = answer.missing.map((number) => filesOf(path)[number]).filter(Boolean);
      this.#files.forget(lacking.map((one) => one.hash));
      if (tries === TRIES) throw new Error(session.facts.sentences.files);
    }
  }

  /** All frames of one request, each shown as it comes and written down now and then. */
  async #listen(request, id, signal) {
    const session = this.#session;
    let answer = fresh();
    let written = session.now();
    await this.#wire.ask({ session: session.facts.session, request }, (frame) => {
      answer = heard(answer, frame);
      session.lines.delete("offline");
      if (answer.version && answer.version !== session.facts.version) session.lines.set("version", UPDATED);
      session.grow(id, partOf(answer));
      if (session.now() - written < WRITE_MS) return;
      written = session.now();
      session.write([session.messages.get(id)]);
    }, { signal });
    return answer;
  }

  async #failed(error, id, before) {
    const session = this.#session;
    if (error.name === "AbortError") return await session.end(id, { finish: "stopped" });
    const answer = session.messages.get(id);
    if (error.lost && !answer.text && !answer.thinking) {
      session.lines.set("offline", WAITS);
      if (before) return await session.takeBack(id, before);
    }
    await session.end(id, { finish: error.lost ? "cut" : "error", error: error.lost ? "" : error.message });
  }
}

function partOf(answer) {
  const { text, thinking, error, stats, boxes, note } = answer;
  return { text, thinking, error, stats, boxes, note };
}
