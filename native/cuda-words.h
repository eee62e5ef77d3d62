// Words of CUDA's headers as a plain C++ compiler takes them: for code on the host most mean nothing. In place of
// crt/host_defines.h where a CUDA without its compiler, as in Python's packages, leaves it out (CMakeLists.txt).
#pragma once

#define __host__
#define __device__
#define __global__
#define __shared__
#define __constant__
#define __managed__
#define __grid_constant__
#define __nv_pure__
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __cudart_builtin__
#define __specialization_static
#define __location__(word)
#define __annotate__(word)
#define CUDARTAPI
#define CUDARTAPI_CDECL

#ifndef __forceinline__
#define __forceinline__ inline __attribute__((always_inline))
#endif
#define __no_return__ __attribute__((noreturn))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __builtin_align__(bytes) __align__(bytes)
