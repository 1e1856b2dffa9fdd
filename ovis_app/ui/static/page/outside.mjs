// Whether a question lies outside of what Ovis-mini knows: by what it asks about, and by how its pictures look. A few sure
// signs, no judgement: what has none of them may lie outside too.
// Pure. Knows words and pixels; refuses to know how that is said.

const KINDS = 24; // pictures that are drawn have few colours: looked at in steps of this, of 256
const PLAIN = 0.4; // of a drawing's pixels at least are of one colour, its background's

// Things that are in photographs and documents. What Ovis-mini was taught to say that it doesn't know it says itself.
const THINGS = `person people man men woman women boy girl child children baby face faces smiling wearing holding dog dogs
cat cats bird birds animal animals horse fish car cars truck street building buildings house tree trees flower flowers
food dish recipe photo photograph screenshot receipt invoice bill price prices chart charts graph diagram plot axis
document documents page pages paragraph table tables handwriting handwritten formula formulas latex season brand logo
essay summarize summary country city history`.split(/\s+/);
const THINGS_CHINESE = `男人 女人 孩子 人物 表情 小狗 小猫 动物 汽车 街道 建筑 房子 树木 食物 菜谱 照片 截图 收据 发票 账单 价格 总额 金额 图表
柱状图 折线图 文档 文件 页面 段落 表格 手写 公式 季节 品牌 商标 作文 总结 摘要 城市 历史`.split(/\s+/);

/** Whether a question is about such a thing. @param {string} text */
export function asksOutside(text) {
  const words = new Set(text.toLowerCase().match(/[a-z]+/g) ?? []);
  return THINGS.some((one) => words.has(one)) || THINGS_CHINESE.some((one) => text.includes(one));
}

/** Whether a picture may be a drawing: much of it is of one colour. @param {Uint8ClampedArray} pixels four numbers each */
export function looksDrawn(pixels) {
  const counts = new Map();
  for (let at = 0; at + 3 < pixels.length; at += 4) {
    const colour = [0, 1, 2].reduce((sum, one) => sum * 16 + Math.floor(pixels[at + one] / KINDS), 0);
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  return Math.max(0, ...counts.values()) >= (PLAIN * pixels.length) / 4;
}
