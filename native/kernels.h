// Loops for CPUs that libtorch has not, or not in one pass; kernels-body.h is compiled for several vector widths.
#pragma once

#include <cstdint>

namespace esvit {

// bfloat16 as it lies in memory.
using Half = uint16_t;

// A map of tokens with queries, keys and values, seen through cyclically shifted windows.
struct WindowMap {
  int64_t batch, height, width;
  int64_t heads, headDim;
  int64_t window, shift;  // in tokens
  float scale;            // of the queries

  int64_t channels() const { return heads * headDim; }
  int64_t rows() const { return (height + window - 1) / window; }  // of windows
  int64_t columns() const { return (width + window - 1) / window; }
  int64_t windows() const { return batch * rows() * columns(); }
  int64_t length() const { return window * window; }
};

// m <- beta1 m + rest1 g, v <- beta2 v + rest2 g², p <- decay p - rate m / (correction √v + eps)
struct AdamWSettings {
  float decay, beta1, rest1, beta2, rest2, correction, eps, rate;
};

// T is float or Half. All tensors are contiguous; sums, statistics and probabilities are float32.
template <class T>
struct TypedKernels {
  // y = (x - mean) * rstd * weight + bias for rows of `width`
  void (*layerNorm)(const T* x, const float* weight, const float* bias, T* y, float* mean, float* rstd, int64_t rows,
                    int64_t width, float eps);
  // Adds to weightGradient and biasGradient [width].
  void (*layerNormBackward)(const T* dy, const T* x, const float* weight, const float* mean, const float* rstd, T* dx,
                            float* weightGradient, float* biasGradient, int64_t rows, int64_t width);

  // y = x Φ(x) with the normal distribution's Φ, and dx = dy (Φ(x) + x φ(x))
  void (*gelu)(const T* x, T* y, int64_t count);
  void (*geluBackward)(const T* dy, const T* x, T* dx, int64_t count);

  // w = gain v / |v| for rows of `width`, with the rows' |v|, and its gradients
  void (*weightNorm)(const float* v, const float* gain, T* w, float* norms, int64_t rows, int64_t width);
  void (*weightNormBackward)(const T* dw, const float* v, const float* gain, const float* norms, float* dv, float* dgain,
                             int64_t rows, int64_t width);

  // Rows of the loss (kernels-rows.h).
  float (*crossEntropy)(const T* x, const float* q, float factor, float total, float weight, T* gradient, float* scratch,
                        int64_t width);
  void (*sharpen)(const T* x, const float* center, float factor, float* out, int64_t width);

  // qkv: [batch, height, width, 3, heads, headDim] -> out: [batch, height, width, heads, headDim], for windows
  // [first, last). outside: [3, heads, headDim] of a token outside the map; bias: [heads, L, paddedLength(L)].
  void (*attention)(const WindowMap& map, const T* qkv, const float* outside, const float* bias, T* out, int64_t first,
                    int64_t last, float* scratch);
  // Adds to outsideGradient and biasGradient, which have the shapes of outside and bias; writes dqkv.
  void (*attentionBackward)(const WindowMap& map, const T* dout, const T* qkv, const float* outside, const float* bias,
                            T* dqkv, float* outsideGradient, float* biasGradient, int64_t first, int64_t last,
                            float* scratch);
};

struct Kernels {
  const char* name;
  TypedKernels<float> wide;
  TypedKernels<Half> half;
  void (*adamw)(const AdamWSettings& settings, float* p, const float* g, float* m, float* v, int64_t count);
  void (*movingAverage)(float momentum, float rest, float* x, const float* y, int64_t count);
  // A row of a window's bias is this long; what is beyond L must be -infinity.
  int64_t (*paddedLength)(int64_t length);
  // floats that attention and its backward work in
  int64_t (*scratch)(const WindowMap& map);

  const TypedKernels<float>& of(float) const { return wide; }
  const TypedKernels<Half>& of(Half) const { return half; }
};

// The kernels for the widest vectors of this machine, or by name: "plain", "avx2", "avx512"; null where it has none such.
const Kernels& kernels();
const Kernels* kernelsNamed(const char* name);

}  // namespace esvit
