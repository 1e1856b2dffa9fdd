// The page in Chinese: each English sentence of the page's modules and what stands for it, by feature.
// tests/page_js/i18n.test.mjs holds that none is missing and that the places in both are the same.

export default {
  "Copy": "复制",

  // the words of an answer
  "Copy code": "复制代码",
  "Wrap lines": "自动换行",
  "Table": "表格",
  "Copy CSV": "复制 CSV",
  "Copy Markdown": "复制 Markdown",
  "Download CSV": "下载 CSV",
  "Show as written": "显示原文",
};
