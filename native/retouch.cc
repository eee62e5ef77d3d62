// Look-up tables, blends with a degenerate picture, and affine maps with the roundings of Pillow's C code.
#include "retouch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "colour.h"

// After all other headers: it changes how what follows is compiled.
#include "pixel-arithmetic.h"

namespace esvit {
namespace {

constexpr int kLevels = 256;

// One table a channel.
struct Tables {
  uint8_t of[3][kLevels];
};

using Counts = int64_t[3][kLevels];

void countLevels(const uint8_t* pixels, int64_t n, Counts& counts) {
  std::memset(counts, 0, sizeof(counts));
  for (int64_t i = 0; i < n; i++)
    for (int c = 0; c < 3; c++) counts[c][pixels[i * 3 + c]]++;
}

uint8_t toByte(int64_t value) { return static_cast<uint8_t>(std::clamp<int64_t>(value, 0, 255)); }

// Stretches each channel from its darkest and brightest value to 0..255.
void autoContrastTable(const int64_t* counts, uint8_t* table) {
  int low = 0, high = kLevels - 1;
  while (low < kLevels - 1 && counts[low] == 0) low++;
  while (high > 0 && counts[high] == 0) high--;
  if (high <= low) {
    for (int i = 0; i < kLevels; i++) table[i] = static_cast<uint8_t>(i);
    return;
  }
  const double scale = 255.0 / (high - low);
  const double offset = -low * scale;
  for (int i = 0; i < kLevels; i++) table[i] = toByte(static_cast<int64_t>(i * scale + offset));
}

// Levels out the histogram of a channel.
void equalizeTable(const int64_t* counts, uint8_t* table) {
  int64_t sum = 0, last = 0;
  int used = 0;
  for (int i = 0; i < kLevels; i++) {
    if (counts[i] == 0) continue;
    sum += counts[i];
    last = counts[i];
    used++;
  }
  const int64_t step = used > 1 ? (sum - last) / 255 : 0;
  int64_t seen = step / 2;
  for (int i = 0; i < kLevels; i++) {
    table[i] = step == 0 ? static_cast<uint8_t>(i) : toByte(seen / step);
    seen += counts[i];
  }
}

template <class Change>
Tables sameForAll(Change change) {
  Tables tables;
  for (int i = 0; i < kLevels; i++)
    tables.of[0][i] = tables.of[1][i] = tables.of[2][i] = static_cast<uint8_t>(change(i));
  return tables;
}

void look(uint8_t* pixels, int64_t n, const Tables& tables) {
  for (int64_t i = 0; i < n * 3; i += 3)
    for (int c = 0; c < 3; c++) pixels[i + c] = tables.of[c][pixels[i + c]];
}

// from + factor * (value - from), the fraction cut off
uint8_t blend(int from, int value, float factor) {
  const float mixed = static_cast<float>(from) + factor * static_cast<float>(value - from);
  return static_cast<uint8_t>(std::clamp(mixed, 0.f, 255.f));
}

// Away from a smoothed copy: 3 x 3 neighbours, the middle counts 5 of 13; the border stays as it is.
void sharpen(uint8_t* pixels, int64_t width, int64_t height, float factor) {
  thread_local std::vector<uint8_t> memory;
  const int64_t stride = width * 3;
  memory.assign(pixels, pixels + stride * height);
  for (int64_t y = 1; y + 1 < height; y++) {
    const uint8_t* source = memory.data() + y * stride;
    uint8_t* target = pixels + y * stride;
    for (int64_t i = 3; i < stride - 3; i++) {
      const uint8_t *above = source + i - stride, *here = source + i, *below = source + i + stride;
      const int sum = above[-3] + above[0] + above[3] + here[-3] + 5 * here[0] + here[3] + below[-3] + below[0] + below[3];
      target[i] = blend((2 * sum + 13) / 26, here[0], factor);
    }
  }
  // A blend of a value with itself is the value, so the border needs no work.
}

// Pixels are four lanes wide below: three channels and one that nobody reads.
constexpr int kLanes = 4;

inline uint8_t cut(double value) { return value <= 0 ? 0 : value >= 255 ? 255 : static_cast<uint8_t>(value); }

struct Source {
  const uint8_t* data;
  int64_t width, height;
  int64_t column(int64_t x) const { return std::clamp<int64_t>(x, 0, width - 1) * kLanes; }
  const uint8_t* row(int64_t y) const { return data + std::clamp<int64_t>(y, 0, height - 1) * width * kLanes; }
};

// Pillow's cubic through four neighbours of one row.
inline void cubicAcross(const uint8_t* row, const int64_t* at, double t, double* result) {
  const uint8_t *a = row + at[0], *b = row + at[1], *c = row + at[2], *d = row + at[3];
  for (int k = 0; k < kLanes; k++) {
    const int p2 = c[k] - a[k], p3 = 2 * (a[k] - b[k]) + c[k] - d[k], p4 = b[k] - a[k] - c[k] + d[k];
    result[k] = b[k] + t * (p2 + t * (p3 + t * p4));
  }
}

inline void cubicDown(const double (*rows)[kLanes], double t, double* result) {
  for (int k = 0; k < kLanes; k++) {
    const double a = rows[0][k], b = rows[1][k], c = rows[2][k], d = rows[3][k];
    const double p2 = -a + c, p3 = 2 * (a - b) + c - d, p4 = -a + b - c + d;
    result[k] = b + t * (p2 + t * (p3 + t * p4));
  }
}

// x, y: where the middle of a pixel of `source` has fraction 0. Without a fraction along an axis the cubic is its
// second point, so shears and shifts need one row or one column only.
inline void cubicAt(const Source& source, double x, double y, double* value) {
  const double left = std::floor(x), top = std::floor(y);
  const double dx = x - left, dy = y - top;
  const int64_t column = static_cast<int64_t>(left) - 1, line = static_cast<int64_t>(top) - 1;
  int64_t at[4];
  for (int k = 0; k < 4; k++) at[k] = source.column(column + k);
  double rows[4][kLanes];
  const int from = dy == 0 ? 1 : 0, to = dy == 0 ? 2 : 4;
  for (int k = from; k < to; k++) {
    const uint8_t* row = source.row(line + k);
    if (dx != 0)
      cubicAcross(row, at, dx, rows[k]);
    else
      for (int c = 0; c < kLanes; c++) rows[k][c] = row[at[1] + c];
  }
  if (dy == 0)
    std::memcpy(value, rows[1], sizeof(rows[1]));
  else
    cubicDown(rows, dy, value);
}

inline void linearAt(const Source& source, double x, double y, double* value) {
  const double left = std::floor(x), top = std::floor(y);
  const double dx = x - left, dy = y - top;
  const int64_t column = static_cast<int64_t>(left), line = static_cast<int64_t>(top);
  const int64_t at[2] = {source.column(column), source.column(column + 1)};
  const uint8_t *upper = source.row(line), *lower = source.row(line + 1);
  for (int c = 0; c < kLanes; c++) {
    const int a = upper[at[0] + c], b = upper[at[1] + c], d = lower[at[0] + c], e = lower[at[1] + c];
    const double above = a + (b - a) * dx, below = d + (e - d) * dx;
    value[c] = above + (below - above) * dy;
  }
}

// Every pixel looks up where it comes from; what comes from outside takes the fill colour.
ESVIT_WIDE void affine(uint8_t* pixels, int64_t width, int64_t height, const double* numbers) {
  thread_local std::vector<uint8_t> scratch;
  std::vector<uint8_t>& memory = scratch;
  memory.resize(std::max<size_t>(memory.size(), static_cast<size_t>(width * height * kLanes)));
  for (int64_t i = 0; i < width * height; i++) std::memcpy(&memory[i * kLanes], pixels + i * 3, 3);
  const Source source{memory.data(), width, height};
  const bool isCubic = static_cast<int>(numbers[6]) == kAffineBicubic;
  const int fill = static_cast<int>(numbers[7]);
  const uint8_t colour[3] = {static_cast<uint8_t>(fill >> 16), static_cast<uint8_t>(fill >> 8),
                             static_cast<uint8_t>(fill)};
  for (int64_t y = 0; y < height; y++) {
    uint8_t* target = pixels + y * width * 3;
    for (int64_t x = 0; x < width; x++, target += 3) {
      const double outX = static_cast<double>(x) + 0.5, outY = static_cast<double>(y) + 0.5;
      const double inX = numbers[0] * outX + numbers[1] * outY + numbers[2];
      const double inY = numbers[3] * outX + numbers[4] * outY + numbers[5];
      if (!(inX >= 0 && inX < static_cast<double>(width) && inY >= 0 && inY < static_cast<double>(height))) {
        std::memcpy(target, colour, 3);
        continue;
      }
      double value[kLanes];
      if (isCubic)
        cubicAt(source, inX - 0.5, inY - 0.5, value);
      else
        linearAt(source, inX - 0.5, inY - 0.5, value);
      for (int c = 0; c < 3; c++) target[c] = cut(value[c]);
    }
  }
}

void enhance(uint8_t* pixels, const Retouch& job) {
  constexpr float kOff = std::numeric_limits<float>::quiet_NaN();
  Photometric change{job.width, job.height, {0, 1, 2, 3}, kOff, kOff, kOff, kOff, false, kOff, kOff};
  const float factor = static_cast<float>(job.numbers[0]);
  if (job.step == Step::kColor) change.saturation = factor;
  if (job.step == Step::kContrast) change.contrast = factor;
  if (job.step == Step::kBrightness) change.brightness = factor;
  photometric(pixels, change);
}

}  // namespace

void retouch(uint8_t* pixels, const Retouch& job) {
  const int64_t n = job.width * job.height;
  const int first = static_cast<int>(std::clamp(job.numbers[0], -1e6, 1e6));
  switch (job.step) {
    case Step::kAutoContrast:
    case Step::kEqualize: {
      Counts counts;
      countLevels(pixels, n, counts);
      Tables tables;
      for (int c = 0; c < 3; c++) {
        if (job.step == Step::kEqualize)
          equalizeTable(counts[c], tables.of[c]);
        else
          autoContrastTable(counts[c], tables.of[c]);
      }
      return look(pixels, n, tables);
    }
    case Step::kInvert:
      return look(pixels, n, sameForAll([](int i) { return 255 - i; }));
    case Step::kPosterize:
      return look(pixels, n, sameForAll([&](int i) { return first >= 8 ? i : i & ~((1 << (8 - first)) - 1); }));
    case Step::kSolarize:
      return look(pixels, n, sameForAll([&](int i) { return i < first ? i : 255 - i; }));
    case Step::kSolarizeAdd: {
      const int threshold = static_cast<int>(job.numbers[1]);
      return look(pixels, n, sameForAll([&](int i) { return i < threshold ? std::min(255, i + first) : i; }));
    }
    case Step::kColor:
    case Step::kContrast:
    case Step::kBrightness:
      return enhance(pixels, job);
    case Step::kSharpness:
      return sharpen(pixels, job.width, job.height, static_cast<float>(job.numbers[0]));
    case Step::kAffine:
      return affine(pixels, job.width, job.height, job.numbers);
  }
}

}  // namespace esvit
