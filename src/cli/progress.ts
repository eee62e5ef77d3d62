/** Progress on stderr: a bar with rate and time left on a terminal, a plain line now and then elsewhere. */

import { SingleBar } from 'cli-progress';
import type { Progress, ProgressExtras, ProgressOptions } from './command.js';

/** Where progress goes; a part of `process.stderr`. */
export interface ProgressStream extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** Plain lines come at most this often, and at least at every tenth of the whole. */
const LINE_SECONDS = 10;
const LINE_FRACTION = 0.1;
const LEAST_SECONDS = 1;
/** The rate is that of the last half minute, so that it follows a change. */
const RATE_SECONDS = 30;

/** A progress that shows itself on `stream`; `now` in seconds. */
export function startProgress(
  total: number,
  options: ProgressOptions,
  stream: ProgressStream,
  now: () => number = () => performance.now() / 1000,
): Progress & { clear(): void } {
  const meter = new Meter(total, options, now);
  return stream.isTTY === true ? new BarProgress(meter, stream) : new LineProgress(meter, stream);
}

/** Counts, rates and their words; knows no screen. */
class Meter {
  done: number;
  extras: ProgressExtras = {};
  readonly started: number;
  private readonly samples: { time: number; done: number }[];

  constructor(
    readonly total: number,
    readonly options: ProgressOptions,
    readonly now: () => number,
  ) {
    this.done = options.start ?? 0;
    this.started = now();
    this.samples = [{ time: this.started, done: this.done }];
  }

  update(done: number, extras: ProgressExtras | undefined): void {
    this.done = done;
    if (extras !== undefined) this.extras = extras;
    const time = this.now();
    this.samples.push({ time, done });
    while (this.samples.length > 2 && time - this.samples[1].time > RATE_SECONDS) this.samples.shift();
  }

  get fraction(): number {
    return this.total > 0 ? Math.min(1, this.done / this.total) : 0;
  }

  /** Units per second over the last samples; 0 while unknown. */
  get rate(): number {
    const first = this.samples[0];
    const last = this.samples[this.samples.length - 1];
    return last.time > first.time ? Math.max(0, (last.done - first.done) / (last.time - first.time)) : 0;
  }

  /** "34%  340/1000  70.2 images/s  ETA 0:09  loss 8.12" without the label. */
  text(): string {
    const unit = this.options.unit ?? '';
    const rate = this.rate;
    const parts =
      this.total > 0
        ? [`${Math.floor(this.fraction * 100)}%`.padStart(4), `${this.done}/${this.total}`]
        : [`${this.done}${unit === '' ? '' : ` ${unit}`}`];
    if (rate > 0) parts.push(`${formatNumber(rate)} ${unit === '' ? '' : unit}/s`.replace(' /s', '/s'));
    if (this.total > 0 && this.done < this.total) {
      if (rate > 0) parts.push(`ETA ${formatDuration((this.total - this.done) / rate)}`);
    } else {
      parts.push(`in ${formatDuration(this.now() - this.started)}`);
    }
    for (const [name, value] of Object.entries(this.extras))
      parts.push(`${name} ${typeof value === 'number' ? formatNumber(value) : value}`);
    return parts.join('  ');
  }
}

class BarProgress implements Progress {
  private readonly bar: SingleBar;
  private isStopped = false;

  constructor(
    private readonly meter: Meter,
    private readonly stream: ProgressStream,
  ) {
    this.bar = new SingleBar({
      stream,
      format: () => this.line(),
      hideCursor: true,
      fps: 8,
      linewrap: false,
      gracefulExit: false,
      stopOnComplete: false,
      forceRedraw: true,
      emptyOnZero: true,
    });
    this.bar.start(Math.max(1, meter.total), meter.done);
  }

  update(done: number, extras?: ProgressExtras): void {
    if (this.isStopped) return;
    this.meter.update(done, extras);
    this.bar.update(done);
  }

  stop(): void {
    if (this.isStopped) return;
    this.isStopped = true;
    // The bar ends by going back to where the cursor was saved at its start; lines logged since have moved that.
    this.stream.write('\u001b7');
    this.bar.stop();
  }

  /** Makes room for a line of text; the bar comes back at its next redraw. */
  clear(): void {
    if (!this.isStopped) this.stream.write('\r\u001b[K');
  }

  private line(): string {
    const width = 24;
    const filled = Math.round(this.meter.fraction * width);
    const bar = this.meter.total > 0 ? `${'█'.repeat(filled)}${'░'.repeat(width - filled)} ` : '';
    const line = `${this.meter.options.label}  ${bar}${this.meter.text()}`;
    const columns = this.stream.columns ?? 0;
    return columns > 1 ? line.slice(0, columns - 1) : line;
  }
}

class LineProgress implements Progress {
  private shownAt: number;
  private shownFraction: number;
  private hasNews = false;
  private isStopped = false;

  constructor(
    private readonly meter: Meter,
    private readonly stream: ProgressStream,
  ) {
    this.shownAt = meter.started;
    this.shownFraction = meter.fraction;
  }

  update(done: number, extras?: ProgressExtras): void {
    if (this.isStopped) return;
    this.meter.update(done, extras);
    this.hasNews = true;
    const elapsed = this.meter.now() - this.shownAt;
    const isFar = this.meter.fraction - this.shownFraction >= LINE_FRACTION && elapsed >= LEAST_SECONDS;
    if (elapsed >= LINE_SECONDS || isFar) this.show();
  }

  stop(): void {
    if (this.isStopped) return;
    if (this.hasNews) this.show();
    this.isStopped = true;
  }

  clear(): void {}

  private show(): void {
    this.stream.write(`${this.meter.options.label}  ${this.meter.text().trimStart()}\n`);
    this.shownAt = this.meter.now();
    this.shownFraction = this.meter.fraction;
    this.hasNews = false;
  }
}

/** Four digits that count; whole numbers stay whole. */
export function formatNumber(value: number): string {
  if (Number.isInteger(value) || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1000) return value.toFixed(0);
  if (size >= 100) return value.toFixed(1);
  if (size >= 1) return value.toFixed(2);
  return size >= 0.001 ? value.toFixed(4) : value.toExponential(2);
}

/** Seconds as "0:09", "12:05" or "3:04:10". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(value).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}
