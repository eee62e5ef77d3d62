// Threads, random numbers, devices, and what this libtorch is.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/cuda.h>
#include <torch/version.h>

// What a device's allocator tells and does is reachable without CUDA's own headers since libtorch 2.9.
#if !defined(ESVIT_NO_DEVICE_ALLOCATOR) && __has_include(<c10/core/CachingDeviceAllocator.h>) && \
    (TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 9))
#define ESVIT_DEVICE_ALLOCATOR 1
#include <c10/core/CachingDeviceAllocator.h>
#endif

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <c10/core/impl/VirtualGuardImpl.h>

#include <climits>

#include "handles.h"
#include "memory.h"

namespace esvit {
namespace {

Napi::Value setThreads(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    at::set_num_threads(info[0].As<Napi::Number>().Int32Value());
    return env.Undefined();
  });
}

Napi::Value getThreads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), at::get_num_threads());
}

Napi::Value manualSeed(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    bool lossless = true;
    const uint64_t seed = info[0].IsBigInt() ? info[0].As<Napi::BigInt>().Uint64Value(&lossless)
                                             : static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value());
    at::manual_seed(seed);
    return env.Undefined();
  });
}

at::Generator defaultGenerator(const Napi::Value& device) {
  return at::globalContext().defaultGenerator(c10::Device(device.As<Napi::String>().Utf8Value()));
}

// rngState(device) -> handle of a uint8 tensor
Napi::Value rngState(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    auto generator = defaultGenerator(info[0]);
    std::lock_guard<std::mutex> lock(generator.mutex());
    return Napi::Number::New(env, keep(env, generator.get_state()));
  });
}

Napi::Value setRngState(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    auto generator = defaultGenerator(info[0]);
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(tensorAt(stateOf(env), info[1].As<Napi::Number>().Uint32Value()));
    return env.Undefined();
  });
}

// newGenerator(seed) -> number of a CPU generator, for operators that take one
Napi::Value newGenerator(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    State& state = stateOf(env);
    state.generators.push_back(
        at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(info[0].As<Napi::Number>().Int64Value())));
    return Napi::Number::New(env, static_cast<double>(state.generators.size() - 1));
  });
}

Napi::Value describe(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    auto result = Napi::Object::New(env);
    result.Set("version", TORCH_VERSION);
    result.Set("config", at::show_config());
    result.Set("parallel", at::get_parallel_info());
    result.Set("mkl", at::hasMKL());
    result.Set("onednn", at::hasMKLDNN());
    result.Set("lapack", at::hasLAPACK());
    result.Set("cudaDevices", static_cast<double>(torch::cuda::device_count()));
    result.Set("cudnn", torch::cuda::cudnn_is_available());
#ifdef USE_C10D_GLOO
    result.Set("gloo", true);
#else
    result.Set("gloo", false);
#endif
#ifdef USE_C10D_NCCL
    result.Set("nccl", true);
#else
    result.Set("nccl", false);
#endif
    return result;
  });
}

Napi::Value cudaSynchronize(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    torch::cuda::synchronize();
    return env.Undefined();
  });
}

#ifdef ESVIT_DEVICE_ALLOCATOR

c10::DeviceAllocator& cudaAllocator() {
  // The allocator has no statistics before the device was touched for the first time.
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(c10::DeviceType::CUDA));
  if (allocator == nullptr) throw std::runtime_error("this libtorch's CUDA allocator keeps no statistics");
  return *allocator;
}

c10::DeviceIndex currentCuda() { return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getDevice().index(); }

// cudaMemory() -> bytes of tensors now and at most, bytes taken from the device now and at most
Napi::Value cudaMemory(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto stats = cudaAllocator().getDeviceStats(currentCuda());
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    auto result = Napi::Array::New(env, 4);
    result.Set(0u, static_cast<double>(stats.allocated_bytes[all].current));
    result.Set(1u, static_cast<double>(stats.allocated_bytes[all].peak));
    result.Set(2u, static_cast<double>(stats.reserved_bytes[all].current));
    result.Set(3u, static_cast<double>(stats.reserved_bytes[all].peak));
    return result;
  });
}

// cudaForgetPeak(): from now on peaks are counted anew
Napi::Value cudaForgetPeak(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    cudaAllocator().resetPeakStats(currentCuda());
    return env.Undefined();
  });
}

// cudaEmptyCache(): memory that no tensor needs goes back to the device
Napi::Value cudaEmptyCache(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    cudaAllocator().emptyCache();
    return env.Undefined();
  });
}

#endif

// setExactMatmul(exact): true turns TF32 off on CUDA.
Napi::Value setExactMatmul(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const bool exact = info[0].As<Napi::Boolean>().Value();
    at::globalContext().setAllowTF32CuBLAS(!exact);
    at::globalContext().setAllowTF32CuDNN(!exact);
    return env.Undefined();
  });
}

}  // namespace

// glibc gives every block above 128 KiB back to the kernel when it is freed, and the next step faults its pages in
// again one by one: a fifth of a training step. It keeps them instead; large blocks are kept by memory.cc.
void keepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
#endif
}

void InitRuntime(Napi::Env env, Napi::Object exports) {
  keepFreedMemory();
  keepLargeBlocks();
  exports.Set("setThreads", Napi::Function::New(env, setThreads));
  exports.Set("getThreads", Napi::Function::New(env, getThreads));
  exports.Set("manualSeed", Napi::Function::New(env, manualSeed));
  exports.Set("rngState", Napi::Function::New(env, rngState));
  exports.Set("setRngState", Napi::Function::New(env, setRngState));
  exports.Set("newGenerator", Napi::Function::New(env, newGenerator));
  exports.Set("describe", Napi::Function::New(env, describe));
  exports.Set("setExactMatmul", Napi::Function::New(env, setExactMatmul));
  // Calls that need a CUDA device exist only where there is one.
  if (torch::cuda::is_available()) {
    exports.Set("cudaSynchronize", Napi::Function::New(env, cudaSynchronize));
#ifdef ESVIT_DEVICE_ALLOCATOR
    exports.Set("cudaMemory", Napi::Function::New(env, cudaMemory));
    exports.Set("cudaForgetPeak", Napi::Function::New(env, cudaForgetPeak));
    exports.Set("cudaEmptyCache", Napi::Function::New(env, cudaEmptyCache));
#endif
  }
}

}  // namespace esvit
