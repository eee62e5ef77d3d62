// Which kernels this machine runs.
#include "kernels.h"

#include <cstring>

namespace esvit {

extern const Kernels plainKernels;
#ifdef __x86_64__
extern const Kernels avx2Kernels;
extern const Kernels avx512Kernels;
#endif

const Kernels* kernelsNamed(const char* name) {
  if (std::strcmp(name, "plain") == 0) return &plainKernels;
#ifdef __x86_64__
  const bool narrow = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (std::strcmp(name, "avx2") == 0 && narrow) return &avx2Kernels;
  const bool wide = narrow && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (std::strcmp(name, "avx512") == 0 && wide) return &avx512Kernels;
#endif
  return nullptr;
}

const Kernels& kernels() {
  static const Kernels& chosen = []() -> const Kernels& {
    if (const Kernels* wide = kernelsNamed("avx512")) return *wide;
    if (const Kernels* narrow = kernelsNamed("avx2")) return *narrow;
    return plainKernels;
  }();
  return chosen;
}

}  // namespace esvit
