/** The processes of a run, and what they exchange. */

export { hasCollectives } from './binding.js';
export {
  alone,
  type Collectives,
  PeerError,
  ProcessGroup,
  syncBatchNorm,
  type Work,
} from './collectives.js';
export { isStartedAnew, type Placement, readPlacement } from './environment.js';
export { type ExchangeOptions, type ExchangeStats, GradientExchange } from './exchange.js';
export { describeFailure, type Failure, RunFailure } from './failure.js';
export { gatherRows, gatherValues, sharedValue, sumValues } from './gather.js';
export { Launcher, type LaunchOptions, type LaunchResult } from './launcher.js';
export { hostsOf } from './slurm.js';
export { Store } from './store.js';
export { type JoinOptions, World } from './world.js';
