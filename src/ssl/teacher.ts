/** The teacher: a slowly moving average of the student (DINO, section 3.1). */

import type { Module } from '../nn/index.js';
import { averagePass, foreachAdd_, foreachMul_, noGrad } from '../torch/index.js';

/**
 * teacher <- momentum * teacher + (1 - momentum) * student, parameter by parameter. Buffers are left alone, as
 * in the original: the teacher's batch norms keep statistics of their own.
 */
export function moveTeacher(teacher: Module, student: Module, momentum: number): void {
  noGrad(() => {
    const [targets, values] = [teacher.parameters(), student.parameters()];
    if (averagePass(targets, values, momentum)) return;
    foreachMul_(targets, momentum);
    foreachAdd_(targets, values, { alpha: 1 - momentum });
  });
}

/** Makes the teacher equal to the student, and untrainable. */
export function startTeacher(teacher: Module, student: Module): void {
  teacher.loadStateDict(student.stateDict());
  for (const parameter of teacher.parameters()) parameter.requiresGrad = false;
}
