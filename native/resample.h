// Antialiased resizing of packed RGB pictures, equal to Pillow's 8-bit resampler in every bit.
#pragma once

#include <cstddef>
#include <cstdint>

namespace esvit {

enum class Filter { kBox, kBilinear, kBicubic, kLanczos };

struct Pixels {
  const uint8_t* data;  // rows of width * 3 bytes, without gaps
  int64_t width, height;
};

// What becomes of a box of a picture: the box is cut out (nothing outside it is ever looked at), resized to
// `fullWidth` x `fullHeight`, and of that the window is kept. The window may reach outside; that part is black.
struct Resample {
  int64_t left, top, width, height;
  int64_t fullWidth, fullHeight;
  int64_t windowX, windowY, windowWidth, windowHeight;
  bool flip;  // mirror the window, left to right
  Filter filter;
};

// Writes windowHeight * windowWidth * 3 bytes.
void resample(const Pixels& source, const Resample& job, uint8_t* target);

}  // namespace esvit
