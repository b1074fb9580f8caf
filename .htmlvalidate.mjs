// What HTML asks of the built pages: tests/test_html.py. Off is only what others cause.
export default {
  root: true,
  extends: ["html-validate:standard", "html-validate:document"],
  rules: {
    // Files of the book itself need no hash: who can change them can change the page.
    "require-sri": "off",
    // sphinx-book-theme repeats the title for print, in a heading that is hidden.
    "heading-level": "off",
  },
};
