// A small window by a file in the box, in which one chooses what of it goes along: moments of a clip, pages of a document.
// Closed by Esc, by looking elsewhere, or when its file is gone. Loaded when first needed.
// Knows the box and the DOM; what there is to choose is clip_panel.mjs's and pages_panel.mjs's.

import * as clips from "./clip_panel.mjs";
import * as documents from "./pages_panel.mjs";
import { button, make, plain } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { styled } from "./styles.mjs";

let close = () => {};

/** Opens it for a file of the box. `enlarge` shows a picture large; `row` is where the files stand, in their order. */
export async function open(session, entry, { row, enlarge }) {
  const before = close;
  await styled("attachments.css");
  before();
  const place = () => session.draft.files.indexOf(entry);
  if (place() < 0) return;
  const title = entry.source ? entry.source.name : entry.name;
  const leave = button(t("Close"), () => close(), { icon: true, name: "leave" });
  const body = make("div.panel-body");
  const panel = make("div.ovis-panel", { role: "dialog", popover: "manual", tabIndex: -1, "aria-label": t("What goes along of {name}", { name: plain(title) }) },
    make("div.panel-head", {}, make("h2", {}, plain(title)), leave), body);
  const chip = () => row.children[place()];
  const stand = () => { if (place() < 0) close({ focus: false }); else at(panel, chip()); };
  const end = new AbortController();
  const inside = (event) => panel.contains(event.target) || chip()?.contains(event.target);
  const files = new MutationObserver(stand);
  close = ({ focus = true } = {}) => {
    close = () => {};
    end.abort();
    files.disconnect();
    panel.remove();
    if (focus) chip()?.querySelector(".opens")?.focus();
  };
  document.body.append(panel);
  panel.showPopover?.();
  document.addEventListener("pointerdown", (event) => { if (!inside(event)) close({ focus: false }); }, { capture: true, signal: end.signal });
  window.addEventListener("resize", stand, { signal: end.signal });
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation(); // it stops answers elsewhere
    close();
  });
  files.observe(row, { childList: true });
  const around = { session, entry, enlarge, close: () => close(), drawn: stand, signal: end.signal };
  (entry.source ? documents : clips).fill(body, around);
  stand();
  (body.querySelector("input, select") ?? panel).focus({ preventScroll: true });
}

/** Above the file, where there is most room; never past an edge. On a phone the sheet does it. */
function at(panel, chip) {
  if (!chip || matchMedia("(max-width: 640px)").matches) return;
  const file = chip.getBoundingClientRect();
  panel.style.maxHeight = `${Math.max(200, file.top - 20)}px`;
  const own = panel.getBoundingClientRect();
  panel.style.top = `${Math.max(8, file.top - 8 - own.height)}px`;
  panel.style.left = `${Math.max(8, Math.min(file.left, innerWidth - own.width - 8))}px`;
}
