/** One self-contained HTML page: styles, figures and pictures inside, nothing fetched, for any screen. */

import { escapeXml, type Figure } from './svg.js';

export type Block =
  | { kind: 'text'; text: string }
  | { kind: 'figure'; figure: Figure; caption?: string }
  /** Figures side by side as far as the screen allows. */
  | { kind: 'figures'; figures: readonly Figure[]; caption?: string }
  | { kind: 'table'; head: readonly string[]; rows: readonly (readonly string[])[]; strong?: number }
  | { kind: 'facts'; facts: readonly (readonly [name: string, value: string])[] }
  | { kind: 'code'; text: string }
  /** Closed until opened. */
  | { kind: 'details'; summary: string; blocks: readonly Block[] };

export interface Section {
  title: string;
  blocks: readonly Block[];
}

export interface Page {
  title: string;
  /** The result in a sentence or two. */
  summary: string;
  /** A word before the summary, and how it is meant; the word and its sign carry the meaning, not the colour. */
  verdict?: { tone: 'good' | 'unclear' | 'bad'; text: string };
  sections: readonly Section[];
  footer?: string;
}

export function htmlPage(page: Page): string {
  const { title, summary, verdict, sections, footer } = page;
  const badge =
    verdict === undefined
      ? ''
      : `<strong class="verdict ${verdict.tone}">${SIGNS[verdict.tone]} ${escapeXml(verdict.text)}</strong> `;
  const body = sections.map(
    (section) =>
      `<section>\n<h2>${escapeXml(section.title)}</h2>\n${section.blocks.map(blockHtml).join('\n')}\n</section>`,
  );
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>${escapeXml(title)}</title>
<style>${CSS}</style>
</head>
<body>
<main>
<h1>${escapeXml(title)}</h1>
<p class="summary">${badge}${escapeXml(summary)}</p>
${body.join('\n')}
${footer === undefined ? '' : `<footer>${escapeXml(footer)}</footer>`}
</main>
</body>
</html>
`;
}

const SIGNS = { good: '✓', unclear: '~', bad: '✗' };

function blockHtml(block: Block): string {
  switch (block.kind) {
    case 'text':
      return `<p>${escapeXml(block.text)}</p>`;
    case 'figure':
      return `<figure style="max-width:${block.figure.width}px">${block.figure.svg}${captionHtml(block.caption)}</figure>`;
    case 'figures': {
      const cells = block.figures.map((figure) => `<div>${figure.svg}</div>`);
      return `<figure><div class="grid">${cells.join('')}</div>${captionHtml(block.caption)}</figure>`;
    }
    case 'table': {
      const head = block.head.map((text) => `<th scope="col">${escapeXml(text)}</th>`).join('');
      const rows = block.rows.map((row, i) => {
        const [first, ...rest] = row.map(escapeXml);
        const cells = rest.map((text) => `<td>${text}</td>`).join('');
        return `<tr${i === block.strong ? ' class="strong"' : ''}><th scope="row">${first}</th>${cells}</tr>`;
      });
      return `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
    }
    case 'facts': {
      const facts = block.facts.map(
        ([name, value]) => `<div><dt>${escapeXml(name)}</dt><dd>${escapeXml(value)}</dd></div>`,
      );
      return `<dl>${facts.join('')}</dl>`;
    }
    case 'code':
      return `<pre><code>${escapeXml(block.text)}</code></pre>`;
    case 'details':
      return `<details><summary>${escapeXml(block.summary)}</summary>${block.blocks.map(blockHtml).join('\n')}</details>`;
  }
}

function captionHtml(caption: string | undefined): string {
  return caption === undefined ? '' : `<figcaption>${escapeXml(caption)}</figcaption>`;
}

const CSS = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --raised: #f4f6f8; --line: #d5dbe1; --good: #10704f; --bad: #a83a00; --unclear: #6b5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b1; --paper: #14171b; --raised: #1e2328; --line: #363d45; --good: #4cc79b; --bad: #ff8a55; --unclear: #d8c04a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, 'DejaVu Sans', sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 12px; }
h2 { font-size: 1.2rem; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--line); }
p { margin: 8px 0; max-width: 46rem; }
.summary { font-size: 1.1rem; }
.verdict { border: 1.5px solid; border-radius: 6px; padding: 1px 8px; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .unclear { color: var(--unclear); }
figure { margin: 16px 0; }
figure svg { display: block; width: 100%; height: auto; color: var(--ink); }
figcaption { color: var(--soft); font-size: .9rem; margin-top: 6px; max-width: 46rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr)); gap: 20px 24px; }
.grid > div { max-width: 480px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 12px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child { text-align: left; font-weight: 400; }
thead th { color: var(--soft); font-weight: 600; font-size: .9rem; }
.strong > * { font-weight: 700 !important; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px 20px; margin: 16px 0; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
pre { background: var(--raised); border: 1px solid var(--line); border-radius: 6px; padding: 12px; overflow-x: auto; font: .85rem/1.5 ui-monospace, 'DejaVu Sans Mono', monospace; }
details { margin: 12px 0; } summary { cursor: pointer; font-weight: 600; }
footer { margin-top: 48px; color: var(--soft); font-size: .85rem; }
@media print { details { display: block; } main { max-width: none; } }
`.trim();
