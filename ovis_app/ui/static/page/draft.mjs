// What stands in the box: a question that isn't asked yet, its files as the server looks at them, and what was being typed
// before an edit began.
// Refuses to know conversations: whoever asks takes it from here.

import { language, later } from "./i18n.mjs";
import { clipsOf, severalClips } from "./numbered.mjs";
import { whole } from "./pasted.mjs";
import * as schema from "./schema.mjs";
import { OFFLINE } from "./wire.mjs";

const SEEN = /^(?:image|video)\/|^application\/pdf$/; // what a browser knows to be looked at

export class Box {
  #files; #facts; #changed; #save;

  /** `facts` gives what the page was told, `changed` is called after every change, `save` writes the draft down. */
  constructor({ files, facts, changed, save }) {
    [this.#files, this.#facts, this.#changed, this.#save] = [files, facts, changed, save];
    this.empty();
  }

  empty() {
    this.draft = nothing();
    this.kept = null; // what was being typed before an edit began
    this.notice = ""; // what is to be said of what was just tried
    this.asked = null; // what it was asked with while files were still coming
  }

  /** Whether files are still looked at. */
  get coming() {
    return this.draft.files.some((one) => one.state !== "ready");
  }

  /** As it was kept. What it edits has to be among `messages`. */
  restore(draft, messages) {
    this.draft = { ...draft, files: draft.files.map(ready) };
    if (this.draft.editing && !messages.has(this.draft.editing)) this.draft.editing = null;
  }

  /** Why it can't be asked as it is: a sentence, or nothing to be said of it; null where it can. */
  unasked() {
    const { text, files, pasted } = this.draft;
    const most = this.#facts().most_text;
    if (!text.trim() && !files.length && !pasted.length) return "";
    return whole(this.draft).length > most ? later("That is more text than fits: at most {most} characters, please.", { most: most.toLocaleString("en") }) : null;
  }

  /** What was in it goes; what was being typed before an edit comes back. Gives what puts everything back. */
  taken() {
    const before = { draft: this.draft, kept: this.kept };
    this.leave();
    this.notice = "";
    this.asked = null;
    return before;
  }

  /** As before it was taken, with what was typed since. */
  putBack(before) {
    const typed = this.draft;
    [this.draft, this.kept] = [before.draft, before.kept];
    if (!before.kept) this.draft.pasted = [...this.draft.pasted, ...typed.pasted];
    if (typed.text && typed.text !== before.draft.text && !before.kept) this.draft.text = `${before.draft.text}\n\n${typed.text}`;
  }

  /** Another draft for a while: a message to edit, an example. */
  lay(draft) {
    if (!this.draft.editing) this.kept = this.draft;
    this.draft = { ...nothing(), ...draft, files: draft.files.map(ready) };
    this.notice = "";
    this.asked = null;
  }

  /** As before that, with what was being typed then. */
  leave() {
    this.draft = this.kept ?? nothing();
    this.kept = null;
  }

  /** What is worth keeping of it: not an edit, which the message has. */
  get lasting() {
    return this.draft.editing ? this.kept ?? this.draft : this.draft;
  }

  // --- files -------------------------------------------------------------------------------------------------------

  /** Files ({blob, name}) and what lies at addresses ({address, name}) join what stands in the box, each looked at by the
   * server; what can't be sent is said, the rest stays, and isn't asked by itself. */
  async attach(chosen) {
    if (!this.asked) this.notice = "";
    const draft = this.draft;
    for (const given of chosen) {
      const { blob, name } = given;
      if (blob && !SEEN.test(blob.type) && await this.#read(blob, name, draft)) continue;
      const kind = blob?.type.startsWith("video/") ? "video" : "image";
      const entry = { name, kind, hash: null, state: "coming", share: 0, leave: new AbortController() };
      draft.files.push(entry);
      this.#changed();
      const refused = this.#misfit(draft, entry) ?? await this.#files.take(given, entry, draft, () => this.#changed());
      const unfit = refused ?? this.#misfit(draft, entry);
      const untrained = !unfit && draft.files.length === 2 && severalClips(draft.files)
        && later("{model} learnt with one clip a question: of several it may mistake one for another.", { model: this.#facts().name });
      this.notice = [this.notice, ...(entry.notes ?? []), untrained].filter(Boolean).join(" ");
      if (unfit) {
        draft.files = draft.files.filter((one) => one !== entry);
        this.notice = [this.asked ? "" : this.notice, unfit].filter(Boolean).join(" ");
        this.asked = null;
      }
      this.#changed();
    }
    await this.#save();
  }

  /** A file of text goes along as text. Gives whether it is one, which was read or said to be unreadable. */
  async #read(blob, name, draft) {
    try {
      const { textOf } = await import("./texts.mjs").catch(() => { throw new Error(OFFLINE); });
      const text = await textOf(blob, name, { old: language() === "zh" ? "gb18030" : "windows-1252" });
      if (text === null) return false;
      draft.pasted = [...draft.pasted, text];
    } catch (error) {
      this.notice = [this.asked ? "" : this.notice, error.message].filter(Boolean).join(" ");
      this.asked = null;
    }
    this.#changed();
    return true;
  }

  /** Why a file can't go with the others; null where it can. */
  #misfit(draft, entry) {
    const { most_files: most } = this.#facts();
    const others = draft.files.filter((one) => one !== entry);
    if (!draft.files.includes(entry)) return null;
    if (others.length >= most) return later("“{name}” did not fit: that are as many files as a message takes.", { name: entry.name });
    const clips = clipsOf([entry, ...others]);
    if (!clips.length || !others.length || entry.state !== "ready") return null;
    const { name } = entry;
    if (clips.length <= others.length) return later("“{name}” can't go with the other files in one message: pictures and clips go in messages of their own.", { name });
    const { several_clips: able, name: model } = this.#facts();
    return able ? null : later("“{name}” stays behind: {model} watches one clip a question.", { name, model });
  }

  detach(entry) {
    entry.leave?.abort();
    this.draft.files = this.draft.files.filter((one) => one !== entry);
    this.#changed();
    return this.#save();
  }

  /** A long text goes along beside what is typed. */
  paste(text) {
    this.draft.pasted = [...this.draft.pasted, text];
    this.#changed();
    return this.#save();
  }

  /** It doesn't any more; `back` into the box, behind what is typed there. */
  unpaste(place, { back = false } = {}) {
    const { text, pasted } = this.draft;
    if (back) this.draft.text = [text, pasted[place]].filter((one) => one?.trim()).join("\n\n");
    this.draft.pasted = pasted.filter((_, at) => at !== place);
    this.#changed();
    return this.#save();
  }
}

function nothing() {
  return { text: "", files: [], pasted: [], editing: null };
}

function ready(file) {
  return { ...file, state: "ready" };
}

/** A draft as it is kept. */
export function stored(draft) {
  return { text: draft.text, files: draft.files.filter((one) => one.hash).map(schema.file), pasted: draft.pasted, editing: draft.editing };
}
