// Which code for which kind of GPU: a host takes what is left when there is none. In place of nv/target, as
// cuda-words.h is of another.
#pragma once

#define NV_IF_ELSE_TARGET(condition, onDevice, otherwise) otherwise
#define NV_IF_TARGET(condition, ...)
