// What only the browser can do: panels at the side, light and dark, and keys.
// Sends nothing anywhere and knows nothing of conversations.
window.ovis = (() => {
  const find = (selector) => document.querySelector(selector);
  const remembered = () => {
    try { return localStorage.getItem("ovis-theme"); } catch { return null; }
  };

  function applyTheme() {
    const choice = remembered();
    if (choice && document.body) paint(choice === "dark");
  }

  function toggleTheme() {
    const dark = !document.body.classList.contains("dark");
    try { localStorage.setItem("ovis-theme", dark ? "dark" : "light"); } catch { /* private windows forget */ }
    paint(dark);
  }

  function paint(dark) {
    document.body.classList.toggle("dark", dark);
    frame();
  }

  // The colour of the window around the page; one, since Gradio keeps one of each name.
  function frame() {
    find('meta[name="theme-color"]')?.setAttribute("content", document.body.classList.contains("dark") ? "#0d1420" : "#ffffff");
  }

  // A panel at the side, "settings" or "models": one at a time, and the focus goes along.
  const openers = { settings: "#settings", models: "#model" };
  const isOpen = (name) => document.body.classList.contains(`${name}-open`);
  function toggle(name, open = !isOpen(name)) {
    for (const other of Object.keys(openers)) document.body.classList.toggle(`${other}-open`, open && other === name);
    document.body.classList.toggle("side-open", open);
    cover();
    find(open ? `#close-${name}` : openers[name])?.focus();
    put(open ? "opened" : "closed", name);
  }

  // On a phone a panel covers all else, which can't be reached then; beside it there is nothing to keep anybody from.
  const covers = matchMedia("(max-width: 640px)");
  function cover() {
    const open = Object.keys(openers).find(isOpen);
    for (const one of document.querySelectorAll("#header, #open-to-all, #not-loaded, #view")) one.inert = Boolean(open) && covers.matches;
    for (const [name, panel] of [["settings", find("#drawer")], ["models", find("#models")]]) {
      panel?.toggleAttribute("aria-modal", open === name && covers.matches);
      if (panel?.hasAttribute("aria-modal")) panel.setAttribute("aria-modal", "true");
    }
  }
  covers.addEventListener("change", cover);

  // Back to the top of a panel, where news of a change stand.
  function top(panel) {
    find(`#${panel}`)?.scrollTo({ top: 0 });
  }

  // Between Gradio's panels and the page's modules, which load later: what was put last is there for whoever comes.
  const told = new Map();
  const ears = new Map();
  function put(kind, value) {
    told.set(kind, value);
    for (const hear of ears.get(kind) ?? []) hear(value);
  }
  function on(kind, hear) {
    ears.set(kind, [...(ears.get(kind) ?? []), hear]);
    if (told.has(kind) && !["new", "escape", "language", "opened", "closed"].includes(kind)) hear(told.get(kind));
  }
  const first = (kind) => new Promise((resolve) => { on(kind, resolve); });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || event.keyCode === 229) return;
    if (document.querySelector("dialog[open]")) return;
    const open = Object.keys(openers).find(isOpen);
    if (open) toggle(open, false);
    else put("escape", true);
  });

  // Gradio adds this script while it mounts, and sets the scheme of the system then; a choice made here outlives that.
  function start() {
    applyTheme();
    const mounted = new MutationObserver(() => {
      if (!find("#header")) return;
      mounted.disconnect();
      applyTheme();
      frame();
      label();
      find('link[rel="manifest"]:not([crossorigin])')?.remove(); // Gradio's, whose icons aren't there
    });
    mounted.observe(document.body, { childList: true, subtree: true });
  }

  // Names for what shows no words.
  function label() {
    find("#model")?.setAttribute("title", "Choose the model");
  }

  document.addEventListener("pointerover", (event) => {
    const button = event.target.closest?.("button.icon, #new-chat");
    const words = button?.textContent.trim();
    if (words && button.title !== words) button.title = words;
  });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();

  return { toggleTheme, toggle, top, put, on, first };
})();
