/** Numbers to pictures: heat maps, contact sheets, match lines, charts and report pages; knows no tensors. */

export {
  type Bar,
  type BarChartOptions,
  barChart,
  type LineChartOptions,
  lineChart,
  type ReferenceLine,
  type Series,
  smoothed,
} from './chart.js';
export { type ColourMapName, cssColour, mapColour, SERIES_COLOURS } from './colour-map.js';
export {
  contactSheet,
  type Mark,
  type SheetCell,
  type SheetOptions,
  type SheetRow,
} from './contact-sheet.js';
export { type CorrespondenceOptions, correspondenceFigure, type Match } from './correspondence.js';
export { type DotChartOptions, dotChart } from './dot-chart.js';
export {
  colourBar,
  type Grid,
  type HeatOptions,
  heatFigure,
  heatMap,
  type OverlayOptions,
  overlay,
} from './heat-map.js';
export { maskedPicture } from './mask.js';
export { type Block, htmlPage, type Page, type Section } from './page.js';
export { type Panel, type PanelLayout, panelFigure } from './panels.js';
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
export { dataUri, encodePng, figurePng, type PngOptions } from './png.js';
export { type ScatterOptions, type ScatterPoint, scatterChart } from './scatter.js';
export { element, escapeXml, type Figure, figure, label } from './svg.js';
