/** Writes analyses: every picture as SVG and PNG, one self-contained page with all of it, and the numbers as JSON. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Block, figurePng, htmlPage } from '../draw/index.js';
import { diskError, writeFileAtomic } from '../files.js';
import type { Analysis } from './analysis.js';

export interface ReportOptions {
  /** the network, in words */
  network: string;
  command: string;
}

/** Returns the paths of all files, the report first. */
export async function writeAnalyses(
  folder: string,
  analyses: readonly Analysis[],
  { network, command }: ReportOptions,
): Promise<string[]> {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw diskError(folder, error);
  }
  const paths = [join(folder, 'report.html'), join(folder, 'analysis.json')];
  for (const { drawings } of analyses)
    for (const { name, figure } of drawings) {
      const [svg, png] = ['svg', 'png'].map((ending) => join(folder, `${name}.${ending}`));
      // A figure's text takes the page's colour; alone on white paper it is black.
      writeFileAtomic(svg, figure.svg.replace('<svg ', '<svg color="#1b1f24" '));
      writeFileAtomic(png, await figurePng(figure));
      paths.push(svg, png);
    }
  const page = htmlPage({
    title: `Inside ${network}`,
    summary: analyses.map(({ summary }) => summary).join(' '),
    sections: [
      ...analyses.map(({ title, summary, drawings, tables = [] }) => ({
        title,
        blocks: [
          { kind: 'text', text: summary },
          ...drawings.map(({ figure, caption }): Block => ({ kind: 'figure', figure, caption })),
          ...tables.map((table): Block => ({ kind: 'table', ...table })),
        ] satisfies Block[],
      })),
      { title: 'Again', blocks: [{ kind: 'code', text: command }] },
    ],
  });
  writeFileAtomic(paths[0], page);
  const numbers = Object.fromEntries(analyses.map((one) => [one.title, one.numbers]));
  writeFileAtomic(paths[1], `${JSON.stringify({ network, command, ...numbers }, null, 1)}\n`);
  return paths;
}
