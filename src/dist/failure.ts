/** The end of a run by one rank's fault: who, where, when and why. */

import { messageOf, UserError } from '../errors.js';
import { PeerError } from './collectives.js';

/** What everybody is told; the first report counts. */
export interface Failure {
  rank: number;
  host: string;
  /** steps it had done; -1 before the first */
  step: number;
  reason: string;
  /** exit code of the process that failed, where it is its own mistake */
  exitCode?: number;
}

export function describeFailure({ rank, host, step, reason }: Failure): string {
  const when = step < 0 ? 'before the first step' : `at step ${step}`;
  return `rank ${rank} on ${host} failed ${when}: ${/[.!?]$/.test(reason) ? reason : `${reason}.`}`;
}

/** A failure of the run as a whole; the same words on every rank. */
export class RunFailure extends UserError {
  constructor(
    readonly failure: Failure,
    options?: { cause?: unknown },
  ) {
    super(failure.exitCode === 2 ? 'config' : 'training', describeFailure(failure), options);
  }
}

/** Whether the fault lies with another rank: a collective failed, here or inside of backward. */
export function isPeerFailure(error: unknown): boolean {
  if (error instanceof PeerError) return true;
  if (error instanceof UserError) return false;
  return /\bgloo\b|\bNCCL\b|TCPStore|Connection (closed|reset) by peer|Broken pipe/i.test(messageOf(error));
}

/** What a rank last said of itself. */
export interface Beat {
  /** counts up while the process lives */
  count: number;
  step: number;
  /** what it is at */
  state: string;
}

export function readBeat(text: string | undefined): Beat | undefined {
  const found = /^(\d+) (-?\d+) (.*)$/s.exec(text ?? '');
  return found === null ? undefined : { count: Number(found[1]), step: Number(found[2]), state: found[3] };
}

/** The state of a rank that waits in vain for another. */
export const LOST = 'waiting for another rank in vain';

/**
 * Which rank is to blame, from two looks at what all say of themselves some seconds apart: one that fell silent, else
 * one that is alive but at something else than waiting. undefined where all look well.
 */
export function findCulprit(
  before: readonly (Beat | undefined)[],
  after: readonly (Beat | undefined)[],
  hosts: readonly string[],
): Failure | undefined {
  const report = (rank: number, reason: string): Failure => ({
    rank,
    host: hosts[rank],
    step: after[rank]?.step ?? -1,
    reason,
  });
  const silent = after.findIndex((beat, rank) => beat === undefined || beat.count === before[rank]?.count);
  if (silent >= 0)
    return report(
      silent,
      `it answers no more (last seen ${after[silent]?.state ?? 'starting'}); its process died or was stopped, or its machine or the network is gone`,
    );
  const hung = after.findIndex((beat) => beat?.state !== LOST);
  if (hung >= 0)
    return report(
      hung,
      `it hangs while ${after[hung]?.state}, and the others waited for it until their time was up`,
    );
  return undefined;
}
