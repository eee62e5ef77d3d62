// Pillow's colour steps and blur on packed RGB bytes, equal in every bit.
#pragma once

#include <cstdint>

namespace esvit {

// What happens to one picture, in this order; NaN means that a step is left out.
struct Photometric {
  int64_t width, height;
  // the order of the jitter: 0 brightness, 1 contrast, 2 saturation, 3 hue
  int order[4];
  float brightness, contrast, saturation;
  // in turns, -0.5..0.5
  double hue;
  bool gray;
  // standard deviation of the Gaussian in pixels
  float blur;
  // values from here on are inverted
  float solarize;
};

void photometric(uint8_t* pixels, const Photometric& job);

}  // namespace esvit
