// The camera in a small dialog: what it sees now, a press that attaches it, and one that has the model asked about it every
// few seconds. Loaded when first needed; with the dialog all of it ends, and the camera's light goes out.
// Knows the browser's cameras and the DOM; what is asked, and when, is keep_asking.mjs's.

import { read, words } from "./boxes.mjs";
import { dialog } from "./dialogs.mjs";
import { button, make, name, plain } from "./elements.mjs";
import { later, said, t } from "./i18n.mjs";
import { KEPT, keepAsking } from "./keep_asking.mjs";
import { styled } from "./styles.mjs";

const ASKED = { width: { ideal: 1920 }, resizeMode: "none" }; // as the camera takes them, not cut and scaled by a browser
const QUALITY = 0.92; // of a JPEG
const EVERY = [2, 5, 10, 30, 60]; // seconds
const LOOK_MS = 200; // between two looks at an answer that grows
const INSECURE = later("Browsers let a page use the camera only at an address with https://, or at localhost: open the page there. On a phone the choice of files offers the camera too.");
const NONE = later("There is no camera here: connect one and try again, or attach a picture.");
const WHY = {
  NotAllowedError: later("This page may not use the camera: allow it beside the browser's address bar, then try again."),
  NotFoundError: NONE,
  OverconstrainedError: NONE,
  NotReadableError: later("The camera can't be used just now, perhaps since another program has it: close that, and try again."),
};
const FAILED = later("The camera can't be started: try again, or attach a picture.");
const GONE = later("The camera is gone: connect it and try again.");
const UNSEEN = later("It stopped, since nobody looked at this tab.");

/** Shows it. */
export async function open(session) {
  await styled("camera.css");
  new Camera(session);
}

class Camera {
  #session; #box; #p = {}; #stream = null; #chosen = null; #starts = 0; #asking = null; #over = new AbortController();

  constructor(session) {
    this.#session = session;
    const p = this.#p;
    p.video = make("video", { muted: true, playsInline: true, autoplay: true, "aria-label": t("What the camera sees") });
    p.line = make("p.camera-line", { role: "status" });
    p.again = button(t("Try again"), () => this.#start(), { name: "camera-again" });
    p.which = make("select", { hidden: true, "aria-label": t("Camera"), onchange: () => { this.#chosen = p.which.value; this.#start(); } });
    this.#box = dialog(t("Camera"), [make("div.camera-picture", {}, p.video), p.which, p.line, p.again, this.#keeps()],
      [[t("Take a picture"), () => this.#take(), "primary"], [t("Close"), () => {}]]);
    this.#box.classList.add("camera");
    p.take = this.#box.querySelector(".buttons .primary");
    this.#box.addEventListener("close", () => this.#end());
    const { signal } = this.#over;
    window.addEventListener("pagehide", () => this.#box.close(), { signal });
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.#stop(UNSEEN); }, { signal });
    this.#start();
  }

  /** Where a question stands that is asked again and again. */
  #keeps() {
    const p = this.#p;
    const typed = this.#session.draft.text.trim();
    p.question = make("input", { type: "text", value: typed || t("What is in the picture?"), maxLength: 2000, dir: "auto", "aria-label": t("Question to keep asking") });
    p.question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault(); // it would take a picture
      if (!this.#asking && !p.keep.disabled) this.#ask();
    });
    const choices = EVERY.map((count) => make("option", { value: count, selected: count === 5 }, t("every {count} s", { count })));
    p.every = make("select", { "aria-label": t("How often") }, ...choices);
    p.keep = button("", () => (this.#asking ? this.#stop() : this.#ask()), { name: "keep-asking" });
    name(p.keep, t("Keep asking"));
    p.answer = make("div.camera-answer", { hidden: true, dir: "auto", role: "status" });
    return make("fieldset", {}, make("legend", {}, t("Keep asking about what it sees")), p.question, make("div.camera-row", {}, p.every, p.keep), p.answer);
  }

  // --- the picture -------------------------------------------------------------------------------------------------

  async #start() {
    const start = ++this.#starts; // an earlier one that is still waited for is of no use any more
    const { video, line, again, take, keep } = this.#p;
    this.#dark();
    again.hidden = true;
    this.#box.classList.remove("blind");
    take.disabled = keep.disabled = true;
    line.textContent = t("Starting the camera…");
    try {
      const stream = await camera(this.#chosen);
      if (start !== this.#starts) return end(stream);
      this.#stream = stream;
      stream.getVideoTracks()[0].addEventListener("ended", () => { if (this.#stream === stream) this.#fail(GONE); });
      video.srcObject = stream;
      await video.play();
      await drawn(video);
      if (this.#stream !== stream) return;
      take.disabled = keep.disabled = false;
      line.textContent = "";
      await this.#list(stream);
    } catch (error) {
      if (start === this.#starts) this.#fail(error.sentence ?? WHY[error.name] ?? FAILED);
    }
  }

  #fail(sentence) {
    this.#dark();
    this.#stop();
    const { line, again, take, keep } = this.#p;
    line.textContent = said(sentence);
    again.hidden = sentence === INSECURE;
    this.#box.classList.add("blind");
    take.disabled = keep.disabled = true;
  }

  /** Where there are several, which one: their names are known once one may be used. */
  async #list(stream) {
    const { which } = this.#p;
    const all = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === "videoinput");
    const now = stream.getVideoTracks()[0].getSettings().deviceId;
    which.replaceChildren(...all.map((one, place) => make("option", { value: one.deviceId, selected: one.deviceId === now }, plain(one.label || t("Camera {number}", { number: place + 1 })))));
    which.hidden = all.length < 2;
  }

  /** The picture of now. */
  #shot() {
    const { video } = this.#p;
    const size = [video.videoWidth, video.videoHeight];
    const canvas = make("canvas", { width: size[0], height: size[1] });
    canvas.getContext("2d").drawImage(video, 0, 0);
    return new Promise((resolve) => { canvas.toBlob((blob) => resolve({ blob, size }), "image/jpeg", QUALITY); });
  }

  async #take() {
    const { blob } = await this.#shot();
    await this.#session.attach([{ blob, name: "camera.jpg" }]);
  }

  // --- keep asking -------------------------------------------------------------------------------------------------

  async #ask() {
    const { question, every, answer, line } = this.#p;
    const text = question.value.trim();
    if (!text) return question.focus();
    const asking = this.#asking = new AbortController();
    const { signal } = asking;
    this.#draw();
    answer.hidden = false;
    let count = 0;
    const look = setInterval(() => this.#growing(), LOOK_MS);
    const heard = (one) => {
      this.#say(one, true);
      count += 1;
      line.textContent = t("Answers so far: {count}. The last {most} stay in the conversation, as versions of one question.", { count, most: KEPT });
    };
    const why = await keepAsking(this.#session, { text, seconds: Number(every.value), shot: () => this.#shot(), wait, signal, heard })
      .catch((error) => error.message);
    clearInterval(look);
    if (this.#asking === asking) this.#stop(why);
  }

  /** Ends it, with the answer that is under way; says why where there is something to say. */
  #stop(why = "") {
    const asking = this.#asking;
    if (!asking) return;
    this.#asking = null;
    asking.abort();
    if (why) this.#p.line.textContent = said(why);
    this.#draw();
  }

  #draw() {
    const { keep, question, every, which, answer } = this.#p;
    const on = this.#asking !== null;
    question.readOnly = on;
    every.disabled = which.disabled = on;
    keep.classList.toggle("on", on);
    name(keep, on ? t("Stop") : t("Keep asking"));
    if (!on) answer.setAttribute("aria-busy", "false");
  }

  #growing() {
    const answer = this.#session.messages.get(this.#session.running?.id);
    if (answer?.text) this.#say(answer, false);
  }

  /** An answer, also while it grows, which isn't read out then. */
  #say({ text }, over) {
    const { answer } = this.#p;
    answer.setAttribute("aria-busy", String(!over));
    const shown = plain(words(read(text, { over })));
    if (answer.textContent !== shown) answer.textContent = shown;
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  #dark() {
    end(this.#stream);
    this.#stream = this.#p.video.srcObject = null;
  }

  #end() {
    this.#starts += 1;
    this.#over.abort();
    this.#stop();
    this.#dark();
  }
}

/** A stream of pictures: of the camera with this id, else of the one at the back, where there is one. */
async function camera(id) {
  if (!navigator.mediaDevices?.getUserMedia) throw Object.assign(new Error("no camera"), { sentence: window.isSecureContext ? NONE : INSECURE });
  const which = id ? { deviceId: { exact: id } } : { facingMode: { ideal: "environment" } };
  return await navigator.mediaDevices.getUserMedia({ video: { ...which, ...ASKED }, audio: false });
}

/** Resolves once a picture is there: a video plays before that. */
function drawn(video) {
  return new Promise((resolve) => { if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(resolve); else resolve(); });
}

function end(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
