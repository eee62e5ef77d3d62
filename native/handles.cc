// The slot table of one environment.
#include "handles.h"

#include <array>
#include <utility>

namespace esvit {

namespace {

constexpr int64_t kReportStep = 8 << 20;  // V8 is told in steps: each call costs about a microsecond

void report(Napi::Env env, State& state, int64_t bytes) {
  state.unreported += bytes;
  if (state.unreported > kReportStep || state.unreported < -kReportStep) {
    Napi::MemoryManagement::AdjustExternalMemory(env, state.unreported);
    state.unreported = 0;
  }
}

constexpr std::array<std::pair<const char*, at::ScalarType>, 12> kDtypes{{
    {"float32", at::kFloat},
    {"float64", at::kDouble},
    {"float16", at::kHalf},
    {"bfloat16", at::kBFloat16},
    {"int64", at::kLong},
    {"int32", at::kInt},
    {"int16", at::kShort},
    {"int8", at::kChar},
    {"uint8", at::kByte},
    {"bool", at::kBool},
    {"complex64", at::kComplexFloat},
    {"complex128", at::kComplexDouble},
}};

}  // namespace

State& stateOf(Napi::Env env) { return *env.GetInstanceData<State>(); }

void State::drainReleased(napi_env env) {
  std::vector<napi_ref> references;
  {
    std::lock_guard<std::mutex> lock(releasedMutex);
    references.swap(released);
  }
  for (napi_ref reference : references) napi_delete_reference(env, reference);
}

double keep(Napi::Env env, at::Tensor tensor) {
  State& state = stateOf(env);
  uint32_t index;
  if (state.freeSlots.empty()) {
    index = static_cast<uint32_t>(state.slots.size());
    state.slots.emplace_back();
  } else {
    index = state.freeSlots.back();
    state.freeSlots.pop_back();
  }
  state.slots[index].tensor = std::move(tensor);
  state.live++;
  return index + 1;
}

void charge(Napi::Env env, uint32_t handle) {
  State& state = stateOf(env);
  const at::Tensor& tensor = tensorAt(state, handle);
  Slot& slot = state.slots[handle - 1];
  if (slot.bytes || !tensor.has_storage()) return;
  // A view costs nothing, unless it is the last that holds its memory.
  if (tensor.storage().use_count() > 1 && tensor.is_view()) return;
  slot.bytes = static_cast<int64_t>(tensor.storage().nbytes());
  report(env, state, slot.bytes);
}

const at::Tensor& tensorAt(State& state, uint32_t handle) {
  if (handle == 0 || handle > state.slots.size() || !state.slots[handle - 1].tensor.defined())
    throw std::runtime_error("the tensor was already freed (by its scope, `using` or dispose())");
  return state.slots[handle - 1].tensor;
}

const at::Tensor& tensorOf(Napi::Env env, Napi::Value value) {
  State& state = stateOf(env);
  if (!value.IsObject()) throw std::runtime_error("expected a Tensor");
  Napi::Value handle = value.As<Napi::Object>().Get("handle");
  if (!handle.IsNumber()) throw std::runtime_error("expected a Tensor, received another object");
  return tensorAt(state, handle.As<Napi::Number>().Uint32Value());
}

void release(Napi::Env env, uint32_t handle) {
  State& state = stateOf(env);
  if (handle == 0 || handle > state.slots.size() || !state.slots[handle - 1].tensor.defined()) return;
  Slot& slot = state.slots[handle - 1];
  const int64_t bytes = slot.bytes;
  slot.tensor = at::Tensor();
  slot.bytes = 0;
  state.freeSlots.push_back(handle - 1);
  state.live--;
  if (bytes) report(env, state, -bytes);
}

at::ScalarType dtypeOf(const std::string& name) {
  for (const auto& [known, type] : kDtypes)
    if (name == known) return type;
  throw std::runtime_error("unknown dtype '" + name + "'");
}

std::string nameOf(at::ScalarType type) {
  for (const auto& [name, known] : kDtypes)
    if (type == known) return name;
  return c10::toString(type);
}

std::string messageOf(const std::exception& error) {
  if (const auto* torchError = dynamic_cast<const c10::Error*>(&error)) {
    std::string message = torchError->what_without_backtrace();
    return message;
  }
  return error.what();
}

void fail(Napi::Env env, const std::string& message) { throw Napi::Error::New(env, message); }

}  // namespace esvit
