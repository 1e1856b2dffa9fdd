// Weighs what stands in the box, after a pause, one question at a time: the server reckons, files are told by their sizes.
// Knows the session and the wire; refuses to know how a weight is shown.

import { requestOf } from "./request.mjs";
import { wordsOf } from "./sampling.mjs";
import * as trees from "./tree.mjs";

const PAUSE_MS = 500; // after the last change
const QUIET_MS = 5000; // before a server that couldn't tell is asked again; twice as long each time
const TRIES = 6; // of asking one that can't tell, such as one whose model still loads

export class Weighing {
  #session; #changed; #pause; #patience; #wanted = null; #timer; #busy = false; #quiet = 0; #tries = 0;

  /** `changed` is called when there is something else to show. */
  constructor(session, { changed, pause = PAUSE_MS, quiet = QUIET_MS }) {
    [this.#session, this.#changed, this.#pause, this.#patience] = [session, changed, pause, quiet];
    this.weight = null;
    this.refused = ""; // why it couldn't be asked
    this.told = 0; // how often something was said
    this.stale = false; // whether something else stands in the box than what was weighed
  }

  /** Something may have changed. */
  look() {
    const now = this.#now();
    if (now === null) return this.#forget();
    if (this.#wanted?.every((one, place) => one === now[place])) return;
    this.#wanted = now;
    this.stale = true;
    this.#later(this.#pause);
  }

  /** What a weight depends on; null while there is nothing to weigh, or it isn't time. */
  #now() {
    const { draft, running, facts, settings, conversation, tree } = this.#session;
    const coming = draft.files.some((one) => one.state !== "ready" || !one.hash);
    if (!facts || running || coming || !(draft.text.trim() || draft.files.length || draft.pasted.length)) return null;
    const files = draft.files.map((one) => `${one.hash} ${wordsOf(one.detail)}`).join();
    return [draft.text, draft.pasted, files, draft.editing, settings, conversation.leaf, tree, facts.name, facts.session];
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#wanted = null;
    this.#tries = 0;
    [this.weight, this.refused, this.stale] = [null, "", false];
  }

  #later(pause) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#weigh(), Math.max(pause, this.#quiet - Date.now()));
  }

  async #weigh() {
    if (this.#busy || this.#wanted === null) return;
    this.#busy = true;
    const wanted = this.#wanted;
    const said = await this.#asked().catch(() => ({}));
    this.#busy = false;
    if (wanted !== this.#wanted) return this.#wanted === null || this.#later(0);
    const known = Number.isFinite(said.prompt) && Number.isFinite(said.room) && Array.isArray(said.files);
    this.#tries = known || said.refused ? 0 : this.#tries + 1;
    if (this.#tries) {
      this.#quiet = Date.now() + this.#patience * 2 ** (this.#tries - 1);
      if (this.#tries < TRIES) this.#later(0);
    }
    [this.weight, this.refused, this.stale] = [known ? said : null, typeof said.refused === "string" ? said.refused : "", false];
    this.told += 1;
    this.#changed();
  }

  async #asked() {
    const { facts, settings, files, wire } = this.#session;
    const path = pathOf(this.#session);
    const sizes = new Map();
    for (const file of path.flatMap((one) => one.files)) sizes.set(file.hash, sizes.get(file.hash) ?? await files.size(file));
    if ([...sizes.values()].includes(null)) return {};
    const request = requestOf(path, settings, facts.model, (file) => `size:${sizes.get(file.hash).join("x")}`);
    return await wire.weigh({ session: facts.session, request });
  }
}

/** The path that would be asked. */
export function pathOf(session) {
  const { added, question } = session.wanted();
  return [...(added.length ? added : trees.path(session.tree, question.parent)), question];
}
