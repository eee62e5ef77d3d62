/** Size, cost and speed of networks on this machine. */

export { type Cost, countCost } from './count.js';
export { type NetworkProfile, type ProfileOptions, profileNetwork, type Speed } from './measure.js';
export { PUBLISHED, PUBLISHED_SOURCE, type PublishedResult } from './published.js';
export {
  PROFILE_HEAD,
  PROFILE_NOTE,
  PUBLISHED_HEAD,
  profileFigure,
  profilePage,
  profileRow,
  publishedRows,
} from './report.js';
