// Two passes, across and then down, with integer coefficients of 22 fractional bits and a rounding to 8 bits
// after each: the arithmetic of Pillow, on which the augmentations of torchvision stand.
#include "resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#define ESVIT_AVX2 1
#include <immintrin.h>
#endif

namespace esvit {
namespace {

constexpr int kBits = 22;      // 32 bits less 8 of the pixel and 2 of headroom
constexpr int kSplit = 11;     // coefficient = high * 2^11 + low, so that both halves fit 16-bit products
constexpr int kRound = 1 << (kBits - 1);
constexpr int64_t kStripBytes = 1 << 20;  // rows between the passes that are held at a time

double sinc(double x) {
  if (x == 0) return 1;
  x *= M_PI;
  return std::sin(x) / x;
}

struct Box {
  static constexpr double support = 0.5;
  static double at(double x) { return x > -0.5 && x <= 0.5 ? 1 : 0; }
};

struct Bilinear {
  static constexpr double support = 1;
  static double at(double x) { return std::max(1 - std::fabs(x), 0.0); }
};

struct Bicubic {
  static constexpr double support = 2;
  static double at(double x) {
    constexpr double a = -0.5;
    const double d = std::fabs(x);
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
  }
};

struct Lanczos {
  static constexpr double support = 3;
  static double at(double x) { return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0; }
};

// For each output position of one axis: the first input position, how many, and their coefficients.
struct Axis {
  int64_t count = 0;
  int taps = 0;  // room for coefficients a position, a multiple of 4
  std::vector<int32_t> first, used, weights;
  std::vector<int16_t> split;  // per 4 taps: 4 high halves, then 4 low halves; zeros behind the last

  void build(int64_t input, int64_t output, int64_t from, int64_t to, Filter filter) {
    switch (filter) {
      case Filter::kBox: return fill<Box>(input, output, from, to);
      case Filter::kBilinear: return fill<Bilinear>(input, output, from, to);
      case Filter::kBicubic: return fill<Bicubic>(input, output, from, to);
      default: return fill<Lanczos>(input, output, from, to);
    }
  }

 private:
  std::vector<double> exact;

  template <class Kernel>
  void fill(int64_t input, int64_t output, int64_t from, int64_t to) {
    count = to - from;
    const double scale = static_cast<double>(input) / static_cast<double>(output);
    const double stretch = std::max(scale, 1.0);
    const double support = Kernel::support * stretch;
    const double inverse = 1 / stretch;
    taps = (static_cast<int>(std::ceil(support)) * 2 + 1 + 3) & ~3;
    first.resize(count);
    used.resize(count);
    weights.resize(count * taps);
    split.resize(count * taps * 2);
    exact.resize(taps);
    for (int64_t i = 0; i < count; i++) {
      const double center = (static_cast<double>(from + i) + 0.5) * scale;
      const int64_t low = std::max<int64_t>(static_cast<int64_t>(center - support + 0.5), 0);
      const int64_t high = std::min<int64_t>(static_cast<int64_t>(center + support + 0.5), input);
      const int n = static_cast<int>(high - low);
      double sum = 0;
      for (int k = 0; k < n; k++) {
        exact[k] = Kernel::at((static_cast<double>(low + k) - center + 0.5) * inverse);
        sum += exact[k];
      }
      if (sum == 0) sum = 1;
      first[i] = static_cast<int32_t>(low);
      used[i] = n;
      int32_t* weight = &weights[i * taps];
      int16_t* halves = &split[i * taps * 2];
      for (int k = 0; k < ((n + 3) & ~3); k++) {
        int32_t w = 0;
        if (k < n) {
          const double share = exact[k] / sum * (1 << kBits);
          w = weight[k] = static_cast<int32_t>(share < 0 ? share - 0.5 : share + 0.5);
        }
        int16_t* group = halves + (k & ~3) * 2 + (k & 3);
        group[0] = static_cast<int16_t>(w >> kSplit);
        group[4] = static_cast<int16_t>(w & ((1 << kSplit) - 1));
      }
    }
  }
};

inline uint8_t toByte(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

// Output pixel p of a row is position `order(p)` of the axis.
inline int64_t mirrored(int64_t p, int64_t count, bool flip) { return flip ? count - 1 - p : p; }

void acrossPlain(const uint8_t* source, int64_t stride, int64_t rows, const Axis& axis, bool flip,
                 uint8_t* rowTarget, int64_t targetStride) {
  for (int64_t row = 0; row < rows; row++, source += stride, rowTarget += targetStride) {
    uint8_t* target = rowTarget;
    for (int64_t p = 0; p < axis.count; p++, target += 3) {
      const int64_t i = mirrored(p, axis.count, flip);
      const uint8_t* pixel = source + axis.first[i] * 3;
      const int32_t* weight = &axis.weights[i * axis.taps];
      int32_t red = kRound, green = kRound, blue = kRound;
      for (int k = 0; k < axis.used[i]; k++, pixel += 3) {
        red += pixel[0] * weight[k];
        green += pixel[1] * weight[k];
        blue += pixel[2] * weight[k];
      }
      target[0] = toByte(red);
      target[1] = toByte(green);
      target[2] = toByte(blue);
    }
  }
}

void downPlain(const uint8_t* rows, int64_t stride, int64_t from, int64_t to, const int32_t* weight, int used,
               uint8_t* target) {
  constexpr int64_t kBlock = 512;
  int32_t sums[kBlock];
  for (int64_t start = from; start < to; start += kBlock) {
    const int64_t n = std::min(kBlock, to - start);
    std::fill_n(sums, n, kRound);
    for (int k = 0; k < used; k++) {
      const uint8_t* row = rows + k * stride + start;
      for (int64_t x = 0; x < n; x++) sums[x] += row[x] * weight[k];
    }
    for (int64_t x = 0; x < n; x++) target[start + x] = toByte(sums[x]);
  }
}

#ifdef ESVIT_AVX2

#define ESVIT_TARGET __attribute__((target("avx2")))

const bool hasAvx2 = __builtin_cpu_supports("avx2");

ESVIT_TARGET inline __m256i joinHalves(__m256i high, __m256i low) {
  return _mm256_add_epi32(_mm256_slli_epi32(high, kSplit), low);
}

// The sums of one pixel of two rows; in each, taps 0,1 lie in the lower half and taps 2,3 in the upper.
ESVIT_TARGET inline __m256i finishPair(__m256i high0, __m256i low0, __m256i high1, __m256i low1) {
  const __m256i a = joinHalves(high0, low0), b = joinHalves(high1, low1);
  const __m256i sum =
      _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
  return _mm256_srai_epi32(sum, kBits);
}

inline void store4(uint8_t* target, int32_t pixel) { std::memcpy(target, &pixel, 4); }

// One output pixel of several rows at once; each step takes four taps of three channels. Reads 16 bytes from
// the first byte of every group of four taps, and writes one byte behind each row.
template <int kRows>
ESVIT_TARGET void acrossRows(const uint8_t* source, int64_t stride, const Axis& axis, bool flip,
                             uint8_t* target, int64_t targetStride) {
  // Bytes of taps (0,1) and (2,3), channel by channel, widened to 16 bits.
  const __m256i spread = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
                                          6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  const __m256i pickHigh = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  const __m256i pickLow = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
  const __m256i half = _mm256_setr_epi32(kRound, kRound, kRound, kRound, 0, 0, 0, 0);
  const int32_t* firsts = axis.first.data();
  const int32_t* used = axis.used.data();
  const int16_t* split = axis.split.data();
  const int64_t splitStride = axis.taps * 2, count = axis.count;
  for (int64_t p = 0; p < count; p++) {
    const int64_t i = mirrored(p, count, flip);
    const uint8_t* pixel = source + firsts[i] * 3;
    const int16_t* group = split + i * splitStride;
    const int groups = (used[i] + 3) >> 2;
    __m256i high[kRows], low[kRows];
    for (int r = 0; r < kRows; r++) {
      high[r] = _mm256_setzero_si256();
      low[r] = half;
    }
    for (int g = 0; g < groups; g++, pixel += 12, group += 8) {
      const __m256i weights =
          _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(group)));
      const __m256i highWeights = _mm256_permutevar8x32_epi32(weights, pickHigh);
      const __m256i lowWeights = _mm256_permutevar8x32_epi32(weights, pickLow);
      for (int r = 0; r < kRows; r++) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixel + r * stride));
        const __m256i taps = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), spread);
        high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(taps, highWeights));
        low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(taps, lowWeights));
      }
    }
    uint8_t* out = target + p * 3;
    const __m256i even = finishPair(high[0], low[0], high[1 % kRows], low[1 % kRows]);
    const __m256i odd = finishPair(high[2 % kRows], low[2 % kRows], high[3 % kRows], low[3 % kRows]);
    const __m256i words = _mm256_packs_epi32(even, odd);
    const __m256i bytes = _mm256_packus_epi16(words, words);
    const __m128i rows02 = _mm256_castsi256_si128(bytes), rows13 = _mm256_extracti128_si256(bytes, 1);
    store4(out, _mm_cvtsi128_si32(rows02));
    if constexpr (kRows == 4) {
      store4(out + targetStride, _mm_cvtsi128_si32(rows13));
      store4(out + 2 * targetStride, _mm_extract_epi32(rows02, 1));
      store4(out + 3 * targetStride, _mm_extract_epi32(rows13, 1));
    }
  }
}

ESVIT_TARGET void down16(const uint8_t* rows, int64_t stride, const int16_t* split, int used, uint8_t* target) {
  __m256i high0 = _mm256_setzero_si256(), high1 = high0, low0 = high0, low1 = high0;
  for (int k = 0; k < used; k += 2) {
    // A pair lies in one group of four: high halves first, low halves 4 further.
    const int16_t* pair = split + (k & ~3) * 2 + (k & 3);
    int32_t highPair, lowPair;
    std::memcpy(&highPair, pair, 4);
    std::memcpy(&lowPair, pair + 4, 4);
    const uint8_t* row = rows + k * stride;
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
    const __m128i b =
        k + 1 < used ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + stride)) : _mm_setzero_si128();
    const __m256i first = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
    const __m256i second = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
    const __m256i highWeights = _mm256_set1_epi32(highPair), lowWeights = _mm256_set1_epi32(lowPair);
    high0 = _mm256_add_epi32(high0, _mm256_madd_epi16(first, highWeights));
    high1 = _mm256_add_epi32(high1, _mm256_madd_epi16(second, highWeights));
    low0 = _mm256_add_epi32(low0, _mm256_madd_epi16(first, lowWeights));
    low1 = _mm256_add_epi32(low1, _mm256_madd_epi16(second, lowWeights));
  }
  const __m256i round = _mm256_set1_epi32(kRound);
  const __m256i sum0 = _mm256_srai_epi32(_mm256_add_epi32(joinHalves(high0, low0), round), kBits);
  const __m256i sum1 = _mm256_srai_epi32(_mm256_add_epi32(joinHalves(high1, low1), round), kBits);
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(sum0, sum1), 0xd8);
  const __m128i bytes =
      _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(target), bytes);
}

ESVIT_TARGET void downFast(const uint8_t* rows, int64_t stride, int64_t bytes, const Axis& axis, int64_t i,
                           uint8_t* target) {
  const int16_t* split = &axis.split[i * axis.taps * 2];
  int64_t x = 0;
  for (; x + 16 <= bytes; x += 16) down16(rows + x, stride, split, axis.used[i], target + x);
  if (x == bytes) return;
  if (bytes >= 16)  // the last sixteen, a part of them twice
    down16(rows + bytes - 16, stride, split, axis.used[i], target + bytes - 16);
  else
    downPlain(rows, stride, 0, bytes, &axis.weights[i * axis.taps], axis.used[i], target);
}

#endif  // ESVIT_AVX2

// `end` is the end of the memory that may be read.
void across(const uint8_t* source, int64_t stride, int64_t rows, const uint8_t* end, const Axis& axis,
            bool flip, uint8_t* target, int64_t targetStride) {
#ifdef ESVIT_AVX2
  if (hasAvx2) {
    int64_t reach = 0;
    for (int64_t i = 0; i < axis.count; i++)
      reach = std::max<int64_t>(reach, (axis.first[i] + ((axis.used[i] + 3) & ~3)) * 3 + 4);
    int64_t row = 0;
    const auto fits = [&](int64_t last) { return source + last * stride + reach <= end; };
    for (; row + 4 <= rows && fits(row + 3); row += 4)
      acrossRows<4>(source + row * stride, stride, axis, flip, target + row * targetStride,
                    targetStride);
    for (; row < rows && fits(row); row++)
      acrossRows<1>(source + row * stride, stride, axis, flip, target + row * targetStride,
                    targetStride);
    if (row < rows)
      acrossPlain(source + row * stride, stride, rows - row, axis, flip, target + row * targetStride,
                    targetStride);
    return;
  }
#endif
  acrossPlain(source, stride, rows, axis, flip, target, targetStride);
}

void down(const uint8_t* rows, int64_t stride, int64_t bytes, const Axis& axis, int64_t i, uint8_t* target) {
#ifdef ESVIT_AVX2
  if (hasAvx2) return downFast(rows, stride, bytes, axis, i, target);
#endif
  downPlain(rows, stride, 0, bytes, &axis.weights[i * axis.taps], axis.used[i], target);
}

// Kept from crop to crop, one a thread.
struct Scratch {
  Axis horizontal, vertical;
  std::vector<uint8_t> strip;
};

// The window inside the resized picture, into `target` with rows of `targetStride` bytes.
void resampleInside(const Pixels& source, const Resample& job, uint8_t* target, int64_t targetStride) {
  thread_local Scratch memory;
  Scratch& scratch = memory;
  Axis &horizontal = scratch.horizontal, &vertical = scratch.vertical;
  horizontal.build(job.width, job.fullWidth, job.windowX, job.windowX + job.windowWidth, job.filter);
  vertical.build(job.height, job.fullHeight, job.windowY, job.windowY + job.windowHeight, job.filter);
  const int64_t stride = source.width * 3;
  const uint8_t* origin = source.data + job.top * stride + job.left * 3;
  const uint8_t* end = source.data + source.height * stride;
  const int64_t bytes = job.windowWidth * 3;
  const int64_t stripStride = bytes + 4;  // pixels are written four bytes at a time
  const int64_t stripRows = std::max<int64_t>(kStripBytes / stripStride, 1);
  for (int64_t y = 0; y < job.windowHeight;) {
    const int64_t firstRow = vertical.first[y];
    int64_t next = y;
    int64_t lastRow = firstRow;
    while (next < job.windowHeight) {
      const int64_t until = vertical.first[next] + vertical.used[next];
      if (next > y && until - firstRow > stripRows) break;
      lastRow = std::max(lastRow, until);
      next++;
    }
    if (static_cast<int64_t>(scratch.strip.size()) < (lastRow - firstRow) * stripStride)
      scratch.strip.resize((lastRow - firstRow) * stripStride);
    uint8_t* strip = scratch.strip.data();
    across(origin + firstRow * stride, stride, lastRow - firstRow, end, horizontal, job.flip, strip, stripStride);
    for (; y < next; y++)
      down(strip + (vertical.first[y] - firstRow) * stripStride, stripStride, bytes, vertical, y,
           target + y * targetStride);
  }
}

}  // namespace

void resample(const Pixels& source, const Resample& job, uint8_t* target) {
  const int64_t left = std::max<int64_t>(job.windowX, 0), top = std::max<int64_t>(job.windowY, 0);
  const int64_t right = std::min(job.windowX + job.windowWidth, job.fullWidth);
  const int64_t bottom = std::min(job.windowY + job.windowHeight, job.fullHeight);
  const int64_t stride = job.windowWidth * 3;
  const bool whole = right - left == job.windowWidth && bottom - top == job.windowHeight;
  if (!whole) std::memset(target, 0, static_cast<size_t>(job.windowHeight * stride));
  if (right <= left || bottom <= top) return;
  Resample inside = job;
  inside.windowX = left;
  inside.windowY = top;
  inside.windowWidth = right - left;
  inside.windowHeight = bottom - top;
  const int64_t before = job.flip ? job.windowX + job.windowWidth - right : left - job.windowX;
  resampleInside(source, inside, target + (top - job.windowY) * stride + before * 3, stride);
}

}  // namespace esvit
