/** Starts worker.ts where the project runs from its TypeScript sources (tests, benches); not part of a build. */

import { register } from 'tsx/esm/api';

register();
await import('./worker.ts');
