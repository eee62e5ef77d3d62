// The picture functions of the addon: they check what JavaScript passes, and know nothing of tensors, so that
// any number of worker threads can use them.
#include "image.h"

#include <cmath>
#include <limits>
#include <string>

#include "colour.h"
#include "resample.h"

namespace {

constexpr size_t kJobFields = 13;
constexpr double kMaxSide = 1 << 30;

Napi::Error wrong(Napi::Env env, const std::string& what) { return Napi::RangeError::New(env, what); }

template <class Array>
Array arrayOf(const Napi::CallbackInfo& info, size_t index, napi_typedarray_type type, const char* what) {
  if (index < info.Length() && info[index].IsTypedArray()) {
    const auto array = info[index].As<Napi::TypedArray>();
    if (array.TypedArrayType() == type) return info[index].As<Array>();
  }
  throw Napi::TypeError::New(info.Env(), std::string("internal: expected ") + what + " as argument " +
                                             std::to_string(index + 1));
}

Napi::Uint8Array bytesOf(const Napi::CallbackInfo& info, size_t index) {
  return arrayOf<Napi::Uint8Array>(info, index, napi_uint8_array, "a Uint8Array");
}

double numberOf(const Napi::CallbackInfo& info, size_t index) {
  const double value = index < info.Length() && info[index].IsNumber()
                           ? info[index].As<Napi::Number>().DoubleValue()
                           : std::numeric_limits<double>::quiet_NaN();
  if (!std::isfinite(value))
    throw Napi::TypeError::New(info.Env(), "internal: expected a number as argument " + std::to_string(index + 1));
  return value;
}

int64_t sideOf(const Napi::CallbackInfo& info, size_t index) {
  const double value = numberOf(info, index);
  if (!(value >= 1 && value <= kMaxSide)) throw wrong(info.Env(), "internal: a picture has at least one pixel");
  return static_cast<int64_t>(value);
}

// The bytes of argument 0, which must be whole pixels.
uint8_t* pixelsOf(const Napi::CallbackInfo& info, int64_t& count) {
  Napi::Uint8Array bytes = bytesOf(info, 0);
  count = static_cast<int64_t>(bytes.ByteLength() / 3);
  if (count == 0 || bytes.ByteLength() % 3 != 0) throw wrong(info.Env(), "internal: not a number of RGB pixels");
  return bytes.Data();
}

esvit::Resample jobOf(Napi::Env env, const double* fields, const esvit::Pixels& source, size_t room, int64_t& offset) {
  for (size_t i = 0; i < kJobFields; i++) {
    const double limit = i == kJobFields - 1 ? 9e15 : kMaxSide;
    if (!(std::fabs(fields[i]) <= limit)) throw wrong(env, "internal: a crop has a field that is no number in range");
  }
  const auto whole = [&](size_t i) { return static_cast<int64_t>(fields[i]); };
  esvit::Resample job{whole(0), whole(1), whole(2), whole(3), whole(4), whole(5), whole(6), whole(7), whole(8), whole(9),
                      fields[10] != 0, static_cast<esvit::Filter>(whole(11))};
  offset = whole(12);
  if (job.left < 0 || job.top < 0 || job.width < 1 || job.height < 1 || job.left + job.width > source.width ||
      job.top + job.height > source.height)
    throw wrong(env, "internal: the crop " + std::to_string(job.width) + "x" + std::to_string(job.height) + " at (" +
                         std::to_string(job.left) + ", " + std::to_string(job.top) + ") leaves a picture of " +
                         std::to_string(source.width) + "x" + std::to_string(source.height));
  if (job.fullWidth < 1 || job.fullHeight < 1 || job.windowWidth < 1 || job.windowHeight < 1 ||
      job.windowWidth > (1 << 16) || job.windowHeight > (1 << 16))
    throw wrong(env, "internal: a crop has no size, or more than 65536 pixels a side");
  if (whole(11) < 0 || whole(11) > 3) throw wrong(env, "internal: unknown filter");
  const size_t bytes = static_cast<size_t>(job.windowWidth) * static_cast<size_t>(job.windowHeight) * 3;
  if (offset < 0 || bytes > room || static_cast<size_t>(offset) > room - bytes)
    throw wrong(env, "internal: a crop does not fit into its target");
  return job;
}

// resample(pixels: Uint8Array, width, height, jobs: Float64Array [n*13], target: Uint8Array)
void Resample(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = bytesOf(info, 0);
  const esvit::Pixels source{bytes.Data(), sideOf(info, 1), sideOf(info, 2)};
  Napi::Float64Array jobs = arrayOf<Napi::Float64Array>(info, 3, napi_float64_array, "a Float64Array");
  Napi::Uint8Array target = bytesOf(info, 4);
  if (static_cast<double>(source.width) * static_cast<double>(source.height) * 3 >
      static_cast<double>(bytes.ByteLength()))
    throw wrong(info.Env(), "internal: fewer pixels than width times height");
  if (jobs.ElementLength() % kJobFields != 0) throw wrong(info.Env(), "internal: a crop has 13 fields");
  for (size_t i = 0; i < jobs.ElementLength(); i += kJobFields) {
    int64_t offset;
    const esvit::Resample job = jobOf(info.Env(), jobs.Data() + i, source, target.ByteLength(), offset);
    esvit::resample(source, job, target.Data() + offset);
  }
}

// (pixels: Uint8Array, factor), in place
template <void (*kStep)(uint8_t*, int64_t, float)>
void Adjust(const Napi::CallbackInfo& info) {
  int64_t count;
  uint8_t* pixels = pixelsOf(info, count);
  kStep(pixels, count, static_cast<float>(numberOf(info, 1)));
}

void AdjustHue(const Napi::CallbackInfo& info) {
  int64_t count;
  uint8_t* pixels = pixelsOf(info, count);
  const double turn = numberOf(info, 1);
  if (std::fabs(turn) > 0.5) throw wrong(info.Env(), "internal: a hue turns by -0.5 to 0.5");
  esvit::adjustHue(pixels, count, turn);
}

void ToGray(const Napi::CallbackInfo& info) {
  int64_t count;
  uint8_t* pixels = pixelsOf(info, count);
  esvit::toGray(pixels, count);
}

void Solarize(const Napi::CallbackInfo& info) {
  int64_t count;
  uint8_t* pixels = pixelsOf(info, count);
  esvit::solarize(pixels, count, static_cast<int>(std::min(std::max(numberOf(info, 1), 0.0), 256.0)));
}

// gaussianBlur(pixels: Uint8Array, width, height, radius), in place
void GaussianBlur(const Napi::CallbackInfo& info) {
  int64_t count;
  uint8_t* pixels = pixelsOf(info, count);
  const int64_t width = sideOf(info, 1), height = sideOf(info, 2);
  const double radius = numberOf(info, 3);
  if (width * height != count) throw wrong(info.Env(), "internal: width times height is not the number of pixels");
  if (!(radius > 0 && radius <= 1000)) throw wrong(info.Env(), "internal: a blur radius lies in (0, 1000]");
  esvit::gaussianBlur(pixels, width, height, static_cast<float>(radius));
}

}  // namespace

void InitImage(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, void (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("imageResample", Resample);
  add("imageBrightness", Adjust<esvit::adjustBrightness>);
  add("imageContrast", Adjust<esvit::adjustContrast>);
  add("imageSaturation", Adjust<esvit::adjustSaturation>);
  add("imageHue", AdjustHue);
  add("imageGray", ToGray);
  add("imageSolarize", Solarize);
  add("imageBlur", GaussianBlur);
}
