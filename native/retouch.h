// The steps of RandAugment and its kin on packed RGB bytes, equal to Pillow in every bit.
#pragma once

#include <cstdint>

namespace esvit {

enum class Step {
  kAutoContrast,
  kEqualize,
  kInvert,
  kPosterize,    // bits that stay
  kSolarize,     // threshold
  kSolarizeAdd,  // what is added, below which threshold
  kColor,        // factor; the same for the next three
  kContrast,
  kBrightness,
  kSharpness,
  kAffine,  // x' = a x + b y + c, y' = d x + e y + f (output to input); filter; fill colour as 0xRRGGBB
};

constexpr int kSteps = 11;
constexpr int kStepNumbers = 8;

struct Retouch {
  int64_t width, height;
  Step step;
  double numbers[kStepNumbers];
};

// Filters of the affine step.
constexpr int kAffineBilinear = 1;
constexpr int kAffineBicubic = 2;

// Changes the picture in place.
void retouch(uint8_t* pixels, const Retouch& job);

}  // namespace esvit
