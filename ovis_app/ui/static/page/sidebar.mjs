// The list's place at the side: open or closed, remembered; keys; exported conversations that are dropped on the page.
// Small, since it comes with the page: what the list is made of loads when it is first opened.

import { make } from "./elements.mjs";
import { t } from "./i18n.mjs";

const OPEN = "ovis-sidebar";
const narrow = matchMedia("(max-width: 900px)"); // there the list lies over the page
const isExport = (file) => /\.zip$/i.test(file.name);

export class Sidebar {
  #session; #focus; #peers; #root; #scrim; #list = null; #kept = false;

  /** `focus` goes to the box. */
  constructor(element, { session, peers, focus }) {
    [this.#session, this.#peers, this.#focus] = [session, peers, focus];
    this.#root = make("nav", { id: "library-list", "aria-label": t("Conversations") });
    this.#scrim = make("div.library-scrim", { onclick: () => this.open(false) });
    element.append(this.#scrim, this.#root);
    document.querySelector("#library")?.setAttribute("aria-expanded", "false");
    document.addEventListener("click", (event) => { if (event.target.closest?.("#library")) this.open(!this.isOpen); });
    document.addEventListener("keydown", (event) => this.#key(event), { capture: true });
    window.addEventListener("drop", (event) => this.#dropped(event), { capture: true });
    if (remembered() && !narrow.matches) this.open(true, { focuses: false });
  }

  get isOpen() {
    return document.body.classList.contains("library-open");
  }

  async open(wanted, { focuses = true, search = false } = {}) {
    document.body.classList.toggle("library-open", wanted);
    document.querySelector("#library")?.setAttribute("aria-expanded", String(wanted));
    if (!narrow.matches) remember(wanted);
    if (!wanted) {
      if (this.#root.contains(document.activeElement)) document.querySelector("#library")?.focus();
      return;
    }
    const list = await this.#loaded();
    await list.draw();
    if (focuses && this.isOpen) list.focus({ search });
  }

  /** Draws it in the language that is spoken now. */
  renew() {
    this.#root.setAttribute("aria-label", t("Conversations"));
    this.#root.replaceChildren();
    this.#list = null;
    if (this.isOpen) this.open(true, { focuses: false });
  }

  /** Something changed in what this tab shows. */
  changed() {
    this.#list?.then((list) => list.changed());
    if (!this.#kept) this.#keep();
  }

  /** Once there is something to lose, browsers are asked not to make room of it. */
  #keep() {
    const { running, path, store } = this.#session;
    if (running || path.at(-1)?.finish !== "end" || !store.kept || store.temporary !== null) return;
    this.#kept = true;
    navigator.storage?.persist?.().catch(() => {});
  }

  #loaded() {
    this.#list ??= import("./conversation_list.mjs").then(({ ConversationList }) => new ConversationList(this.#root, {
      session: this.#session, peers: this.#peers, away: (how) => this.#away(how),
    }));
    this.#list.catch(() => { this.#list = null; });
    return this.#list;
  }

  /** Something was chosen: a list that lies over the page goes. */
  #away({ always = false, composer = false }) {
    if (always || narrow.matches) this.open(false);
    if (composer && !narrow.matches) this.#focus();
  }

  #key(event) {
    const searches = (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey && event.key?.toLowerCase() === "k";
    const closes = event.key === "Escape" && this.isOpen;
    if (!(searches || closes) || event.isComposing || event.keyCode === 229 || document.querySelector("dialog[open]")) return;
    if (searches) {
      event.preventDefault();
      this.open(true, { search: true });
    } else if (this.#mayClose(event.target)) {
      event.stopPropagation(); // else it would stop an answer too
      this.open(false);
    }
  }

  /** Escape closes the list from within it, or where it lies over the page; what lies over the list goes first. */
  #mayClose(target) {
    if (target.closest?.(".ovis-menu, .library-rename")) return false;
    return narrow.matches || this.#root.contains(target);
  }

  /** Exported conversations become conversations; what else is dropped goes where it always goes. */
  async #dropped(event) {
    const files = [...(event.dataTransfer?.files ?? [])];
    const exported = files.filter(isExport);
    if (!exported.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    document.body.classList.remove("dragging");
    const others = files.filter((one) => !isExport(one));
    if (others.length) this.#session.attach(others.map((blob) => ({ blob, name: blob.name })));
    const { importFiles } = await import("./transfer.mjs");
    await importFiles(this.#session, exported);
  }
}

function remembered() {
  try { return localStorage.getItem(OPEN) === "open"; } catch { return false; }
}

function remember(open) {
  try { localStorage.setItem(OPEN, open ? "open" : "closed"); } catch { /* private windows forget */ }
}
