/** The demo's report: plain data in, one self-contained page and its figures out. */

export { type ReportFigures, reportFigures, standardError } from './figures.js';
export { buildReport, reportPngs, type Summary, summarise } from './report.js';
export type {
  CorrespondencePanel,
  CropRow,
  Curve,
  KnnResult,
  KnnRow,
  Neighbour,
  NeighbourRow,
  ReportData,
  TrainingCurves,
} from './report-data.js';
export { type DemoEvents, type DemoOptions, type DemoResult, runDemo } from './story.js';
