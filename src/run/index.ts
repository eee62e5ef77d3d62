/** The run folder: the only thing that a trainer and whoever watches it share. */

export { type LogEntry, RunFolder, type RunStatus, readEntries } from './run-folder.js';
