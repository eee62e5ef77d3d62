// Backward, gradients, and the thread's modes: grad, inference, autocast.
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>

#include "handles.h"

namespace esvit {
namespace {

uint32_t handleAt(const Napi::CallbackInfo& info, size_t i) { return info[i].As<Napi::Number>().Uint32Value(); }

std::vector<at::Tensor> tensorsOf(State& state, const Napi::Value& handles) {
  std::vector<at::Tensor> tensors;
  const auto array = handles.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    const uint32_t handle = array.Get(i).As<Napi::Number>().Uint32Value();
    tensors.push_back(handle == 0 ? at::Tensor() : tensorAt(state, handle));
  }
  return tensors;
}

// Backward works in a thread of its own for each GPU. Where the first thing that happens there is a matrix product,
// cuBLAS finds no CUDA context and libtorch warns of it; a tiny operation before it makes the context current. The
// threads belong to the process, so this is done once for each GPU.
void prepareDeviceThreads(const std::vector<at::Tensor>& roots) {
  static std::atomic<uint64_t> prepared{0};
  uint64_t found = 0;
  for (const at::Tensor& root : roots) {
    if (!root.defined() || !root.is_cuda() || !root.requires_grad()) continue;
    const uint64_t bit = uint64_t{1} << (root.get_device() % 64);
    if (prepared.load() & bit) continue;
    found |= bit;
    root.register_hook([](const at::Tensor& gradient) {
      if (gradient.defined()) at::zeros({1}, gradient.options());
    });
  }
  prepared.fetch_or(found);
}

// backward(handles, gradientHandles (0: a scalar's own 1), retainGraph)
Napi::Value backward(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    State& state = stateOf(env);
    const std::vector<at::Tensor> roots = tensorsOf(state, info[0]);
    prepareDeviceThreads(roots);
    torch::autograd::backward(roots, tensorsOf(state, info[1]),
                              info[2].As<Napi::Boolean>().Value(), false);
    return env.Undefined();
  });
}

// grad(outputs, inputs, gradients, retainGraph) -> handles (0 where an input was not used)
Napi::Value grad(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    State& state = stateOf(env);
    const auto results = torch::autograd::grad(tensorsOf(state, info[0]), tensorsOf(state, info[1]), tensorsOf(state, info[2]),
                                               info[3].As<Napi::Boolean>().Value(), false, true);
    auto handles = Napi::Array::New(env, results.size());
    for (size_t i = 0; i < results.size(); i++)
      handles.Set(static_cast<uint32_t>(i), results[i].defined() ? keep(env, results[i]) : 0.0);
    return handles;
  });
}

// gradientOf(handle) -> handle or 0
Napi::Value gradientOf(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const at::Tensor& gradient = tensorAt(stateOf(env), handleAt(info, 0)).grad();
    return Napi::Number::New(env, gradient.defined() ? keep(env, gradient) : 0.0);
  });
}

Napi::Value setGradient(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    State& state = stateOf(env);
    const at::Tensor tensor = tensorAt(state, handleAt(info, 0));
    tensor.mutable_grad() = handleAt(info, 1) == 0 ? at::Tensor() : tensorAt(state, handleAt(info, 1));
    return env.Undefined();
  });
}

Napi::Value requiresGrad(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    return Napi::Boolean::New(env, tensorAt(stateOf(env), handleAt(info, 0)).requires_grad());
  });
}

Napi::Value setRequiresGrad(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    tensorAt(stateOf(env), handleAt(info, 0)).set_requires_grad(info[1].As<Napi::Boolean>().Value());
    return env.Undefined();
  });
}

// setGradMode(enabled) -> what it was
Napi::Value setGradMode(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const bool before = at::GradMode::is_enabled();
    at::GradMode::set_enabled(info[0].As<Napi::Boolean>().Value());
    return Napi::Boolean::New(env, before);
  });
}

Napi::Value enterInference(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    stateOf(env).inferenceModes.push_back(std::make_unique<c10::InferenceMode>());
    return env.Undefined();
  });
}

Napi::Value leaveInference(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    auto& modes = stateOf(env).inferenceModes;
    if (modes.empty()) throw std::runtime_error("internal: not in inference mode");
    modes.pop_back();
    return env.Undefined();
  });
}

// setAutocast(deviceType, enabled, dtype) -> [wasEnabled, previous dtype]; the weight cache is cleared on leaving.
Napi::Value setAutocast(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const bool cuda = info[0].As<Napi::String>().Utf8Value() == "cuda";
    const bool enabled = info[1].As<Napi::Boolean>().Value();
    const at::ScalarType dtype = dtypeOf(info[2].As<Napi::String>().Utf8Value());
    bool wasEnabled;
    at::ScalarType before;
#ifdef ESVIT_TORCH_2_4
    const at::DeviceType type = cuda ? at::kCUDA : at::kCPU;
    wasEnabled = at::autocast::is_autocast_enabled(type);
    before = at::autocast::get_autocast_dtype(type);
    at::autocast::set_autocast_enabled(type, enabled);
    at::autocast::set_autocast_dtype(type, dtype);
#else
    if (cuda) {
      wasEnabled = at::autocast::is_enabled();
      before = at::autocast::get_autocast_gpu_dtype();
      at::autocast::set_enabled(enabled);
      at::autocast::set_autocast_gpu_dtype(dtype);
    } else {
      wasEnabled = at::autocast::is_cpu_enabled();
      before = at::autocast::get_autocast_cpu_dtype();
      at::autocast::set_cpu_enabled(enabled);
      at::autocast::set_autocast_cpu_dtype(dtype);
    }
#endif
    if (!enabled) at::autocast::clear_cache();
    auto result = Napi::Array::New(env, 2);
    result.Set(0u, wasEnabled);
    result.Set(1u, nameOf(before));
    return result;
  });
}

}  // namespace

void InitAutograd(Napi::Env env, Napi::Object exports) {
  exports.Set("backward", Napi::Function::New(env, backward));
  exports.Set("grad", Napi::Function::New(env, grad));
  exports.Set("gradientOf", Napi::Function::New(env, gradientOf));
  exports.Set("setGradient", Napi::Function::New(env, setGradient));
  exports.Set("requiresGrad", Napi::Function::New(env, requiresGrad));
  exports.Set("setRequiresGrad", Napi::Function::New(env, setRequiresGrad));
  exports.Set("setGradMode", Napi::Function::New(env, setGradMode));
  exports.Set("enterInference", Napi::Function::New(env, enterInference));
  exports.Set("leaveInference", Napi::Function::New(env, leaveInference));
  exports.Set("setAutocast", Napi::Function::New(env, setAutocast));
}

}  // namespace esvit
