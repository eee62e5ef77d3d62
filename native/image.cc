// The picture functions of the addon: they check what JavaScript passes, and know nothing of tensors, so that
// any number of worker threads can use them.
#include "image.h"

#include <cmath>
#include <limits>
#include <string>

#include "colour.h"
#include "resample.h"
#include "retouch.h"

namespace {

constexpr size_t kJobFields = 13;
constexpr size_t kPhotometricFields = 14;
constexpr size_t kRetouchFields = 4 + esvit::kStepNumbers;
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

// A step that is on has a finite number; NaN means off.
float stepOf(Napi::Env env, double value, double low, double high, const char* what) {
  if (std::isnan(value)) return std::numeric_limits<float>::quiet_NaN();
  if (!(value >= low && value <= high)) throw wrong(env, std::string("internal: out of range: ") + what);
  return static_cast<float>(value);
}

int64_t wholeOf(Napi::Env env, double value, double limit) {
  if (!(value >= 0 && value <= limit)) throw wrong(env, "internal: a crop has a field that is out of range");
  return static_cast<int64_t>(value);
}

// The first three fields of a change in place: where the picture lies and how large it is. The result is its offset.
size_t placeOf(Napi::Env env, const double* fields, size_t room, int64_t& width, int64_t& height) {
  const size_t offset = static_cast<size_t>(wholeOf(env, fields[0], 9e15));
  width = wholeOf(env, fields[1], 1 << 16);
  height = wholeOf(env, fields[2], 1 << 16);
  const size_t bytes = static_cast<size_t>(width) * static_cast<size_t>(height) * 3;
  if (bytes == 0 || bytes > room || offset > room - bytes) throw wrong(env, "internal: a crop lies outside its memory");
  return offset;
}

esvit::Photometric photometricOf(Napi::Env env, const double* fields, size_t room, size_t& offset) {
  esvit::Photometric job;
  offset = placeOf(env, fields, room, job.width, job.height);
  for (size_t i = 0; i < 4; i++) job.order[i] = static_cast<int>(wholeOf(env, fields[3 + i], 3));
  job.brightness = stepOf(env, fields[7], 0, 1e6, "brightness");
  job.contrast = stepOf(env, fields[8], 0, 1e6, "contrast");
  job.saturation = stepOf(env, fields[9], 0, 1e6, "saturation");
  stepOf(env, fields[10], -0.5, 0.5, "hue");
  job.hue = fields[10];
  job.gray = fields[11] != 0;
  job.blur = stepOf(env, fields[12], 1e-3, 1000, "blur radius");
  job.solarize = stepOf(env, fields[13], 0, 256, "solarize");
  return job;
}

// photometric(pixels: Uint8Array, jobs: Float64Array [n*14]), in place
void Photometric(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = bytesOf(info, 0);
  Napi::Float64Array jobs = arrayOf<Napi::Float64Array>(info, 1, napi_float64_array, "a Float64Array");
  if (jobs.ElementLength() % kPhotometricFields != 0) throw wrong(info.Env(), "internal: a change has 14 fields");
  for (size_t i = 0; i < jobs.ElementLength(); i += kPhotometricFields) {
    size_t offset;
    const esvit::Photometric job = photometricOf(info.Env(), jobs.Data() + i, bytes.ByteLength(), offset);
    esvit::photometric(bytes.Data() + offset, job);
  }
}

esvit::Retouch retouchOf(Napi::Env env, const double* fields, size_t room, size_t& offset) {
  esvit::Retouch job;
  offset = placeOf(env, fields, room, job.width, job.height);
  job.step = static_cast<esvit::Step>(wholeOf(env, fields[3], esvit::kSteps - 1));
  for (int i = 0; i < esvit::kStepNumbers; i++) {
    job.numbers[i] = fields[4 + i];
    if (!(std::fabs(job.numbers[i]) <= 1e9)) throw wrong(env, "internal: a step has a number that is out of range");
  }
  if (job.step == esvit::Step::kPosterize) wholeOf(env, job.numbers[0], 8);
  return job;
}

// retouch(pixels: Uint8Array, jobs: Float64Array [n*12]), in place, one after the other
void Retouch(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = bytesOf(info, 0);
  Napi::Float64Array jobs = arrayOf<Napi::Float64Array>(info, 1, napi_float64_array, "a Float64Array");
  if (jobs.ElementLength() % kRetouchFields != 0) throw wrong(info.Env(), "internal: a step has 12 fields");
  for (size_t i = 0; i < jobs.ElementLength(); i += kRetouchFields) {
    size_t offset;
    const esvit::Retouch job = retouchOf(info.Env(), jobs.Data() + i, bytes.ByteLength(), offset);
    esvit::retouch(bytes.Data() + offset, job);
  }
}

}  // namespace

void InitImage(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, void (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  add("imageResample", Resample);
  add("imagePhotometric", Photometric);
  add("imageRetouch", Retouch);
}
