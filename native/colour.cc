// The roundings, cuts and orders of operations are those of Pillow's C code; each is visible in the result.
#include "colour.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

// Fused multiply-adds round once where Pillow rounds twice.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

namespace esvit {
namespace {

inline uint8_t clip(int value) { return static_cast<uint8_t>(std::clamp(value, 0, 255)); }

inline int luma(const uint8_t* p) { return (p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16; }

// from + factor * (pixel - from), the fraction cut off
inline uint8_t blend(int from, int pixel, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(pixel - from);
  return value <= 0 ? 0 : value >= 255 ? 255 : static_cast<uint8_t>(value);
}

struct Hsv {
  uint8_t hue, saturation, value;
};

Hsv toHsv(const uint8_t* p) {
  const int high = std::max({p[0], p[1], p[2]}), low = std::min({p[0], p[1], p[2]});
  if (high == low) return {0, 0, static_cast<uint8_t>(high)};
  const float range = static_cast<float>(high - low);
  const auto below = [&](int channel) { return static_cast<float>(high - channel) / range; };
  const float red = below(p[0]), green = below(p[1]), blue = below(p[2]);
  float sextant;
  if (p[0] == high)
    sextant = blue - green;
  else if (p[1] == high)
    sextant = static_cast<float>(2.0 + red - blue);
  else
    sextant = static_cast<float>(4.0 + green - red);
  const float hue = static_cast<float>(std::fmod(sextant / 6.0 + 1.0, 1.0));
  const float saturation = range / static_cast<float>(high);
  return {clip(static_cast<int>(hue * 255.0)), clip(static_cast<int>(saturation * 255.0)),
          static_cast<uint8_t>(high)};
}

void fromHsv(const Hsv& hsv, uint8_t* p) {
  if (hsv.saturation == 0) {
    p[0] = p[1] = p[2] = hsv.value;
    return;
  }
  const double sector = hsv.hue * 6.0 / 255.0;
  const int whole = static_cast<int>(std::floor(sector));
  const float fraction = static_cast<float>(sector - static_cast<double>(whole));
  const float strength = static_cast<float>(hsv.saturation / 255.0);
  const auto level = [&](double share) {
    const float rounded = static_cast<float>(std::round(static_cast<double>(hsv.value) * share));
    return clip(static_cast<int>(rounded));
  };
  const uint8_t v = hsv.value;
  const uint8_t a = level(1.0 - strength);
  const uint8_t b = level(1.0 - static_cast<double>(strength * fraction));
  const uint8_t c = level(1.0 - strength * (1.0 - fraction));
  const uint8_t colours[6][3] = {{v, c, a}, {b, v, a}, {a, v, c}, {a, b, v}, {c, a, v}, {v, a, b}};
  std::memcpy(p, colours[whole % 6], 3);
}

// The box whose three passes come near a Gaussian (Gwosdek et al. 2011, eq. 7, 11, 14).
float boxRadius(float radius, int passes) {
  const float variance = radius * radius / static_cast<float>(passes);
  const float length = static_cast<float>(std::sqrt(12.0 * variance + 1.0));
  const float whole = static_cast<float>(std::floor((length - 1.0) / 2.0));
  float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  part /= 6 * (variance - (whole + 1) * (whole + 1));
  return whole + part;
}

// A box of fractional radius in 24-bit fixed point; the edge pixels repeat outwards.
struct Box {
  int64_t radius;
  uint32_t inner, edge;

  explicit Box(float size) {
    radius = static_cast<int64_t>(size);
    inner = static_cast<uint32_t>(static_cast<float>(1 << 24) / (size * 2 + 1));
    edge = ((1u << 24) - static_cast<uint32_t>(radius * 2 + 1) * inner) / 2;
  }

  // n lines of `lanes` interleaved bytes: steps along the lines, all lanes at once
  void pass(const uint8_t* source, uint8_t* target, int64_t n, int64_t lanes,
            std::vector<uint32_t>& sums) const {
    sums.assign(lanes, 0);
    const auto line = [&](int64_t i) { return source + std::clamp<int64_t>(i, 0, n - 1) * lanes; };
    for (int64_t i = -radius; i <= radius; i++) {
      const uint8_t* p = line(i);
      for (int64_t k = 0; k < lanes; k++) sums[k] += p[k];
    }
    for (int64_t i = 0; i < n; i++, target += lanes) {
      const uint8_t* before = line(i - radius - 1);
      const uint8_t* after = line(i + radius + 1);
      const uint8_t* leaving = line(i - radius);
      uint32_t* sum = sums.data();
      for (int64_t k = 0; k < lanes; k++) {
        const uint32_t outer = static_cast<uint32_t>(before[k]) + after[k];
        target[k] = static_cast<uint8_t>((sum[k] * inner + outer * edge + (1u << 23)) >> 24);
        sum[k] += after[k];
        sum[k] -= leaving[k];
      }
    }
  }
};

}  // namespace

void adjustBrightness(uint8_t* pixels, int64_t count, float factor) {
  for (int64_t i = 0; i < count * 3; i++) pixels[i] = blend(0, pixels[i], factor);
}

void adjustContrast(uint8_t* pixels, int64_t count, float factor) {
  int64_t sum = 0;
  for (int64_t i = 0; i < count; i++) sum += luma(pixels + i * 3);
  const int mean = static_cast<int>(static_cast<double>(sum) / static_cast<double>(count) + 0.5);
  for (int64_t i = 0; i < count * 3; i++) pixels[i] = blend(mean, pixels[i], factor);
}

void adjustSaturation(uint8_t* pixels, int64_t count, float factor) {
  for (uint8_t* p = pixels; p < pixels + count * 3; p += 3) {
    const int grey = luma(p);
    for (int c = 0; c < 3; c++) p[c] = blend(grey, p[c], factor);
  }
}

void adjustHue(uint8_t* pixels, int64_t count, double turn) {
  // A byte that wraps, cut towards zero.
  const uint8_t shift = static_cast<uint8_t>(static_cast<int>(turn * 255));
  for (uint8_t* p = pixels; p < pixels + count * 3; p += 3) {
    Hsv hsv = toHsv(p);
    hsv.hue = static_cast<uint8_t>(hsv.hue + shift);
    fromHsv(hsv, p);
  }
}

void toGray(uint8_t* pixels, int64_t count) {
  for (uint8_t* p = pixels; p < pixels + count * 3; p += 3)
    p[0] = p[1] = p[2] = static_cast<uint8_t>(luma(p));
}

void solarize(uint8_t* pixels, int64_t count, int threshold) {
  for (int64_t i = 0; i < count * 3; i++)
    if (pixels[i] >= threshold) pixels[i] = static_cast<uint8_t>(255 - pixels[i]);
}

void gaussianBlur(uint8_t* pixels, int64_t width, int64_t height, float radius) {
  constexpr int kPasses = 3;
  const Box box(boxRadius(radius, kPasses));
  const int64_t stride = width * 3;
  std::vector<uint8_t> other(std::max(stride * height, stride));
  std::vector<uint32_t> sums;
  for (int64_t y = 0; y < height; y++) {
    uint8_t* row = pixels + y * stride;
    for (int pass = 0; pass < kPasses; pass++) {
      box.pass(row, other.data(), width, 3, sums);
      std::memcpy(row, other.data(), stride);
    }
  }
  for (int pass = 0; pass < kPasses; pass++) {
    box.pass(pixels, other.data(), height, stride, sums);
    std::memcpy(pixels, other.data(), stride * height);
  }
}

}  // namespace esvit
