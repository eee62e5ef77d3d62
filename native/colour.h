// Pillow's blur and colour steps on packed RGB bytes, in place: the exact reference of the batched tensor path.
#pragma once

#include <cstdint>

namespace esvit {

void adjustBrightness(uint8_t* pixels, int64_t count, float factor);
void adjustContrast(uint8_t* pixels, int64_t count, float factor);
void adjustSaturation(uint8_t* pixels, int64_t count, float factor);
// `turn` in -0.5..0.5
void adjustHue(uint8_t* pixels, int64_t count, double turn);
void toGray(uint8_t* pixels, int64_t count);
void solarize(uint8_t* pixels, int64_t count, int threshold);
void gaussianBlur(uint8_t* pixels, int64_t width, int64_t height, float radius);

}  // namespace esvit
