// The page's start: store, session and view are put together, and told of what Gradio's parts say.
// Knows `window.ovis` (page.js), through which both talk; refuses to know what a conversation is.

import { actsOf, keysOf } from "./acts.mjs";
import { Announcer } from "./announce.mjs";
import { Composer } from "./composer.mjs";
import { Drawer } from "./drawer.mjs";
import { make, plain } from "./elements.mjs";
import { Files } from "./files.mjs";
import { language, said, t } from "./i18n.mjs";
import { begin } from "./language.mjs";
import { Session } from "./session.mjs";
import * as shortcuts from "./shortcuts.mjs";
import { shots } from "./shots.mjs";
import { Sidebar } from "./sidebar.mjs";
import { open } from "./store.mjs";
import { Switches } from "./switches.mjs";
import { Turns } from "./turns.mjs";
import * as wire from "./wire.mjs";

const AT_ONCE = 200; // turns of a long conversation that are drawn before somebody asks for more
const STEP = 40; // of them that a task lays out
const EARLIER = 5; // conversations that the empty page offers

/** Starts the page in `element`. */
export async function start(element) {
  let [view, sidebar] = [null, null];
  const others = peers();
  const lines = new Map();
  const store = await open((sentence, { over = false } = {}) => {
    if (over) lines.delete(sentence);
    else lines.set(sentence, sentence);
    view?.changed();
  });
  const session = new Session({
    store, wire, lines, tab: tabStorage(), peers: others,
    files: new Files({ store, wire, session: () => session.facts.session }),
    changed: (id) => { view?.changed(id); sidebar?.changed(); },
  });
  await begin(() => { view?.renew(); sidebar?.renew(); });
  session.follow(await window.ovis.first("facts"));
  await session.start();
  view = new View(parts(element), session);
  sidebar = new Sidebar(element, { session, peers: others, focus: () => view.focus() });
  view.draw();
  listen(session, view);
  if (matchMedia("(pointer: fine)").matches) view.focus(); // on a phone it would raise the keyboard
  setTimeout(() => store.tidy(), 10_000);
  if (manyGoOn()) (await import("./many_dialog.mjs")).goOn(session);
}

/** What comes from elsewhere: Gradio's parts, keys, the browser. */
function listen(session, view) {
  window.ovis.on("opened", () => models(session));
  models(session); // which may be open by now
  window.ovis.on("facts", (facts) => { session.follow(facts); view.draw(); });
  // A long name is cut short there.
  document.getElementById("model")?.addEventListener("pointerenter", ({ currentTarget }) => { currentTarget.title = currentTarget.textContent.trim(); });
  window.ovis.on("new", async () => { await session.newChat(); view.focus(); });
  window.ovis.on("escape", () => session.stop());
  window.addEventListener("pagehide", () => session.put_aside());
  window.addEventListener("offline", () => session.connection.lost());
  window.addEventListener("online", () => session.connection.look());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) session.connection.look(); });
  window.addEventListener("unhandledrejection", ({ reason }) => { if (reason instanceof TypeError) session.connection.missed(); }); // a module that didn't come
}

/** The panel of models, where it is open. */
async function models(session) {
  if (!document.body.classList.contains("models-open")) return;
  const panel = await import("./models.mjs").catch(() => null);
  if (panel) return panel.opened(session);
  window.ovis.toggle("models", false);
  session.tell(wire.OFFLINE);
}

function parts(element) {
  const page = {
    lines: make("div", { id: "lines", role: "status" }),
    welcome: make("div.welcome", { hidden: true }),
    before: make("button.quiet.before", { type: "button", hidden: true }),
    turns: make("div.turns", { role: "log", "aria-live": "off" }),
    newest: make("button.newest.quiet", { type: "button", hidden: true }),
    composer: make("div", { id: "composer-box" }),
    actions: make("div", { id: "actions" }),
    frame: element.closest(".gradio-container"),
  };
  page.scroll = make("div.scroll", { tabIndex: 0, role: "region" }, page.welcome, page.before, page.turns);
  name(page);
  element.replaceChildren(page.lines, make("div", { id: "conversation" }, page.scroll, page.newest), page.composer, page.actions);
  return page;
}

function name({ turns, scroll, newest, before }) {
  for (const one of [turns, scroll]) one.setAttribute("aria-label", t("Conversation"));
  newest.textContent = t("To the newest");
  before.textContent = t("Show earlier turns");
}

class View {
  #page; #session; #composer; #switches; #drawer; #turns; #announcer; #shots = make("div.shots"); #stuck = true; #at = 0; #waiting = false; #path = 0; #asked = false; #pair = false; #most = AT_ONCE; #wanted = 0; #shown = "";

  constructor(page, session) {
    [this.#page, this.#session] = [page, session];
    const focus = () => this.focus();
    const acts = actsOf(session, { focus, row: (id) => this.#turns.row(id), changed: () => this.changed() });
    const box = () => page.composer.querySelector("textarea");
    this.#composer = new Composer(page.composer, session, acts);
    this.#switches = new Switches(page.actions, session);
    this.#drawer = new Drawer(page.frame, session);
    this.#turns = new Turns(page.turns, { acts, files: session.files });
    shortcuts.listen(box(), keysOf(session, acts, { focus, box: box() }));
    this.#announcer = new Announcer(page.composer.parentElement);
    this.#scrolling();
  }

  focus() {
    this.#composer.focus();
  }

  /** Draws soon, once however often it is asked to. */
  changed() {
    if (this.#waiting) return;
    this.#waiting = true;
    const draw = () => { this.#waiting = false; this.draw(); };
    if (document.hidden) setTimeout(draw, 250);
    else requestAnimationFrame(draw);
  }

  /** Draws all of it in the language that is spoken now. */
  renew() {
    const { scrollTop } = this.#page.scroll;
    name(this.#page);
    this.#turns.renew();
    this.#composer.renew();
    this.#drawer.renew();
    this.#announcer.renew();
    this.draw();
    if (!this.#stuck) this.#page.scroll.scrollTop = scrollTop;
  }

  draw() {
    const { path, tree, running, lines, connection, conversation } = this.#session;
    if (this.#shown !== conversation.id) [this.#shown, this.#stuck, this.#most, this.#wanted] = [conversation.id, true, AT_ONCE, 0];
    fill(this.#page.lines, [...lines.values()].map(said));
    pill(connection.down);
    const pair = this.#session.beside;
    if ((running && !this.#asked) || (pair && !this.#pair)) this.#stuck = true; // what was asked comes into view
    [this.#asked, this.#pair] = [running !== null, pair !== null];
    this.#path = path.length;
    const from = Math.max(0, path.length - this.#most);
    this.#page.before.hidden = from === 0;
    this.#turns.draw(path, tree, running?.id ?? null, { from, pair });
    this.#announcer.hear(pair ? [...path, ...pair] : path, running?.id ?? null);
    this.#composer.draw();
    this.#switches.draw();
    this.#drawer.draw();
    this.#welcome(path.length === 0);
    this.#stick();
  }

  #stick() {
    const { scroll, newest } = this.#page;
    if (this.#stuck) {
      scroll.scrollTop = this.#path ? scroll.scrollHeight : 0; // an empty page begins at its beginning
      this.#at = scroll.scrollTop;
    }
    newest.hidden = this.#stuck;
  }

  /** Stuck to the end only while at the end: a wheel, a finger or a key upward frees it at once. Only a move downward
   * sticks it again: the news of the page's own last scroll may come after the wheel and before what the wheel does. */
  #scrolling() {
    const { scroll, newest } = this.#page;
    const free = () => { if (scroll.scrollHeight > scroll.clientHeight) { this.#stuck = false; newest.hidden = false; } };
    const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 24;
    let [finger, from, dragged] = [0, 0, false]; // where a touch began; where the scroll bar was taken
    scroll.addEventListener("wheel", (event) => { if (event.deltaY < 0) free(); }, { passive: true });
    scroll.addEventListener("touchstart", (event) => { finger = event.touches[0].clientY; }, { passive: true });
    scroll.addEventListener("touchmove", (event) => { if (event.touches[0].clientY > finger) free(); }, { passive: true });
    scroll.addEventListener("keydown", (event) => { if (["ArrowUp", "PageUp", "Home"].includes(event.key)) free(); });
    scroll.addEventListener("pointerdown", (event) => { dragged = event.target === scroll; from = scroll.scrollTop; });
    window.addEventListener("pointerup", () => { dragged = false; });
    scroll.addEventListener("scroll", () => {
      if (dragged && scroll.scrollTop < from) free();
      else if (atEnd() && scroll.scrollTop > this.#at) { this.#stuck = true; newest.hidden = true; }
      this.#at = scroll.scrollTop;
    }, { passive: true });
    this.#page.before.addEventListener("click", () => this.#earlierTurns());
    newest.addEventListener("click", () => { this.#stuck = true; this.#stick(); });
    new ResizeObserver(() => this.#stick()).observe(this.#page.turns);
  }

  /** More of a long conversation. */
  #earlierTurns() {
    const going = this.#most < this.#wanted;
    this.#wanted = Math.max(this.#most, this.#wanted) + AT_ONCE;
    this.#stuck = false;
    if (!going) this.#moreTurns();
  }

  /** A few of those that are wanted, and the others in tasks of their own, with what is being read where it is. */
  #moreTurns() {
    const { scroll } = this.#page;
    const below = scroll.scrollHeight - scroll.scrollTop;
    this.#most = Math.min(this.#most + STEP, this.#wanted);
    this.draw();
    if (!this.#stuck) scroll.scrollTop = scroll.scrollHeight - below;
    if (this.#most < this.#wanted) setTimeout(() => { if (this.#most < this.#wanted) this.#moreTurns(); });
  }

  // --- the empty page ----------------------------------------------------------------------------------------------

  #welcome(empty) {
    const { welcome } = this.#page;
    const facts = this.#session.facts;
    const shows = empty && facts !== null;
    if (shows) shots(this.#shots, this.#session.examples);
    const key = `${shows} ${facts?.name} ${facts?.version} ${language()}`;
    if (welcome.dataset.key === key) return;
    welcome.dataset.key = key;
    welcome.hidden = !shows;
    if (!shows) return welcome.replaceChildren();
    const models = () => window.ovis.toggle("models", true);
    const more = facts.may_choose ? make("button", { type: "button", onclick: models }, said(facts.hint)) : said(facts.hint);
    const hint = facts.hint ? make("p.hint", {}, more) : null;
    const cards = make("div.examples", {}, ...facts.examples.map((one) => this.#card(one)));
    const many = make("button.quiet.many-opens", { type: "button", onclick: async () => (await import("./many_dialog.mjs")).open(this.#session) }, t("Ask the same of many pictures, or each row of a table…"));
    const earlier = make("div.earlier", { hidden: true });
    welcome.replaceChildren(make("div.placeholder", {}, make("h2", {}, t("Ask about {subject}", { subject: said(facts.subject) })), make("p", {}, said(facts.about)), hint), cards, this.#shots, many, earlier);
    this.#earlier(earlier);
  }

  #card(given) {
    const example = { ...given, text: said(given.text) };
    const pictures = example.media.map(({ url, shown, name }) => (url.endsWith(".mp4")
      ? make("video", { src: shown, muted: true, preload: "metadata", "aria-label": name }) : make("img", { src: shown, alt: "" })));
    const words = make("span.example-text", {}, example.label ? make("b", {}, said(example.label)) : null, example.text.replace(/<\/?ref>/g, "")); // which is for the model
    return make("button.example", { type: "button", onclick: () => this.#session.askExample(example) }, make("span.example-pictures", {}, ...pictures), words);
  }

  async #earlier(list) {
    const found = await this.#session.latest(EARLIER);
    list.hidden = !found.length;
    if (!found.length) return;
    const rows = found.map((one) => make("li", {}, make("button.quiet", { type: "button", onclick: () => this.#session.open(one.id) }, plain(one.title))));
    list.replaceChildren(make("h3", {}, t("Earlier")), make("ul", {}, ...rows));
  }
}

function fill(element, sentences) {
  const key = sentences.join("\n");
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...sentences.map((one) => make("p", {}, one)));
}

/** The header's pill while the server can't be reached: what Gradio's says then is of before. */
function pill(down) {
  const status = document.querySelector("#status");
  if (!status || status.classList.contains("down") === down) return;
  status.classList.toggle("down", down);
  status.querySelector(".pill.offline")?.remove();
  if (down) status.append(make("span.pill.failed.offline", { role: "status", title: t("No connection") }, make("i"), t("No connection")));
}

/** Whether many questions were being asked when the page was left. */
function manyGoOn() {
  try { return localStorage.getItem("ovis-many") !== null; } catch { return false; }
}

/** Words of this tab alone, which outlive a reload where the browser lets them. */
function tabStorage() {
  const memory = new Map();
  return {
    get(key) { try { return sessionStorage.getItem(`ovis-${key}`) ?? memory.get(key) ?? null; } catch { return memory.get(key) ?? null; } },
    set(key, value) {
      memory.set(key, value);
      try {
        if (value === null) sessionStorage.removeItem(`ovis-${key}`);
        else sessionStorage.setItem(`ovis-${key}`, value);
      } catch { /* private windows forget */ }
    },
  };
}

/** This browser's other tabs on the page. */
function peers() {
  if (typeof BroadcastChannel === "undefined") return null;
  const channel = new BroadcastChannel("ovis");
  return { say: (word) => channel.postMessage(word), listen: (hear) => channel.addEventListener("message", ({ data }) => hear(data ?? {})) };
}
