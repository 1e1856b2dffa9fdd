// Files for people to keep: boxes as COCO JSON, and pictures with what is marked on them. Made in the browser, loaded when
// asked for. Knows canvases and downloads; refuses to know answers.

import { coco } from "./coco.mjs";
import { make } from "./elements.mjs";
import { pixels } from "./geometry.mjs";
import { later } from "./i18n.mjs";

// As in boxes.css: the colours by Okabe and Ito, which people who see few colours tell apart, and what is read on each.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#1a1a1a"];
const ON = ["#fff", "#000", "#000", "#000", "#000", "#000", "#000", "#fff"];
const MOST_PIXELS = 50e6; // of a picture that is made here; phones draw no larger ones
const UNDRAWN = later("This browser couldn't draw that picture: try again, or ask about a smaller one.");

/** Gives a file to whoever asked for it. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** @param {{picture: any, marks: any[], image: HTMLImageElement}[]} figures */
export async function saveJson(figures) {
  const pictures = [];
  for (const { picture, marks, image } of figures) {
    await image.decode();
    pictures.push({ name: picture.file.name, width: image.naturalWidth, height: image.naturalHeight, marks });
  }
  const text = JSON.stringify(coco(pictures, { description: "Boxes of an answer by Ovis" }), null, 1);
  save(new Blob([text], { type: "application/json" }), `${stem(pictures[0].name)}.coco.json`);
}

/** The same as pictures with the boxes drawn in, one file each. */
export async function savePictures(figures) {
  for (const { picture, marks, image } of figures) {
    const canvas = await part(image, { left: 0, top: 0, right: 1, bottom: 1 });
    draw(canvas, marks);
    save(await encoded(canvas, "image/png"), `${stem(picture.file.name)} (boxes).png`);
  }
}

/** A part of a picture, in its own pixels where that isn't too many. Raises a sentence. @returns {Promise<HTMLCanvasElement>} */
export async function part(image, sides, { most = MOST_PIXELS } = {}) {
  await image.decode().catch(() => { throw new Error(UNDRAWN); });
  const from = pixels(sides, { width: image.naturalWidth, height: image.naturalHeight });
  const scale = Math.min(1, Math.sqrt(most / (from.width * from.height)), 16_000 / Math.max(from.width, from.height));
  const canvas = make("canvas", { width: Math.max(1, Math.round(from.width * scale)), height: Math.max(1, Math.round(from.height * scale)) });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, from.left, from.top, from.width, from.height, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Raises a sentence. @returns {Promise<Blob>} */
export function encoded(canvas, type) {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(UNDRAWN))), type, 0.95);
  });
}

/** A file's name without what it ends in. */
export function stem(name) {
  return name.replace(/\.[A-Za-z0-9]{1,5}$/, "") || name;
}

function draw(canvas, marks) {
  const pen = canvas.getContext("2d");
  const unit = Math.max(1, Math.max(canvas.width, canvas.height) / 500);
  const height = Math.max(11, Math.round(unit * 10));
  Object.assign(pen, { font: `600 ${height}px sans-serif`, textBaseline: "middle", lineJoin: "round" });
  for (const one of marks) {
    const place = pixels(one, canvas);
    const [ink, paper] = [ON[(one.number - 1) % ON.length], COLOURS[(one.number - 1) % COLOURS.length]];
    for (const [width, style] of [[4 * unit, "#fff"], [2 * unit, paper]]) {
      Object.assign(pen, { lineWidth: width, strokeStyle: style });
      pen.beginPath();
      if (one.kind === "point") pen.arc(place.left, place.top, 5 * unit, 0, 2 * Math.PI);
      else pen.rect(place.left, place.top, place.width, place.height);
      pen.stroke();
    }
    label(pen, `${one.number} ${one.name}`.trim(), place, { ink, paper, height, unit, canvas });
  }
}

function label(pen, text, place, { ink, paper, height, unit, canvas }) {
  const [width, tall] = [pen.measureText(text).width + height * 0.6, height * 1.4];
  const x = Math.max(0, Math.min(place.left - unit, canvas.width - width));
  const y = place.top > tall ? place.top - tall : Math.min(place.top, canvas.height - tall);
  pen.fillStyle = paper;
  pen.fillRect(x, y, width, tall);
  pen.fillStyle = ink;
  pen.fillText(text, x + height * 0.3, y + tall / 2);
}
