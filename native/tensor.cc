// What a tensor is (shape, dtype, device) and its way from and to JavaScript's memory.
#include <cstring>

#include "handles.h"

namespace esvit {
namespace {

uint32_t handleAt(const Napi::CallbackInfo& info, size_t i) { return info[i].As<Napi::Number>().Uint32Value(); }

// meta(handle) -> [dtype, device, ...shape]
Napi::Value meta(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const at::Tensor& tensor = tensorAt(stateOf(env), handleAt(info, 0));
    auto result = Napi::Array::New(env, tensor.dim() + 2);
    result.Set(0u, nameOf(tensor.scalar_type()));
    result.Set(1u, tensor.device().str());
    for (int64_t i = 0; i < tensor.dim(); i++)
      result.Set(static_cast<uint32_t>(i + 2), static_cast<double>(tensor.size(i)));
    return result;
  });
}

Napi::Value strides(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const at::Tensor& tensor = tensorAt(stateOf(env), handleAt(info, 0));
    auto result = Napi::Array::New(env, tensor.dim());
    for (int64_t i = 0; i < tensor.dim(); i++)
      result.Set(static_cast<uint32_t>(i), static_cast<double>(tensor.stride(i)));
    return result;
  });
}

// storage(handle) -> [identity, offset in elements, bytes]: equal identities share memory.
Napi::Value storage(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const at::Tensor& tensor = tensorAt(stateOf(env), handleAt(info, 0));
    auto result = Napi::Array::New(env, 3);
    const auto identity = reinterpret_cast<uint64_t>(tensor.storage().unsafeGetStorageImpl());
    result.Set(0u, Napi::BigInt::New(env, identity));
    result.Set(1u, static_cast<double>(tensor.storage_offset()));
    result.Set(2u, static_cast<double>(tensor.storage().nbytes()));
    return result;
  });
}

void* dataOf(const Napi::Value& value, size_t* bytes) {
  if (!value.IsTypedArray()) throw std::runtime_error("expected a typed array");
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  napi_value buffer;
  size_t offset = 0;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, &buffer, &offset) != napi_ok)
    throw std::runtime_error("the typed array cannot be read");
  *bytes = value.As<Napi::TypedArray>().ByteLength();
  return data;
}

std::vector<int64_t> sizesOf(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<int64_t> sizes;
  for (uint32_t i = 0; i < array.Length(); i++) sizes.push_back(array.Get(i).As<Napi::Number>().Int64Value());
  return sizes;
}

// fromMemory(typedArray, shape, dtype): a tensor that looks into the array's memory (SharedArrayBuffer too);
// the array lives at least as long as the tensor's storage.
Napi::Value fromMemory(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    State& state = stateOf(env);
    size_t bytes = 0;
    void* data = dataOf(info[0], &bytes);
    const std::vector<int64_t> sizes = sizesOf(info[1]);
    const at::ScalarType dtype = dtypeOf(info[2].As<Napi::String>().Utf8Value());
    int64_t count = 1;
    for (const int64_t size : sizes) count *= size;
    if (count * static_cast<int64_t>(c10::elementSize(dtype)) > static_cast<int64_t>(bytes))
      throw std::runtime_error("the memory holds " + std::to_string(bytes) + " bytes, the shape needs " +
                               std::to_string(count * static_cast<int64_t>(c10::elementSize(dtype))));
    if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(dtype) != 0)
      throw std::runtime_error("the memory is not aligned to the dtype's size");
    napi_ref reference;
    if (napi_create_reference(env, info[0], 1, &reference) != napi_ok)
      throw std::runtime_error("the memory cannot be held");
    State* owner = &state;
    auto letGo = [owner, reference](void*) {
      std::lock_guard<std::mutex> lock(owner->releasedMutex);
      owner->released.push_back(reference);
    };
    at::Tensor tensor = torch::from_blob(data, sizes, letGo, at::TensorOptions().dtype(dtype));
    return Napi::Number::New(env, keep(env, std::move(tensor)));
  });
}

// copyOut(handle, typedArray): the tensor's elements, row-major, into JavaScript's memory.
Napi::Value copyOut(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const at::Tensor& tensor = tensorAt(stateOf(env), handleAt(info, 0));
    size_t bytes = 0;
    void* data = dataOf(info[1], &bytes);
    const at::Tensor plain = tensor.detach().to(at::kCPU).contiguous();
    if (plain.nbytes() != bytes)
      throw std::runtime_error("the tensor has " + std::to_string(plain.nbytes()) + " bytes, the array " +
                               std::to_string(bytes));
    if (bytes) std::memcpy(data, plain.data_ptr(), bytes);
    return env.Undefined();
  });
}

Napi::Value releaseOne(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    release(env, handleAt(info, 0));
    State& state = stateOf(env);
    if (!state.released.empty()) state.drainReleased(env);
    return env.Undefined();
  });
}

Napi::Value releaseAll(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto handles = info[0].As<Napi::Array>();
    const uint32_t length = handles.Length();
    for (uint32_t i = 0; i < length; i++) release(env, handles.Get(i).As<Napi::Number>().Uint32Value());
    State& state = stateOf(env);
    if (!state.released.empty()) state.drainReleased(env);
    return env.Undefined();
  });
}

Napi::Value chargeOne(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    charge(env, handleAt(info, 0));
    return env.Undefined();
  });
}

// chargedBytes() -> what V8 was told of memory that it does not see, of this addon and others.
Napi::Value chargedBytes(const Napi::CallbackInfo& info) {
  const int64_t told = Napi::MemoryManagement::AdjustExternalMemory(info.Env(), 0);
  return Napi::Number::New(info.Env(), static_cast<double>(told + stateOf(info.Env()).unreported));
}

Napi::Value liveTensors(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(stateOf(info.Env()).live));
}

// setData(handle, other): the parameter keeps its identity and takes the other's memory (device or dtype moves).
Napi::Value setData(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    State& state = stateOf(env);
    at::Tensor target = tensorAt(state, handleAt(info, 0));
    target.set_data(tensorAt(state, handleAt(info, 1)));
    return env.Undefined();
  });
}

// alias(handle) -> another handle of the same tensor.
Napi::Value alias(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    return Napi::Number::New(env, keep(env, tensorAt(stateOf(env), handleAt(info, 0))));
  });
}

}  // namespace

void InitTensor(Napi::Env env, Napi::Object exports) {
  exports.Set("meta", Napi::Function::New(env, meta));
  exports.Set("strides", Napi::Function::New(env, strides));
  exports.Set("storage", Napi::Function::New(env, storage));
  exports.Set("fromMemory", Napi::Function::New(env, fromMemory));
  exports.Set("copyOut", Napi::Function::New(env, copyOut));
  exports.Set("release", Napi::Function::New(env, releaseOne));
  exports.Set("releaseAll", Napi::Function::New(env, releaseAll));
  exports.Set("charge", Napi::Function::New(env, chargeOne));
  exports.Set("chargedBytes", Napi::Function::New(env, chargedBytes));
  exports.Set("liveTensors", Napi::Function::New(env, liveTensors));
  exports.Set("setData", Napi::Function::New(env, setData));
  exports.Set("alias", Napi::Function::New(env, alias));
}

}  // namespace esvit
