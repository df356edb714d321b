// MathJax reads this before it starts. It looks at formulas only, and needs no other file.
window.MathJax = {
  options: {
    enableMenu: false,
    ignoreHtmlClass: ".*",
    processHtmlClass: "math",
  },
  svg: { fontCache: "global" },
};
