// Tensors that JavaScript holds: a table of slots per environment (main thread or worker), and the one catch
// that turns every C++ exception into a JavaScript error.
#pragma once

#include <napi.h>
#include <torch/torch.h>

#include <mutex>
#include <string>
#include <vector>

namespace esvit {

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
#define ESVIT_TORCH_2_4 1
template <class T>
using Optional = std::optional<T>;
#else
template <class T>
using Optional = c10::optional<T>;
#endif

struct Slot {
  at::Tensor tensor;
  int64_t bytes = 0;  // what was reported to V8 for this handle
};

// An operator found in the registry, with its schema's arguments in the order in which the wrapper passes them.
struct Operator {
  c10::OperatorHandle handle;
  std::vector<int> position;  // position[i]: which passed value is schema argument i, -1: take the default
};

// All that belongs to one environment. The addon has no static JavaScript handles, so workers can load it.
struct State {
  std::vector<Slot> slots;
  std::vector<uint32_t> freeSlots;
  std::vector<Operator> operators;
  std::vector<at::Generator> generators;
  int64_t unreported = 0;  // bytes not yet told to V8
  int64_t live = 0;
  std::vector<std::unique_ptr<c10::InferenceMode>> inferenceModes;

  // References to JavaScript memory that tensors looked into; any thread may let go, this one unrefs.
  std::mutex releasedMutex;
  std::vector<napi_ref> released;
  void drainReleased(napi_env env);
};

State& stateOf(Napi::Env env);

// Takes a tensor into the table; the result is its handle (> 0).
double keep(Napi::Env env, at::Tensor tensor);
// Tells V8 of the bytes behind a handle until it is released; for tensors that only a garbage collection would free.
void charge(Napi::Env env, uint32_t handle);
const at::Tensor& tensorOf(Napi::Env env, Napi::Value value);  // a JS object with a `handle`
const at::Tensor& tensorAt(State& state, uint32_t handle);
void release(Napi::Env env, uint32_t handle);

at::ScalarType dtypeOf(const std::string& name);
std::string nameOf(at::ScalarType type);

[[noreturn]] void fail(Napi::Env env, const std::string& message);
std::string messageOf(const std::exception& error);

// Every exported function runs inside: C++ exceptions become JavaScript errors, nothing crosses the boundary.
template <class F>
Napi::Value protect(const Napi::CallbackInfo& info, F&& body) {
  try {
    return body(info.Env());
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(info.Env(), messageOf(error));
  }
}

void InitDispatch(Napi::Env env, Napi::Object exports);
void InitTensor(Napi::Env env, Napi::Object exports);
void InitAutograd(Napi::Env env, Napi::Object exports);
void InitRuntime(Napi::Env env, Napi::Object exports);
void InitFused(Napi::Env env, Napi::Object exports);
void InitPasses(Napi::Env env, Napi::Object exports);

}  // namespace esvit
