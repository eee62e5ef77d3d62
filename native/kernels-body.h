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

inline float largestOf(Vector v) {
  float most = v[0];
  for (int i = 1; i < kLanes; i++) most = v[i] > most ? v[i] : most;
  return most;
}

// e^x for x <= 0, as 2^n e^r with |r| <= ln(2)/2 and e^r by its series; 0 below -87.
inline Vector exponential(Vector x) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to a whole number
  const Vector safe = larger(x, splat(-87.0f));
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
  const Signed kept = reinterpret_cast<Signed>(x >= splat(-87.0f));
  return p * reinterpret_cast<Vector>(power & kept);
}

// ---- layer norm

template <class T>
void layerNorm(const T* x, const float* weight, const float* bias, T* y, float* mean, float* rstd, int64_t rows,
               int64_t width, float eps) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t row = 0; row < rows; row++, x += width, y += width) {
    Vector sums = splat(0);
    for (int64_t i = 0; i < whole; i += kLanes) sums += load(x + i);
    float sum = sumOf(sums);
    for (int64_t i = whole; i < width; i++) sum += loadOne(x + i);
    const float m = sum / static_cast<float>(width);
    Vector squares = splat(0);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const Vector away = load(x + i) - m;
      squares += away * away;
    }
    float square = sumOf(squares);
    for (int64_t i = whole; i < width; i++) square += (loadOne(x + i) - m) * (loadOne(x + i) - m);
    const float r = 1.0f / __builtin_sqrtf(square / static_cast<float>(width) + eps);
    for (int64_t i = 0; i < whole; i += kLanes) store(y + i, (load(x + i) - m) * r * load(weight + i) + load(bias + i));
    for (int64_t i = whole; i < width; i++) storeOne(y + i, (loadOne(x + i) - m) * r * weight[i] + bias[i]);
    mean[row] = m;
    rstd[row] = r;
  }
}

template <class T>
void layerNormBackward(const T* dy, const T* x, const float* weight, const float* mean, const float* rstd, T* dx,
                       float* weightGradient, float* biasGradient, int64_t rows, int64_t width) {
  const int64_t whole = width / kLanes * kLanes;
  for (int64_t row = 0; row < rows; row++, x += width, dy += width, dx += width) {
    const float m = mean[row], r = rstd[row];
    Vector sums = splat(0), products = splat(0);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const Vector d = load(dy + i), normal = (load(x + i) - m) * r, own = d * load(weight + i);
      sums += own;
      products += own * normal;
      store(weightGradient + i, load(weightGradient + i) + d * normal);
      store(biasGradient + i, load(biasGradient + i) + d);
    }
    float sum = sumOf(sums), product = sumOf(products);
    for (int64_t i = whole; i < width; i++) {
      const float d = loadOne(dy + i), normal = (loadOne(x + i) - m) * r;
      sum += d * weight[i];
      product += d * weight[i] * normal;
      weightGradient[i] += d * normal;
      biasGradient[i] += d;
    }
    sum /= static_cast<float>(width);
    product /= static_cast<float>(width);
    for (int64_t i = 0; i < whole; i += kLanes) {
      const Vector normal = (load(x + i) - m) * r;
      store(dx + i, (load(dy + i) * load(weight + i) - sum - normal * product) * r);
    }
    for (int64_t i = whole; i < width; i++) {
      const float normal = (loadOne(x + i) - m) * r;
      storeOne(dx + i, (loadOne(dy + i) * weight[i] - sum - normal * product) * r);
    }
  }
}

// ---- GELU

// Φ(x), the normal distribution, by Abramowitz and Stegun 7.1.26, off by less than 1e-7; density: e^(-x²/2).
inline Vector normal(Vector x, Vector& density) {
  const Vector size = larger(x, -x);
  density = exponential(size * size * -0.5f);
  const Vector t = 1.0f / (size * (0.3275911f * 0.70710678f) + 1.0f);
  Vector p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Vector tail = p * t * density * 0.5f;
  return x >= splat(0) ? 1.0f - tail : tail;
}

inline Vector geluOf(Vector x) {
  Vector density;
  return x * normal(x, density);
}

inline Vector geluSlope(Vector x) {
  Vector density;
  const Vector below = normal(x, density);
  return below + x * density * 0.39894228f;  // 1/√(2π)
}

// What is left over at the end of a row, filled up with zeros.
template <class T>
inline Vector loadSome(const T* p, int64_t count) {
  Vector v = splat(0);
  for (int64_t i = 0; i < count; i++) v[i] = loadOne(p + i);
  return v;
}
template <class T>
inline void storeSome(T* p, Vector v, int64_t count) {
  for (int64_t i = 0; i < count; i++) storeOne(p + i, v[i]);
}

template <class T>
void gelu(const T* x, T* y, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) store(y + i, geluOf(load(x + i)));
  if (whole < count) storeSome(y + whole, geluOf(loadSome(x + whole, count - whole)), count - whole);
}

template <class T>
void geluBackward(const T* dy, const T* x, T* dx, int64_t count) {
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) store(dx + i, load(dy + i) * geluSlope(load(x + i)));
  const int64_t rest = count - whole;
  if (rest > 0) storeSome(dx + whole, loadSome(dy + whole, rest) * geluSlope(loadSome(x + whole, rest)), rest);
}

#include "kernels-attention.h"

template <class T>
constexpr TypedKernels<T> typed() {
  return {layerNorm<T>, layerNormBackward<T>, gelu<T>, geluBackward<T>, attention<T>, attentionBackward<T>};
}

}  // namespace

extern const Kernels ESVIT_KERNELS;
const Kernels ESVIT_KERNELS = {ESVIT_KERNELS_NAME, typed<float>(), typed<Half>(), paddedLength, attentionScratch};

}  // namespace esvit
