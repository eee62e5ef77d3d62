// The kernels for machines with AVX512; see kernels-body.h.
#ifdef __x86_64__
#define ESVIT_LANES 16
#define ESVIT_KERNELS avx512Kernels
#define ESVIT_KERNELS_NAME "avx512"
#include "kernels-body.h"
#endif
