/** One rank of a test: joins the run, does the task that it was given, and prints the result as JSON. */

import { alone, readPlacement, World } from '../../src/dist/index.js';
import { setThreads } from '../../src/torch/index.js';
import { tasks } from './tasks.js';

const [name, argument] = process.argv.slice(2);
setThreads(1);
const placement = readPlacement(process.env);
const world =
  placement === undefined ? undefined : await World.join(placement, { timeoutSeconds: 120, device: 'cpu' });
try {
  const result = await tasks[name](
    {
      collectives: world?.collectives ?? alone,
      gradients: world?.gradients ?? alone,
      ...(world && { world }),
    },
    JSON.parse(argument) as never,
  );
  await new Promise((resolve) => process.stdout.write(JSON.stringify(result), resolve));
} catch (error) {
  const said = world === undefined ? error : await world.fail(error);
  process.stderr.write(`${said instanceof Error ? said.stack : said}\n`);
  process.exit(1);
}
await world?.leave();
process.exit(0);
