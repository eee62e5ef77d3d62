// The roundings, cuts and orders of operations are those of Pillow's C code; each is visible in the result. The
// steps work on one plane a channel in loops without branches, which compilers turn into vector instructions.
#include "colour.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

// After all other headers: it changes how what follows is compiled.
#include "pixel-arithmetic.h"

namespace esvit {
namespace {

// One plane a channel, and room for one more; kept from picture to picture, one a thread.
struct Planes {
  std::vector<uint8_t> memory;
  uint8_t *red, *green, *blue, *spare;
  int64_t count;

  void resize(int64_t pixels) {
    count = pixels;
    const int64_t stride = (pixels + 63) & ~int64_t{63};
    if (static_cast<int64_t>(memory.size()) < stride * 4) memory.resize(stride * 4);
    red = memory.data();
    green = red + stride;
    blue = green + stride;
    spare = blue + stride;
  }
};

ESVIT_WIDE void unpack(const uint8_t* __restrict pixels, int64_t n, uint8_t* __restrict red,
                       uint8_t* __restrict green, uint8_t* __restrict blue) {
  for (int64_t i = 0; i < n; i++) {
    red[i] = pixels[i * 3];
    green[i] = pixels[i * 3 + 1];
    blue[i] = pixels[i * 3 + 2];
  }
}

ESVIT_WIDE void pack(const uint8_t* __restrict red, const uint8_t* __restrict green,
                     const uint8_t* __restrict blue, int64_t n, uint8_t* __restrict pixels) {
  for (int64_t i = 0; i < n; i++) {
    pixels[i * 3] = red[i];
    pixels[i * 3 + 1] = green[i];
    pixels[i * 3 + 2] = blue[i];
  }
}

inline int luma(int red, int green, int blue) {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

// from + factor * (value - from), the fraction cut off
inline uint8_t blend(int from, int value, float factor) {
  float mixed = static_cast<float>(from) + factor * static_cast<float>(value - from);
  mixed = mixed > 0 ? mixed : 0;
  mixed = mixed < 255 ? mixed : 255;
  return static_cast<uint8_t>(static_cast<int>(mixed));
}

ESVIT_WIDE void blendPlane(uint8_t* plane, int64_t n, int from, float factor) {
  for (int64_t i = 0; i < n; i++) plane[i] = blend(from, plane[i], factor);
}

ESVIT_WIDE int64_t sumOfLuma(const uint8_t* __restrict red, const uint8_t* __restrict green,
                             const uint8_t* __restrict blue, int64_t n) {
  constexpr int64_t kBlock = 1 << 16;  // its sum fits 32 bits
  int64_t total = 0;
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t end = std::min(n, start + kBlock);
    int sum = 0;
    for (int64_t i = start; i < end; i++) sum += luma(red[i], green[i], blue[i]);
    total += sum;
  }
  return total;
}

ESVIT_WIDE void lumaPlane(const uint8_t* __restrict red, const uint8_t* __restrict green,
                          const uint8_t* __restrict blue, int64_t n, uint8_t* __restrict target) {
  for (int64_t i = 0; i < n; i++) target[i] = static_cast<uint8_t>(luma(red[i], green[i], blue[i]));
}

ESVIT_WIDE void blendTowards(const uint8_t* __restrict from, uint8_t* __restrict plane, int64_t n,
                             float factor) {
  for (int64_t i = 0; i < n; i++) plane[i] = blend(from[i], plane[i], factor);
}

ESVIT_WIDE void solarizePlane(uint8_t* plane, int64_t n, int threshold) {
  for (int64_t i = 0; i < n; i++)
    plane[i] = static_cast<uint8_t>(plane[i] < threshold ? plane[i] : 255 - plane[i]);
}

// Selections that stay selections: from `?:` and std::max, compilers make jumps that keep a loop scalar.
inline int larger(int a, int b) { return a > b ? a : b; }
inline int smaller(int a, int b) { return a < b ? a : b; }
inline int choose(int first, int a, int b) { return b ^ ((a ^ b) & -first); }

// What Pillow's conversion from HSV takes from the hue alone.
struct Sectors {
  int whole[256];
  float fraction[256];

  Sectors() {
    for (int hue = 0; hue < 256; hue++) {
      const double sector = hue * 6.0 / 255.0;
      whole[hue] = static_cast<int>(sector) % 6;
      fraction[hue] = static_cast<float>(sector - std::floor(sector));
    }
  }
};

// Turns `n` pixels (at most a block) by `shift` steps of Pillow's 8-bit hue, on the way through its HSV.
constexpr int kHueBlock = 256;

ESVIT_WIDE void turnHue(uint8_t* __restrict red, uint8_t* __restrict green, uint8_t* __restrict blue, int n,
                        int shift) {
  static const Sectors sectors;
  int r[kHueBlock], g[kHueBlock], b[kHueBlock], high[kHueBlock], hue[kHueBlock], whole[kHueBlock];
  int range[kHueBlock], distance[kHueBlock], base[kHueBlock];
  int p[kHueBlock], q[kHueBlock], t[kHueBlock];
  float sextant[kHueBlock], saturation[kHueBlock], strength[kHueBlock], fraction[kHueBlock];
  for (int i = 0; i < n; i++) {
    r[i] = red[i];
    g[i] = green[i];
    b[i] = blue[i];
  }
  for (int i = 0; i < n; i++) {
    const int top = larger(larger(r[i], g[i]), b[i]), low = smaller(smaller(r[i], g[i]), b[i]);
    // Of the three distances from the highest channel, scaled to 0..1, one is 0 and one is 1: a single
    // division and a single rounded sum, base + share or base - share, give what Pillow computes from all three.
    const int isRed = r[i] == top, isGreen = (g[i] == top) & (isRed ^ 1);
    const int isLow = choose(isRed | isGreen, b[i], r[i]) == low;
    high[i] = top;
    range[i] = top - low;
    base[i] = choose(isRed, 2 * isLow - 1, choose(isGreen, 3 - 2 * isLow, 5 - 2 * isLow));
    distance[i] = choose(isRed ^ isLow, 1, -1) * (2 * top - r[i] - g[i] - b[i] + low);
  }
  for (int i = 0; i < n; i++) {
    const float width = static_cast<float>(range[i]);
    sextant[i] = static_cast<float>(base[i]) +
                 static_cast<float>(distance[i]) / static_cast<float>(larger(range[i], 1));
    saturation[i] = width / static_cast<float>(larger(high[i], 1));
  }
  for (int i = 0; i < n; i++) {
    const double turns = static_cast<double>(sextant[i]) / 6.0 + 1.0;
    const float part = static_cast<float>(turns - static_cast<double>(static_cast<int>(turns)));
    hue[i] = (static_cast<int>(static_cast<double>(part) * 255.0) + shift) & 255;
    const int level = static_cast<int>(static_cast<double>(saturation[i]) * 255.0);
    strength[i] = static_cast<float>(level) / 255.f;
  }
  for (int i = 0; i < n; i++) {
    whole[i] = sectors.whole[hue[i]];
    fraction[i] = sectors.fraction[hue[i]];
  }
  for (int i = 0; i < n; i++) {
    const double value = high[i], s = strength[i], f = fraction[i];
    p[i] = static_cast<int>(value * (1.0 - s) + 0.5);
    q[i] = static_cast<int>(value * (1.0 - static_cast<double>(strength[i] * fraction[i])) + 0.5);
    t[i] = static_cast<int>(value * (1.0 - s * (1.0 - f)) + 0.5);
  }
  for (int i = 0; i < n; i++) {
    const int w = whole[i], v = high[i];
    const int low = p[i], down = q[i], up = t[i];
    r[i] = choose((w == 0) | (w == 5), v, choose(w == 1, down, choose(w == 4, up, low)));
    g[i] = choose((w == 1) | (w == 2), v, choose(w == 3, down, choose(w == 0, up, low)));
    b[i] = choose((w == 3) | (w == 4), v, choose(w == 5, down, choose(w == 2, up, low)));
  }
  for (int i = 0; i < n; i++) {
    red[i] = static_cast<uint8_t>(r[i]);
    green[i] = static_cast<uint8_t>(g[i]);
    blue[i] = static_cast<uint8_t>(b[i]);
  }
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
};

// target[i] = the box over lines[0..2*kRadius+2] at i; the first and the last line are its fractional edges
template <int kRadius>
inline void boxLine(const uint8_t* const* lines, int64_t n, uint32_t inner, uint32_t edge,
                    uint8_t* __restrict target) {
  for (int64_t i = 0; i < n; i++) {
    const uint16_t outer = static_cast<uint16_t>(lines[0][i] + lines[2 * kRadius + 2][i]);
    uint16_t sum = lines[1][i];
    for (int k = 2; k <= 2 * kRadius + 1; k++) sum = static_cast<uint16_t>(sum + lines[k][i]);
    target[i] = static_cast<uint8_t>((sum * inner + outer * edge + (1u << 23)) >> 24);
  }
}

template <int kRadius>
inline void boxAcross(uint8_t* plane, int64_t width, int64_t height, const Box& box, int passes,
                      uint8_t* padded) {
  constexpr int64_t kReach = kRadius + 1;
  const uint8_t* lines[2 * kReach + 1];
  for (int k = 0; k <= 2 * kReach; k++) lines[k] = padded + k;
  for (int64_t y = 0; y < height; y++) {
    uint8_t* row = plane + y * width;
    for (int pass = 0; pass < passes; pass++) {
      std::memset(padded, row[0], kReach);
      std::memcpy(padded + kReach, row, width);
      std::memset(padded + kReach + width, row[width - 1], kReach);
      boxLine<kRadius>(lines, width, box.inner, box.edge, row);
    }
  }
}

template <int kRadius>
inline void boxDown(const uint8_t* plane, int64_t width, int64_t height, const Box& box, uint8_t* target) {
  constexpr int64_t kReach = kRadius + 1;
  const uint8_t* lines[2 * kReach + 1];
  for (int64_t y = 0; y < height; y++) {
    for (int64_t k = -kReach; k <= kReach; k++)
      lines[k + kReach] = plane + std::clamp<int64_t>(y + k, 0, height - 1) * width;
    boxLine<kRadius>(lines, width, box.inner, box.edge, target + y * width);
  }
}

ESVIT_WIDE void boxAcross0(uint8_t* plane, int64_t width, int64_t height, const Box& box, int passes, uint8_t* padded) {
  boxAcross<0>(plane, width, height, box, passes, padded);
}
ESVIT_WIDE void boxAcross1(uint8_t* plane, int64_t width, int64_t height, const Box& box, int passes, uint8_t* padded) {
  boxAcross<1>(plane, width, height, box, passes, padded);
}
ESVIT_WIDE void boxDown0(const uint8_t* plane, int64_t width, int64_t height, const Box& box, uint8_t* target) {
  boxDown<0>(plane, width, height, box, target);
}
ESVIT_WIDE void boxDown1(const uint8_t* plane, int64_t width, int64_t height, const Box& box, uint8_t* target) {
  boxDown<1>(plane, width, height, box, target);
}

// A box of any radius: n lines of `lanes` bytes, steps along the lines with a running sum for each lane.
ESVIT_WIDE void boxRunning(const uint8_t* source, uint8_t* target, int64_t n, int64_t lanes, const Box& box,
                std::vector<uint32_t>& sums) {
  sums.assign(lanes, 0);
  const auto line = [&](int64_t i) { return source + std::clamp<int64_t>(i, 0, n - 1) * lanes; };
  for (int64_t i = -box.radius; i <= box.radius; i++) {
    const uint8_t* p = line(i);
    for (int64_t k = 0; k < lanes; k++) sums[k] += p[k];
  }
  for (int64_t i = 0; i < n; i++, target += lanes) {
    const uint8_t* before = line(i - box.radius - 1);
    const uint8_t* after = line(i + box.radius + 1);
    const uint8_t* leaving = line(i - box.radius);
    uint32_t* sum = sums.data();
    for (int64_t k = 0; k < lanes; k++) {
      const uint32_t outer = static_cast<uint32_t>(before[k]) + after[k];
      target[k] = static_cast<uint8_t>((sum[k] * box.inner + outer * box.edge + (1u << 23)) >> 24);
      sum[k] += after[k];
      sum[k] -= leaving[k];
    }
  }
}

struct Scratch {
  Planes planes;
  std::vector<uint8_t> row;
  std::vector<uint32_t> sums;
};

// Blurs `plane`; the result may lie in the spare plane, which then changes places with it.
void blurPlane(uint8_t*& plane, uint8_t*& spare, int64_t width, int64_t height, const Box& box, Scratch& scratch) {
  constexpr int kPasses = 3;
  scratch.row.resize(std::max<int64_t>(width + 8, static_cast<int64_t>(scratch.row.size())));
  uint8_t* row = scratch.row.data();
  if (box.radius == 0) {
    boxAcross0(plane, width, height, box, kPasses, row);
  } else if (box.radius == 1) {
    boxAcross1(plane, width, height, box, kPasses, row);
  } else {
    for (int64_t y = 0; y < height; y++)
      for (int pass = 0; pass < kPasses; pass++) {
        boxRunning(plane + y * width, row, width, 1, box, scratch.sums);
        std::memcpy(plane + y * width, row, width);
      }
  }
  for (int pass = 0; pass < kPasses; pass++) {
    if (box.radius == 0)
      boxDown0(plane, width, height, box, spare);
    else if (box.radius == 1)
      boxDown1(plane, width, height, box, spare);
    else
      boxRunning(plane, spare, height, width, box, scratch.sums);
    std::swap(plane, spare);
  }
}

void jitter(Planes& planes, int step, const Photometric& job) {
  auto& [memory, red, green, blue, spare, n] = planes;
  const auto each = [&](auto&& change) {
    for (uint8_t* plane : {red, green, blue}) change(plane);
  };
  if (step == 0 && !std::isnan(job.brightness)) {
    each([&](uint8_t* plane) { blendPlane(plane, n, 0, job.brightness); });
  } else if (step == 1 && !std::isnan(job.contrast)) {
    const double mean = static_cast<double>(sumOfLuma(red, green, blue, n)) / static_cast<double>(n);
    each([&](uint8_t* plane) { blendPlane(plane, n, static_cast<int>(mean + 0.5), job.contrast); });
  } else if (step == 2 && !std::isnan(job.saturation)) {
    lumaPlane(red, green, blue, n, spare);
    each([&](uint8_t* plane) { blendTowards(spare, plane, n, job.saturation); });
  } else if (step == 3 && !std::isnan(job.hue)) {
    // A byte that wraps, cut towards zero.
    const int shift = static_cast<uint8_t>(static_cast<int>(job.hue * 255));
    for (int64_t i = 0; i < n; i += kHueBlock)
      turnHue(red + i, green + i, blue + i, static_cast<int>(std::min<int64_t>(kHueBlock, n - i)), shift);
  }
}

}  // namespace

void photometric(uint8_t* pixels, const Photometric& job) {
  thread_local Scratch memory;
  Scratch& scratch = memory;
  Planes& planes = scratch.planes;
  const int64_t n = job.width * job.height;
  planes.resize(n);
  unpack(pixels, n, planes.red, planes.green, planes.blue);
  for (const int step : job.order) jitter(planes, step, job);
  uint8_t **red = &planes.red, **green = &planes.green, **blue = &planes.blue;
  if (job.gray) {
    lumaPlane(*red, *green, *blue, n, planes.spare);
    std::swap(*red, planes.spare);
    green = blue = red;
  }
  const auto each = [&](auto&& change) {
    change(*red);
    if (green != red) change(*green);
    if (blue != red) change(*blue);
  };
  if (!std::isnan(job.blur)) {
    const Box box(boxRadius(job.blur, 3));
    each([&](uint8_t*& plane) { blurPlane(plane, planes.spare, job.width, job.height, box, scratch); });
  }
  if (!std::isnan(job.solarize))
    each([&](uint8_t* plane) { solarizePlane(plane, n, static_cast<int>(job.solarize)); });
  pack(*red, *green, *blue, n, pixels);
}

}  // namespace esvit
