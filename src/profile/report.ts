/** What was measured of several networks, as a table, a figure and a page. */

import { type Figure, htmlPage, scatterChart } from '../draw/index.js';
import type { NetworkProfile } from './measure.js';
import { PUBLISHED, PUBLISHED_SOURCE, type PublishedResult } from './published.js';

export const PROFILE_HEAD = [
  'network',
  'parameters',
  'multiply-adds',
  'activations',
  'forward images/s',
  'forward memory',
  'training images/s',
  'training memory',
] as const;

export const PROFILE_NOTE =
  'Multiply-adds (a multiplication with its addition counts as one) and activations are those of products and ' +
  'convolutions in a forward pass of one picture. Training is forward, backward and AdamW of the backbone alone. ' +
  'Memory is the peak of the whole process.';

export function profileRow({
  name,
  parameters,
  multiplyAdds,
  activations,
  forward,
  training,
}: NetworkProfile): string[] {
  const memory = (bytes: number | null) => (bytes === null ? '-' : `${(bytes / 1e9).toFixed(2)} GB`);
  return [
    name,
    `${(parameters / 1e6).toFixed(1)} M`,
    `${(multiplyAdds / 1e9).toFixed(2)} G`,
    `${(activations / 1e6).toFixed(1)} M`,
    forward.imagesPerSecond.toFixed(1),
    memory(forward.peakMemory),
    training.imagesPerSecond.toFixed(1),
    memory(training.peakMemory),
  ];
}

export const PUBLISHED_HEAD = ['published network', 'parameters', 'linear top-1', 'k-NN top-1'] as const;

export function publishedRows(): string[][] {
  return PUBLISHED.map(({ name, parameters, linear, knn }) => [
    name,
    `${parameters} M`,
    `${linear.toFixed(1)}%`,
    `${knn.toFixed(1)}%`,
  ]);
}

/** Throughput against parameters; `published` adds the authors' accuracies to the names of their networks. */
export function profileFigure(
  profiles: readonly NetworkProfile[],
  machine: string,
  published: boolean,
): Figure {
  const points = profiles.map((profile) => {
    const result = published ? publishedOf(profile) : undefined;
    const text =
      result === undefined ? profile.name : `${profile.name}, published ${result.linear.toFixed(1)}%`;
    return {
      x: profile.parameters / 1e6,
      y: profile.forward.imagesPerSecond,
      text,
      group: profile.name.split(/[_/]/)[0],
    };
  });
  return scatterChart(points, {
    title: `Throughput against parameters, measured on ${machine}`,
    x: `parameters (millions)${published ? '; percentages: published ImageNet top-1 of a linear classifier, not measured here' : ''}`,
    y: 'images/s, forward',
  });
}

export function profilePage(
  profiles: readonly NetworkProfile[],
  machine: string,
  published: boolean,
): string {
  const sizes = [...new Set(profiles.map(({ imageSize }) => imageSize))].join(', ');
  const batches = [...new Set(profiles.map(({ batchSize }) => batchSize))].join(', ');
  return htmlPage({
    title: 'Size and speed of networks',
    summary: `${profiles.length} networks on ${machine}; pictures of ${sizes} pixels, ${batches} at a time.`,
    sections: [
      {
        title: 'Measured here',
        blocks: [
          { kind: 'figure', figure: profileFigure(profiles, machine, published) },
          { kind: 'table', head: PROFILE_HEAD, rows: profiles.map(profileRow) },
          { kind: 'text', text: PROFILE_NOTE },
        ],
      },
      ...(published
        ? [
            {
              title: 'Published accuracies',
              blocks: [
                { kind: 'table' as const, head: PUBLISHED_HEAD, rows: publishedRows() },
                { kind: 'text' as const, text: `Not measured here. Source: ${PUBLISHED_SOURCE}.` },
              ],
            },
          ]
        : []),
    ],
  });
}

/** By the registry's name, whose window is 7, or by that of a recipe. */
function publishedOf({ name }: NetworkProfile): PublishedResult | undefined {
  return PUBLISHED.find(
    ({ arch, windowSize }) =>
      (name === arch && windowSize === 7) || name === `${arch}_patch4_window${windowSize}_224`,
  );
}
