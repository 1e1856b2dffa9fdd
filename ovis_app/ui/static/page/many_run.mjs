// Many questions on their way: one after another, as the page asks a question, so that nobody else waits for more than one
// of them; each written down once it is answered, so that a reload goes on where it was.
// Knows rows, requests and frames; what is kept is many_store.mjs's, and how it looks many_dialog.mjs's.

import { LACKING, TRIES } from "./asking.mjs";
import { fresh, heard } from "./frames.mjs";
import { later } from "./i18n.mjs";
import { anew, begun, filesOf, pathOf } from "./many.mjs";
import { detailOf, requestOf } from "./request.mjs";
import { WireError, OFFLINE } from "./wire.mjs";

const FIRST_MS = 1000; // until the server is asked again that couldn't be reached, then twice as long each time
const LONGEST_MS = 30_000;
export const ELSEWHERE = later("Another tab of this browser asks these questions just now.");
const GONE = later("“{name}” is no longer in this browser: begin anew with it.");

export class Batch {
  #store; #wire; #session; #changed; #now; #sleep; #alone;
  #found = new Map(); // a file, and which of its pages -> what the server has of it
  #controller = null; #pausing = false; #over = Promise.resolve();

  /** `session` is the page's; `changed` is called with a row, or without where all may have. `alone` does work that one tab
   * of a browser does at a time, and resolves to false where another does. */
  constructor({ store, wire, session, changed = () => {}, now = Date.now, sleep = wait, alone = locked }) {
    [this.#store, this.#wire, this.#session, this.#changed] = [store, wire, session, changed];
    [this.#now, this.#sleep, this.#alone] = [now, sleep, alone];
    this.batch = null;
    this.rows = [];
    this.notice = "";
  }

  get running() { return this.#controller !== null; }
  get pausing() { return this.#pausing; }
  get kept() { return this.#store.kept; }
  get #facts() { return this.#session.facts; }

  /** What this browser keeps of a batch. Resolves to whether there is one. */
  async load() {
    const found = await this.#store.load();
    if (!found) return false;
    this.batch = found.batch;
    this.rows = found.rows.map((one) => (one.status === "asked" ? anew(one) : one));
    return true;
  }

  /** Takes rows as the server read them, with the files that they name (`[{name, hash, blob}]`). */
  async begin(read, files, { schema = "", wanted = "", title = "", ignored = [], leftOut = [] }) {
    const rows = read.map(begun);
    const named = new Set(rows.flatMap(filesOf));
    const used = files.filter((one) => named.has(one.name));
    const batch = { title, schema, wanted, ignored, leftOut, going: true, settings: this.#session.settings, model: this.#facts.name, files: used.map(({ name, hash }) => ({ name, hash })) };
    await this.#store.begin(batch, rows, used.map(({ hash, blob }) => ({ hash, blob })));
    [this.batch, this.rows, this.notice] = [batch, rows, ""];
    this.#changed();
  }

  /** Nothing of it stays, here or in the browser. */
  async discard() {
    await this.stop();
    await this.#store.clear();
    [this.batch, this.rows, this.notice] = [null, [], ""];
    this.#changed();
  }

  /** Asks what is left, until nothing is, or somebody says so. */
  go() {
    if (!this.running && this.batch) this.#over = this.#run();
    return this.#over;
  }

  async #run() {
    this.#controller = new AbortController();
    [this.#pausing, this.notice] = [false, ""];
    const work = async () => {
      await this.#mark(true);
      await this.#all(this.#controller.signal);
    };
    try {
      if (await this.#alone(work) === false) this.notice = ELSEWHERE;
    } finally {
      this.#controller = null;
      this.#pausing = false;
      this.#changed();
    }
  }

  /** Ends once the question is answered that is asked now. */
  async pause() {
    this.#pausing = this.running;
    await this.#mark(false);
    this.#changed();
  }

  /** Ends at once; what is being answered is asked again when it goes on. */
  async stop() {
    this.#controller?.abort();
    await this.#over;
    await this.#mark(false);
    this.#changed();
  }

  /** Asks rows again, or all that failed. */
  async again(rows = this.rows.filter((one) => one.status === "failed" && one.turns.length)) {
    for (const one of rows) await this.#put(anew(one));
    await this.go();
  }

  async #mark(going) {
    if (!this.batch || this.batch.going === going) return;
    this.batch = { ...this.batch, going };
    await this.#store.putBatch(this.batch);
  }

  async #put(row) {
    this.rows[row.place] = row;
    if (row.status !== "asked") await this.#store.putRow(row);
    this.#changed(row);
  }

  async #all(signal) {
    let pause = FIRST_MS;
    for (let row = this.#next(); row && !signal.aborted && !this.#pausing; row = this.#next()) {
      const began = this.#now();
      await this.#put({ ...row, status: "asked" });
      try {
        const answer = await this.#answer(row, signal);
        const ended = this.#now();
        await this.#put({ ...row, ...answer, status: answer.error ? "failed" : "answered", seconds: (ended - began) / 1000, ended });
        pause = FIRST_MS;
      } catch (error) {
        if (error.name !== "AbortError" && !error.lost) await this.#put({ ...row, status: "failed", error: error.message, finish: "error" });
        else await this.#put(row);
        if (!error.lost || signal.aborted) continue;
        this.#session.connection.lost();
        await this.#sleep(pause, signal);
        pause = Math.min(2 * pause, LONGEST_MS);
      }
    }
    if (!this.#next()) await this.#mark(false);
  }

  #next() {
    return this.rows.find((one) => one.status === "waiting");
  }

  /** What a row is answered; by a schema what its answer says, or in another shape an error, once it was asked twice. */
  async #answer(row, signal) {
    const first = await this.#asked(row, [], signal);
    const { schema } = this.batch;
    if (!schema || first.error) return first;
    const checked = await this.#wire.look("fits", this.#facts.session, null, { schema, answer: first.text });
    if (checked.data !== undefined) return { ...first, data: JSON.parse(checked.data) };
    if (checked.refused) return { ...first, error: checked.refused, finish: "error" };
    const second = await this.#asked(row, [message("assistant", first.text), message("user", checked.again)], signal);
    if (second.error) return second;
    const fits = await this.#wire.look("fits", this.#facts.session, null, { schema, answer: second.text });
    if (fits.data !== undefined) return { ...second, data: JSON.parse(fits.data) };
    return { ...second, error: fits.unfit ?? fits.refused, finish: "error" };
  }

  /** One question, with what was said behind it. What the server doesn't have any more is sent again. */
  async #asked(row, behind, signal) {
    for (let tries = 1; ; tries += 1) {
      const found = new Map();
      for (const name of filesOf(row)) found.set(name, await this.#sent(name, row.pages, signal));
      const { model } = this.#facts;
      const settings = { ...this.batch.settings, ...(row.system ? { system: row.system } : {}) };
      const { messages, places } = pathOf(row, found, { wanted: this.batch.wanted, detail: detailOf(settings, model) });
      const request = requestOf([...messages, ...behind], settings, model, (file) => this.#wire.address(file.path));
      const answer = await this.#hear({ ...request, ovis: { ...request.ovis, ...(places.length ? { places } : {}) } }, signal);
      if (answer.missing === null) {
        const { text, thinking, error, finish, stats } = answer;
        return { text, thinking, error, finish, stats };
      }
      for (const name of filesOf(row)) this.#found.delete(this.#key(name, row.pages));
      if (tries === TRIES) throw new Error(LACKING);
    }
  }

  async #hear(request, signal) {
    let answer = fresh();
    await this.#wire.ask({ session: this.#facts.session, request, answer: "" }, (frame) => {
      answer = heard(answer, frame);
      this.#session.connection.found();
    }, { signal });
    if (answer.missing === null && answer.finish === null) throw new WireError(OFFLINE, { lost: true });
    return answer;
  }

  #key(name, pages) {
    return `${this.#facts.session} ${name} ${pages ?? ""}`;
  }

  /** What the server has of a file: a picture, a clip, or the pages of a document. Raises where it can't be asked about. */
  async #sent(name, pages, signal) {
    const key = this.#key(name, pages);
    if (!this.#found.has(key)) {
      const kept = this.batch.files.find((one) => one.name === name);
      const blob = kept ? await this.#store.file(kept.hash) : null;
      if (!blob) throw new Error(later(GONE, { name }));
      const { session } = this.#facts;
      const place = await this.#wire.upload(blob, name.split("/").at(-1), { signal });
      const said = await this.#wire.bring(session, place, { whole: true, ...(pages ? { pages } : {}) });
      if (said.refused) throw new Error(said.refused);
      this.#found.set(key, said.files.map((one) => ({ hash: one.path, ...one })));
    }
    return this.#found.get(key);
  }
}

function message(role, text) {
  return { role, text, files: [], pasted: [], wants: {} };
}

function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const id = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(id); resolve(); }, { once: true });
  });
}

/** Work that one tab of this browser does at a time, where browsers can tell. */
function locked(work) {
  if (!globalThis.navigator?.locks) return work();
  return navigator.locks.request("ovis-many", { ifAvailable: true }, (lock) => (lock ? work() : false));
}
