// How arithmetic on pixels is compiled: with Pillow's roundings, and for wide vectors where the processor has them.
#pragma once

// Fused multiply-adds round once where Pillow rounds twice.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

// Compiled once for every x86-64 and once for AVX2; the loader of the library picks one.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define ESVIT_WIDE __attribute__((target_clones("avx2", "default"), noinline))
#else
#define ESVIT_WIDE
#endif
