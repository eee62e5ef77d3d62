/** The classes of objects; each is drawn by seed with its own variation of parts. */

import { bird } from './objects/bird.js';
import { boat } from './objects/boat.js';
import { car } from './objects/car.js';
import { clock } from './objects/clock.js';
import { cup } from './objects/cup.js';
import { fish } from './objects/fish.js';
import { flower } from './objects/flower.js';
import { house } from './objects/house.js';
import { key } from './objects/key.js';
import { tree } from './objects/tree.js';
import type { ObjectMaker } from './part.js';

/** Class name -> maker, in the order of the class indices. */
export const OBJECTS = {
  fish,
  house,
  tree,
  car,
  cup,
  bird,
  flower,
  boat,
  key,
  clock,
} as const satisfies Record<string, ObjectMaker>;

export type ObjectClass = keyof typeof OBJECTS;

export const OBJECT_CLASSES = Object.keys(OBJECTS) as ObjectClass[];
