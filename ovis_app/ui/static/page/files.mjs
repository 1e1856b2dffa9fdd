// Files on their way: from whoever chose them into the store, and from there to the server as often as it needs them.
// Knows the store and the wire; refuses to know questions.

import { digest } from "./digest.mjs";
import { later } from "./i18n.mjs";
import { sizeOf } from "./schema.mjs";

export class Files {
  #store; #wire; #session;
  #places = new Map(); // SHA-256 -> where the upload of this session lies
  #sizes = new Map(); // SHA-256 -> how large it is, where no record says
  #addresses = new Map(); // SHA-256 -> an address of this tab, for a picture to be seen

  /** `session` gives the name of this tab's session. */
  constructor({ store, wire, session }) {
    [this.#store, this.#wire, this.#session] = [store, wire, session];
    this.lost = () => {}; // called where the server couldn't be reached
  }

  digest(blob) {
    return digest(blob);
  }

  /** Takes a file that somebody chose, or what lies at an address: `entry`, one of the draft's files, becomes what it is; a
   * document becomes several. Without a connection a file is taken as it is, and looked at once it is sent. Gives a sentence
   * where it can't be sent. */
  async take(given, entry, draft, changed) {
    try {
      const { blob, place } = await this.#sent(given, entry, changed);
      const hash = await digest(blob);
      const said = await this.#wire.bring(this.#session(), place);
      if (typeof said.refused === "string" && said.refused) return said.refused;
      const found = await Promise.all((said.files ?? []).map((one) => this.#found(one, place, hash, blob)));
      if (found.some((one) => one.source)) await this.#keep({ hash, blob }, place, found, entry.name);
      const [first, ...rest] = found;
      const at = draft.files.indexOf(entry); // nowhere, where it was removed meanwhile
      if (at >= 0) draft.files.splice(at + 1, 0, ...rest);
      Object.assign(entry, first, { notes: said.notes ?? [] });
    } catch (error) {
      if (error.name === "AbortError") return null; // it was taken out of the box meanwhile
      if (error.lost) this.lost();
      if (!error.lost || !given.blob) return error.message;
      await this.#store.putFile({ hash: entry.hash = await digest(given.blob), blob: given.blob });
      entry.state = "ready";
    }
    return null;
  }

  /** A file's bytes, and where its upload lies. */
  async #sent({ blob, address }, entry, changed) {
    if (!blob) return await this.#wire.fetched(this.#session(), address, { signal: entry.leave.signal });
    const progress = (share) => { entry.share = share; changed(); };
    return { blob, place: await this.#wire.upload(blob, entry.name, { progress }) };
  }

  async #found(said, place, hash, blob) {
    const own = said.path === place;
    const content = own ? blob : await this.#wire.shown(said.path);
    const found = { hash: own ? hash : await digest(content), name: said.name, kind: said.kind, moves: said.moves === true, state: "ready" };
    if (Number.isInteger(said.page)) found.source = { hash, page: said.page };
    if (sizeOf(said.size)) found.size = said.size;
    await this.#store.putFile({ hash: found.hash, blob: content });
    this.#places.set(found.hash, said.path);
    return found;
  }

  /** A document, from which other pages may be chosen later. */
  async #keep(file, place, pages, name) {
    await this.#store.putFile(file);
    this.#places.set(file.hash, place);
    for (const one of pages) one.source.name = name;
  }

  /** Other pages of a document, as files of a question, and what is to be said of them; or `refused`, a sentence. */
  async pages(source, choice) {
    const said = await this.#ask(source, (place) => this.#wire.bring(this.#session(), place, choice));
    if (said.refused) return said;
    const dpi = choice.dpi ? { dpi: choice.dpi } : {};
    const files = await Promise.all(said.files.map((one) => this.#found(one, null, source.hash, null)));
    for (const one of files) Object.assign(one.source, { name: source.name, ...dpi });
    return { files, notes: said.notes ?? [] };
  }

  /** What there is in a file, to choose among; or `refused`, a sentence. */
  look(what, file, asked) {
    return this.#ask(file, (place) => this.#wire.look(what, this.#session(), place, asked));
  }

  /** Asks about a file; once more where the server doesn't have it any more. */
  async #ask(file, work) {
    const before = this.#places.has(file.hash);
    const placed = async () => (await this.placed([file], { note: () => {} })).get(file.hash);
    const said = await work(await placed());
    if (!said.refused || !before) return said;
    this.forget([file.hash]);
    return await work(await placed());
  }

  /** How large a file is, as the server says; null where it doesn't. */
  async size(file) {
    if (sizeOf(file.size)) return file.size;
    if (!this.#sizes.has(file.hash)) {
      const places = await this.placed([file], { note: () => {} });
      const said = await this.#wire.bring(this.#session(), places.get(file.hash));
      this.#sizes.set(file.hash, sizeOf(said.files?.[0]?.size));
    }
    return this.#sizes.get(file.hash);
  }

  /** Where each of these files lies on the server, sent now where it doesn't. Raises where this browser has lost one. */
  async placed(files, { signal, note }) {
    const lacking = new Map(files.filter((one) => !this.#places.has(one.hash)).map((one) => [one.hash, one]));
    let number = 0;
    for (const [hash, file] of lacking) {
      number += 1;
      note(lacking.size > 1 ? later("Sending file {number} of {count}", { number, count: lacking.size }) : later("Sending {name}", { name: file.name }));
      const kept = await this.#store.file(hash);
      if (!kept) throw new Error(later("“{name}” is no longer in this browser: edit the question that has it, and attach it again.", { name: file.name }));
      this.#places.set(hash, await this.#wire.upload(kept.blob, file.name, { signal }));
    }
    return this.#places;
  }

  /** The server doesn't have these any more. */
  forget(hashes) {
    for (const hash of hashes) this.#places.delete(hash);
  }

  /** An address at which this tab sees a file; empty where it is gone. */
  async seen(hash) {
    if (!this.#addresses.has(hash)) {
      this.#addresses.set(hash, this.#store.file(hash).then((kept) => (kept ? URL.createObjectURL(kept.shown ?? kept.blob) : "")));
    }
    return await this.#addresses.get(hash);
  }

  /** Pictures are seen at their addresses no longer, but for these: other ones are made where they are wanted again. */
  unseen(hashes) {
    for (const [hash, address] of this.#addresses) if (!hashes.has(hash)) this.#forgetAddress(hash, address);
  }

  #forgetAddress(hash, address) {
    this.#addresses.delete(hash);
    address.then((one) => { if (one) URL.revokeObjectURL(one); }, () => {});
  }

  /** The same where this browser can't draw the file itself: by the copy that the server makes, kept from then on. */
  async copied(file) {
    const kept = await this.#store.file(file.hash);
    if (!kept || kept.shown) return "";
    const places = await this.placed([file], { note: () => {} });
    const shown = await this.#wire.shown(places.get(file.hash));
    await this.#store.putFile({ ...kept, shown });
    if (this.#addresses.has(file.hash)) this.#forgetAddress(file.hash, this.#addresses.get(file.hash));
    return await this.seen(file.hash);
  }
}
