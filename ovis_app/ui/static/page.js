// What only the browser can do: the settings drawer, light and dark, keys, and pictures shown large.
// Sends nothing anywhere and knows nothing of conversations.
window.ovis = (() => {
  const find = (selector) => document.querySelector(selector);
  const remembered = () => {
    try { return localStorage.getItem("ovis-theme"); } catch { return null; }
  };

  function applyTheme() {
    const choice = remembered();
    if (choice && document.body) document.body.classList.toggle("dark", choice === "dark");
  }

  function toggleTheme() {
    const dark = !document.body.classList.contains("dark");
    try { localStorage.setItem("ovis-theme", dark ? "dark" : "light"); } catch { /* private windows forget */ }
    document.body.classList.toggle("dark", dark);
  }

  // A panel at the side, "settings" or "models": one at a time, and the focus goes along.
  const openers = { settings: "#settings", models: "#model" };
  const isOpen = (name) => document.body.classList.contains(`${name}-open`);
  function toggle(name, open = !isOpen(name)) {
    for (const other of Object.keys(openers)) document.body.classList.toggle(`${other}-open`, open && other === name);
    document.body.classList.toggle("side-open", open);
    find(open ? `#close-${name}` : openers[name])?.focus();
  }

  // Back to the top of a panel, where news of a change stand.
  function top(panel) {
    find(`#${panel}`)?.scrollTo({ top: 0 });
  }

  function focus() {
    find("#box textarea")?.focus();
  }

  // While the server looks at the files of a question.
  function checking(on) {
    document.body.classList.toggle("checking", on);
  }

  // Until all that follows from a question is over, another one would be taken for it.
  function hold(event) {
    const sends = event.type === "click" ? event.target.closest("#box .submit-button")
      : event.key === "Enter" && !event.shiftKey && event.target.closest("#box");
    if (!sends || !document.body.classList.contains("checking")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }
  document.addEventListener("keydown", hold, true);
  document.addEventListener("click", hold, true);

  // What was being typed outlives a reload of this tab.
  function restoreDraft() {
    const box = find("#box textarea");
    let draft = null;
    try {
      draft = sessionStorage.getItem("ovis-draft");
      sessionStorage.removeItem("ovis-draft");
    } catch { /* private windows forget */ }
    // Gradio writes its own empty value a little after the box appears, so look again for a while.
    for (let wait = 0; draft && wait <= 1200; wait += 200) {
      setTimeout(() => {
        if (box.value || !draft) return;
        box.value = draft;
        box.dispatchEvent(new Event("input", { bubbles: true }));
      }, wait);
    }
    box?.addEventListener("keydown", () => { draft = null; }, { once: true });
  }

  window.addEventListener("pagehide", () => {
    const text = find("#box textarea")?.value;
    try { if (text) sessionStorage.setItem("ovis-draft", text); } catch { /* nothing to be done */ }
  });

  function enlarge(image) {
    const dialog = document.createElement("dialog");
    dialog.className = "ovis-large";
    const large = document.createElement("img");
    large.src = image.src;
    large.alt = image.alt;
    dialog.append(large);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  document.addEventListener("click", (event) => {
    const shown = event.target.closest?.("#conversation .message-row :is(img, button:has(img))");
    const image = shown?.matches("img") ? shown : shown?.querySelector("img");
    if (image) enlarge(image);
  });

  // The picker of files shows pictures and clips first; anything may still be dropped, and is looked at then.
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#box .upload-button")) return;
    const picker = find("#box input[type=file]");
    if (picker) picker.accept = "image/*,video/*";
  }, { capture: true });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || event.keyCode === 229) return;
    if (document.querySelector("dialog[open]")) return;
    const open = Object.keys(openers).find(isOpen);
    if (open) toggle(open, false);
    else find("#box .stop-button")?.click();
  });

  // Gradio adds this script while it mounts, and sets the scheme of the system then; a choice made here outlives that.
  function start() {
    applyTheme();
    const mounted = new MutationObserver(() => {
      if (!find("#box textarea")) return;
      mounted.disconnect();
      applyTheme();
      label();
      restoreDraft();
      if (matchMedia("(pointer: fine)").matches) focus(); // on a phone it would raise the keyboard
    });
    mounted.observe(document.body, { childList: true, subtree: true });
    new MutationObserver(disarmNew).observe(document.body, { childList: true, subtree: true });
  }

  // A model's words may look like anything, and do nothing but lead elsewhere: Gradio's sanitizer lets forms through, which
  // would send something to this very page. Their words stay. So do the boxes of a list of tasks, and what copies code.
  const WORDS = "#conversation .md";
  const EMPTY = "input, textarea, select, datalist, keygen";
  const ACTIVE = `form, button, fieldset, legend, label, output, option, optgroup, dialog, ${EMPTY}`;
  const KEPT = ".code_wrap > button.copy_code_button, input[type=checkbox][disabled]";
  function disarm(words) {
    for (const element of words.querySelectorAll(ACTIVE)) {
      if (!element.matches(KEPT)) element.replaceWith(...(element.matches(EMPTY) ? [] : element.childNodes));
      else if (element.matches("button")) element.type = "button";
    }
    for (const link of words.querySelectorAll("[ping]")) link.removeAttribute("ping");
  }
  function disarmNew(records) {
    const changed = new Set();
    for (const { target, addedNodes } of records) {
      changed.add(target.closest?.(WORDS));
      for (const node of addedNodes) for (const words of node.querySelectorAll?.(WORDS) ?? []) changed.add(words);
    }
    for (const words of changed) if (words) disarm(words);
  }
  document.addEventListener("submit", (event) => {
    if (event.target.closest?.("#conversation")) event.preventDefault();
  }, true);

  // Names for what shows no words.
  function label() {
    find("#box textarea")?.setAttribute("aria-label", "Your question");
    find("#model")?.setAttribute("title", "Choose the model");
    for (const image of document.querySelectorAll("#conversation .message-row button:has(img)")) {
      image.setAttribute("aria-label", `Enlarge ${image.querySelector("img").alt}`);
    }
  }

  document.addEventListener("pointerover", (event) => {
    const button = event.target.closest?.("button.icon, #actions button, #new-chat");
    if (button && !button.title) button.title = button.textContent.trim();
  });
  document.addEventListener("focusin", label);

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();

  return { toggleTheme, toggle, top, focus, checking };
})();
