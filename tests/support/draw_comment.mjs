// One comment as a page in GitHub's style: node draw_comment.mjs THEME < comment.md > page.html
// The packages are looked for beside this file; tests/support/pictures.py puts it there.
import { readFileSync } from "node:fs";
import { marked } from "marked";
import markedAlert from "marked-alert";

const theme = process.argv[2];
const css = readFileSync(new URL(`node_modules/github-markdown-css/github-markdown-${theme}.css`, import.meta.url), "utf8");
const html = marked.use({ gfm: true }, markedAlert()).parse(readFileSync(0, "utf8"));
const [canvas, line] = theme === "dark" ? ["#0d1117", "#3d444d"] : ["#ffffff", "#d1d9e0"];
process.stdout.write(`<!doctype html>
<meta charset="utf-8">
<style>
${css}
/* What GitHub puts around a comment. */
body { margin: 0; padding: 12px; background: ${canvas}; }
.markdown-body { border: 1px solid ${line}; border-radius: 6px; padding: 16px; font-size: 14px; }
</style>
<article class="markdown-body">${html}</article>
`);
