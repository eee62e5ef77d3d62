// The kernels for machines with AVX2; see kernels-body.h.
#ifdef __x86_64__
#define ESVIT_LANES 8
#define ESVIT_KERNELS avx2Kernels
#define ESVIT_KERNELS_NAME "avx2"
#include "kernels-body.h"
#endif
