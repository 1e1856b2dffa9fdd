// The page in Chinese: each English sentence of the page's modules and what stands for it, by feature.
// tests/page_js/i18n.test.mjs holds that none is missing and that the places in both are the same.

export default {
  "Copy": "复制",
};
