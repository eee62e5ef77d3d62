/** Observable Plot on a DOM without a browser, loaded when a chart is drawn. */

import { element } from './svg.js';

export async function tools() {
  const [Plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
  return { Plot, document: parseHTML('<!doctype html><html><body></body></html>').document };
}

/** What Plot drew, without its own <svg> and <style>: those suit a web page, not a standalone file. */
export function plot(plotted: { innerHTML: string }): string {
  const drawn = plotted.innerHTML.replace(/<style>[\s\S]*?<\/style>/g, '');
  return element('g', { fill: 'currentColor', 'font-size': 10, 'text-anchor': 'middle' }, drawn);
}
