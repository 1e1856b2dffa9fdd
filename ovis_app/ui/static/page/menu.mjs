// A menu by its button, on a phone at the foot of the page: one at a time, closed by a choice, by Esc, or by looking
// elsewhere. Arrows, Home, End and first letters move in it.
// Knows the DOM; refuses to know what is chosen.

import { make } from "./elements.mjs";

let close = () => {};

/** Opens a menu of `rows` ({words, name, act, disabled, checked}) at the button `opens`. */
export function open(opens, rows) {
  const again = opens.getAttribute("aria-expanded") === "true";
  close();
  if (again) return;
  const menu = make("div.ovis-menu", { role: "menu", popover: "manual", "aria-label": opens.title });
  for (const row of rows) menu.append(item(row));
  document.body.append(menu);
  menu.showPopover?.();
  place(menu, opens);
  opens.setAttribute("aria-expanded", "true");
  const outside = (event) => { if (!menu.contains(event.target) && !opens.contains(event.target)) close({ focus: false }); };
  const moved = () => close({ focus: false });
  close = ({ focus = true } = {}) => {
    close = () => {};
    opens.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    window.removeEventListener("resize", moved);
    menu.remove();
    if (focus && opens.isConnected) opens.focus();
  };
  document.addEventListener("pointerdown", outside, true);
  window.addEventListener("resize", moved);
  menu.addEventListener("keydown", (event) => key(event, menu));
  menu.addEventListener("focusout", (event) => { if (event.relatedTarget && !menu.contains(event.relatedTarget)) close({ focus: false }); });
  choices(menu)[0]?.focus();
}

function item({ words, name, act, disabled = false, checked = undefined }) {
  const role = checked === undefined ? "menuitem" : "menuitemcheckbox";
  const chosen = () => { close(); act(); };
  const one = make(`button.${name}`, { type: "button", role, disabled, tabIndex: -1, onclick: chosen }, words);
  if (checked !== undefined) one.setAttribute("aria-checked", String(checked));
  return one;
}

const choices = (menu) => [...menu.querySelectorAll("button:not(:disabled)")];

function key(event, menu) {
  const all = choices(menu);
  const at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 }[event.key];
  if (event.key === "Escape" || event.key === "Tab") close();
  else if (to !== undefined) all[to % all.length].focus();
  else if (event.key.length === 1 && event.key !== " ") {
    const named = [...all.slice(at + 1), ...all].find((one) => one.textContent.toLowerCase().startsWith(event.key.toLowerCase()));
    named?.focus();
  } else return;
  event.preventDefault();
  event.stopPropagation(); // Esc stops answers elsewhere
}

/** Below the button where there is room, else above it; never past an edge. On a phone page.css does it. */
function place(menu, opens) {
  if (matchMedia("(max-width: 640px)").matches) return;
  const [at, own] = [opens.getBoundingClientRect(), menu.getBoundingClientRect()];
  const below = at.bottom + 4 + own.height <= innerHeight;
  menu.style.top = `${Math.max(8, below ? at.bottom + 4 : at.top - 4 - own.height)}px`;
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - own.width - 8))}px`;
}
