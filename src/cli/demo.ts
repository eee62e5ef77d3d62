/** `esvit demo`: the whole story on this machine in a few minutes. */

import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { defineCommand, type Progress } from './command.js';
import { TrainingWatch } from './training-watch.js';

const count = (least: number) => z.number().int().min(least);

export const demo = defineCommand({
  name: 'demo',
  summary: 'Draw pictures, train on them without labels, and show what came of it',
  examples: ['esvit demo', 'esvit demo --seed 1 --output runs/demo-1'],
  options: z.strictObject({
    output: z.string().default('runs/demo').describe('Folder for pictures, run and report'),
    seed: z.number().int().default(0).describe('Pictures, weights and training follow from it'),
    cfg: z
      .string()
      .default(fileURLToPath(new URL('../../configs/demo/scenes.yaml', import.meta.url)))
      .describe('Experiment file with the recipe')
      .meta({ default: 'configs/demo/scenes.yaml' }),
    device: z.enum(['auto', 'cpu', 'cuda']).default('auto').describe('Where to compute'),
    per_class: count(8).default(400).describe('Training pictures of each class'),
    val_per_class: count(1).default(60).describe('Held-out pictures of each class'),
    figures: z.boolean().default(false).describe('Also write each figure of the report as a PNG'),
  }),
  async run(options, io) {
    const { runDemo } = await import('../demo/index.js');
    const watch = new TrainingWatch(io);
    let stage = '';
    let bar: Progress | undefined;
    const endBar = () => {
      bar?.stop();
      bar = undefined;
    };
    const release = io.onInterrupt((signal) => watch.interrupt(signal));
    try {
      const found = await runDemo(
        {
          output: options.output,
          seed: options.seed,
          cfg: options.cfg,
          device: options.device,
          perClass: options.per_class,
          valPerClass: options.val_per_class,
          figures: options.figures,
        },
        {
          onStage: (words) => {
            endBar();
            watch.stop();
            stage = words;
            io.log(`${words[0].toUpperCase()}${words.slice(1)} …`);
          },
          onPictures: (done, total) => {
            bar ??= io.progress(total, { label: stage.split(' ')[0], unit: 'pictures' });
            bar.update(done);
            if (done >= total) endBar();
          },
          training: watch.events,
        },
      );
      watch.stop();
      if (found === undefined) {
        io.out('The demo was interrupted; start it again to see it whole.');
        return;
      }
      const { knn, regions, report } = found;
      io.out(`${knn.k}-NN accuracy on held-out pictures:`);
      for (const { name, top1 } of [knn.rawPixels, knn.untrained, knn.trained])
        io.out(`  ${name.padEnd(18)} ${top1.toFixed(1).padStart(5)}%`);
      io.out(
        `Regions matched rightly between two views: ${(100 * regions.trained).toFixed(0)}%, ${(100 * regions.untrained).toFixed(0)}% before training`,
      );
      io.out(`Report: ${report}`);
      return found;
    } finally {
      endBar();
      watch.stop();
      release();
    }
  },
});
