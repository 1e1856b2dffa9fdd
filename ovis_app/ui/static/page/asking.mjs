// A question on its way: sent with its files, heard as it is answered, stopped, taken back where nobody heard it; and an
// answer that was cut, going on.
// Knows frames and requests; what is kept and shown of them it leaves to the session.

import { together } from "./figures.mjs";
import { fresh, heard } from "./frames.mjs";
import { later } from "./i18n.mjs";
import { filesOf, requestOf } from "./request.mjs";
import * as trees from "./tree.mjs";

export const WRITE_MS = 300; // between two writes of an answer that grows
export const WAITS = later("There is no connection to the server just now: the question waits here until there is.");
const WAITS_FOR_OTHER = later("Waiting for the other answer");
export const LACKING = later("The files of this conversation can't be sent to the server just now: try again in a moment.");
export const TRIES = 3; // of sending files that the server says it lacks
const GOES_ON = ["cut", "stopped", "length", "error"];

const seed = () => crypto.getRandomValues(new Uint32Array(1))[0];

/** Whether an answer ended before its end, so that it can go on. */
export function unfinished(message) {
  if (message.role !== "assistant" || message.edited || message.lost) return false;
  return GOES_ON.includes(message.finish) && Boolean(message.text || message.thinking);
}

export class Asking {
  #session; #wire; #files;

  constructor(session, { wire, files }) {
    [this.#session, this.#wire, this.#files] = [session, wire, files];
    this.running = null; // {id, controller, over}
  }

  /** An answer to `question`, which stands in the tree or is said with it, behind `before.added`; `before` puts the box
   * back. For each of `others` there is one, one after another, so that none takes time from another: `settings` stand in
   * for those of the panel, `model` names who answers in place of the model that answers all. Two are shown side by side,
   * or one and the version `beside` it, which stays. */
  async answer(question, { before = null, others = [{}], beside = null } = {}) {
    const session = this.#session;
    const answers = others.map((other, place) => this.#made(question, other, place));
    const said = before ? [...before.added, question, ...answers] : answers;
    const ids = answers.map((one) => one.id);
    const shown = beside ? [beside, ...ids] : ids;
    if (shown.length > 1) session.pair.show(shown);
    session.say(said, shown[0]);
    const written = session.write(said);
    await this.#run(ids, before, async (id, signal) => {
      await written;
      signal.throwIfAborted();
      session.grow(id, { finish: null, note: "" }); // which other tabs may have taken for cut, while it waited
      await this.#hear(question.id, id, signal);
    });
  }

  #made(question, { settings = {}, model = null }, place) {
    const session = this.#session;
    const chosen = { ...session.settings, ...question.wants, ...settings };
    const asked = chosen.temperature > 0 ? { ...chosen, seed: seed() } : chosen; // so that what chance drew can be drawn again
    const made = session.made("assistant", question.id, { by: session.mine, asked, model: model ?? session.facts.name });
    return place ? { ...made, created: made.created + place, note: WAITS_FOR_OTHER } : made;
  }

  /** More of an answer that was cut, as it had been asked for; only how long it may be is as it is set now. */
  async goOn(answer) {
    const session = this.#session;
    session.grow(answer.id, { finish: null, error: "", by: session.mine });
    await this.#run([answer.id], null, async (id, signal) => {
      await session.write([session.messages.get(id)]);
      await this.#hear(id, id, signal);
    }, answer);
  }

  /** Ends the answer that is under way; what was said stays. */
  async stop() {
    const running = this.running;
    if (!running) return;
    running.controller.abort();
    await running.over;
  }

  /** `work` for each of these answers, of which the first takes the question back where nobody heard it. */
  async #run(ids, before, work, begun = null) {
    const controller = new AbortController();
    let ended;
    const over = new Promise((resolve) => { ended = resolve; });
    try {
      for (const [place, id] of ids.entries()) {
        if (!this.#session.messages.has(id)) continue; // taken back, with its question
        this.running = { id, controller, begun, over };
        this.#session.changed();
        await work(id, controller.signal).catch((error) => this.#failed(error, id, place ? null : before));
      }
    } finally {
      this.running = null;
      ended();
      this.#session.changed();
    }
  }

  /** Sends the path to the message `end` and lets the answer `id` grow. Files that the server lacks are sent again, from
   * this browser's copy. */
  async #hear(end, id, signal) {
    const session = this.#session;
    const { max_new_tokens } = session.settings;
    const { asked, model } = session.messages.get(id);
    const other = session.others.find((one) => one.name === model); // who answers it alone
    const settings = { ...session.settings, ...asked, ...(end === id ? { max_new_tokens } : {}) };
    for (let tries = 1; ; tries++) {
      const path = trees.path(session.tree, end);
      const places = await this.#files.placed(filesOf(path), { signal, note: (note) => session.grow(id, { note }) });
      const address = (file) => this.#wire.address(places.get(file.hash));
      const request = requestOf(path, settings, other?.model ?? session.facts.model, address, { asked, model: other?.key });
      const answer = await this.#listen(request, id, signal);
      if (answer.missing === null) {
        if (answer.finish === null) session.connection.lost(); // it ended without a last word: who said so is gone
        return await session.end(id, { ...this.#partOf(answer), finish: answer.finish ?? "cut" });
      }
      const lacking = answer.missing.map((number) => filesOf(path)[number]).filter(Boolean);
      this.#files.forget(lacking.map((one) => one.hash));
      if (tries === TRIES) throw new Error(LACKING);
    }
  }

  /** All frames of one request, each shown as it comes and written down now and then. */
  async #listen(request, id, signal) {
    const session = this.#session;
    let answer = fresh(this.running.begun ?? undefined);
    let written = session.now();
    await this.#wire.ask({ session: session.facts.session, request, answer: id }, (frame) => {
      answer = heard(answer, frame);
      session.connection.found();
      if (answer.version && answer.version !== session.facts.version) session.connection.updated();
      session.grow(id, this.#partOf(answer));
      if (session.now() - written < WRITE_MS) return;
      written = session.now();
      session.write([session.messages.get(id)]);
    }, { signal });
    return answer;
  }

  #partOf({ text, thinking, error, stats, note }) {
    const { begun } = this.running;
    return { text, thinking, error, stats: begun ? together(begun.stats, stats) : stats, note };
  }

  async #failed(error, id, before) {
    const session = this.#session;
    if (error.name === "AbortError") return await session.end(id, { finish: "stopped" });
    const { begun } = this.running;
    const answer = session.messages.get(id);
    const silent = answer.text === (begun?.text ?? "") && answer.thinking === (begun?.thinking ?? "");
    if (error.lost && silent) {
      session.connection.lost(before ? WAITS : undefined);
      if (before) return await session.takeBack(id, before);
      if (begun) return await session.end(id, { finish: begun.finish, stats: begun.stats });
    } else if (error.lost) session.connection.lost();
    const finish = error.lost ? "cut" : "error";
    await session.end(id, { finish, error: error.lost ? "" : error.message });
  }
}
