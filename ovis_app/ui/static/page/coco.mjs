// Boxes of an answer as COCO JSON (cocodataset.org/#format-data), which tools for labels read.
// Pure. Knows the format; refuses to know where pictures and boxes come from.

import { pixels } from "./geometry.mjs";

/**
 * @param {{name: string, width: number, height: number, marks: import("./boxes.mjs").Mark[]}[]} pictures with sizes in pixels
 * @param {{description: string}} about
 */
export function coco(pictures, { description }) {
  const names = [...new Set(pictures.flatMap((one) => one.marks.map(category)))];
  const points = new Set(pictures.flatMap((one) => one.marks.filter((mark) => mark.kind === "point").map(category)));
  const annotations = pictures.flatMap((picture, place) => picture.marks.map((mark) => annotation(mark, picture, place + 1, names)));
  return {
    info: { description, version: "1.0" },
    licenses: [],
    images: pictures.map(({ name, width, height }, place) => ({ id: place + 1, file_name: name, width, height })),
    categories: names.map((name, place) => ({
      id: place + 1, name, supercategory: "", ...(points.has(name) ? { keypoints: ["point"], skeleton: [] } : {}),
    })),
    annotations: annotations.map((one, place) => ({ id: place + 1, ...one })),
  };
}

function category(mark) {
  return mark.name || "object";
}

function annotation(mark, picture, image, names) {
  const { left, top, width, height } = pixels(mark, picture);
  const point = mark.kind === "point" ? { keypoints: [left, top, 2], num_keypoints: 1 } : {};
  return {
    image_id: image, category_id: names.indexOf(category(mark)) + 1, bbox: [left, top, width, height], area: width * height,
    segmentation: [], iscrowd: 0, ...point,
  };
}
