/** Numbers to pictures: heat maps, contact sheets, match lines, charts and report pages; knows no tensors. */

export {
  blank,
  checkPicture,
  enlarge,
  fromPlanar,
  type Picture,
  paste,
  type Rgb,
  resample,
} from './picture.js';
