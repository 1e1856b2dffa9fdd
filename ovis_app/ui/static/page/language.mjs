// Which language the page is in: that of the browser until somebody chooses, and that choice from then on.
// Knows the header's switch and where the choice is kept; refuses to know what is drawn: `renew` draws it anew.

import { LANGUAGES, language, preferred, speak } from "./i18n.mjs";

const KEPT = "ovis-language";
let panels = null; // what translates Gradio's own parts, once it was needed

/** Speaks the language of whoever is here, and from then on the other one whenever the switch is pressed. Resolves once
 * the first words are there. */
export async function begin(renew) {
  await use(preferred(navigator.languages, remembered()));
  window.ovis.on("language", async () => {
    const wanted = language() === "zh" ? "en" : "zh";
    remember(wanted);
    await use(wanted);
    renew();
    window.ovis.put("spoken", wanted);
  });
}

async function use(name) {
  try {
    await speak(name);
    if (language() !== "en") panels ??= await import("./panels.mjs");
  } catch { /* without a connection it can't be loaded: what is spoken stays */ }
  document.documentElement.lang = LANGUAGES[language()];
  panels?.translate();
}

function remembered() {
  try { return localStorage.getItem(KEPT); } catch { return null; }
}

function remember(name) {
  try { localStorage.setItem(KEPT, name); } catch { /* private windows forget */ }
}
