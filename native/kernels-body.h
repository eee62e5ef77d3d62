// The kernels, for vectors of ESVIT_LANES floats; included once for each width, in a namespace of its own each time.
// No function of the standard library is used here: the linker might take its copy for wide vectors into code that
// runs on every machine.
#include "kernels.h"

namespace esvit {
namespace {

constexpr int kLanes = ESVIT_LANES;
using Vector = float __attribute__((vector_size(4 * kLanes)));
using Bits = uint32_t __attribute__((vector_size(4 * kLanes)));
using Signed = int32_t __attribute__((vector_size(4 * kLanes)));
using LooseVector = float __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
using LooseHalves = uint16_t __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

inline int64_t roundUp(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

inline Vector splat(float x) { return x - Vector{}; }

inline Vector load(const float* p) { return *reinterpret_cast<const LooseVector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<LooseVector*>(p) = v; }

inline Vector load(const Half* p) {
  return reinterpret_cast<Vector>(__builtin_convertvector(*reinterpret_cast<const LooseHalves*>(p), Bits) << 16);
}
// To the nearest, ties to even; not-a-numbers stay such.
inline void store(Half* p, Vector v) {
  const Bits bits = reinterpret_cast<Bits>(v);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Bits odd = reinterpret_cast<Bits>(v != v);
  *reinterpret_cast<LooseHalves*>(p) = __builtin_convertvector((rounded & ~odd) | (odd & 0x7fc0), LooseHalves);
}

inline float loadOne(const float* p) { return *p; }
inline void storeOne(float* p, float x) { *p = x; }
inline float loadOne(const Half* p) {
  const uint32_t bits = static_cast<uint32_t>(*p) << 16;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
inline void storeOne(Half* p, float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  *p = x != x ? 0x7fc0 : static_cast<Half>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The elements of a and b, counted one after the other, that `places` names.
inline Vector shuffled(Vector a, Vector b, Signed places) {
#ifdef __clang__
  Vector result;
  for (int i = 0; i < kLanes; i++) result[i] = places[i] < kLanes ? a[places[i]] : b[places[i] - kLanes];
  return result;
#else
  return __builtin_shuffle(a, b, places);
#endif
}

inline float sumOf(Vector v) {
  float sum = 0;
  for (int i = 0; i < kLanes; i++) sum += v[i];
  return sum;
}

inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

inline Vector rootOf(Vector v) {
  for (int i = 0; i < kLanes; i++) v[i] = __builtin_sqrtf(v[i]);
  return v;
}

inline float largestOf(Vector v) {
  float most = v[0];
  for (int i = 1; i < kLanes; i++) most = v[i] > most ? v[i] : most;
  return most;
}

// e^x for x <= 0, as 2^n e^r with |r| <= ln(2)/2 and e^r by its series; 0 below -87.
inline Vector exponential(Vector x) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole number
  const auto below = x < splat(-87.0f);  // not so for what is not a number, which stays such
  const Vector safe = below ? splat(-87.0f) : x;
  const Vector shifted = safe * 1.44269504f + kShift;
  const Vector n = shifted - kShift;
  const Vector r = (safe - n * 0.693145752f) - n * 1.42860677e-6f;  // ln(2) in two parts; the first has 16 bits
  Vector p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Signed power = (reinterpret_cast<Signed>(shifted) - 0x4b400000 + 127) << 23;
  return p * reinterpret_cast<Vector>(power & ~reinterpret_cast<Signed>(below));
}

#include "kernels-rows.h"
#include "kernels-attention.h"

template <class T>
constexpr TypedKernels<T> typed() {
  return {layerNorm<T>,   layerNormBackward<T>, gelu<T>,    geluBackward<T>, weightNorm<T>, weightNormBackward<T>,
          crossEntropy<T>, sharpen<T>,           attention<T>, attentionBackward<T>};
}

}  // namespace

extern const Kernels ESVIT_KERNELS;
const Kernels ESVIT_KERNELS = {ESVIT_KERNELS_NAME, typed<float>(), typed<Half>(), adamw, movingAverage, paddedLength, attentionScratch};

}  // namespace esvit
