// The kernels for any machine; see kernels-body.h.
#define ESVIT_LANES 4
#define ESVIT_KERNELS plainKernels
#define ESVIT_KERNELS_NAME "plain"
#include "kernels-body.h"
