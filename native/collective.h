// What processes exchange: stores, groups and the collectives that the other files here build on.
#pragma once

#include "handles.h"

#ifdef ESVIT_C10D

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/version.h>
#if TORCH_VERSION_MAJOR >= 2
#include <torch/csrc/distributed/c10d/Backend.hpp>
#else
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#endif
#include <torch/csrc/distributed/c10d/Types.hpp>
#include <torch/csrc/distributed/c10d/Work.hpp>

#include <functional>
#include <memory>

namespace esvit {

#if TORCH_VERSION_MAJOR >= 2
using Backend = c10d::Backend;
#else
using Backend = c10d::ProcessGroup;
#endif
using WorkPtr = c10::intrusive_ptr<c10d::Work>;

// Groups belong to the process, not to an environment, and are never destroyed: a peer that is gone can make the
// destructor wait for ever.
struct Group {
  c10::intrusive_ptr<Backend> backend;
  bool isGloo = true;
  int rank = 0;
  int size = 1;
};

std::shared_ptr<Group> groupAt(uint32_t id);

// Each of these returns at once; `wait` blocks. Tensors must be contiguous.
WorkPtr startAllReduce(Group& group, at::Tensor x, c10d::ReduceOp::RedOpType op = c10d::ReduceOp::SUM);
WorkPtr startAllGather(Group& group, std::vector<at::Tensor> outputs, at::Tensor input);
// input: [size * n] -> output: [size * n], the piece of every rank for this one
WorkPtr startAllToAll(Group& group, at::Tensor output, at::Tensor input);

// A promise for what `work` does on another thread; `result` makes its value on this one.
Napi::Value later(Napi::Env env, std::function<void()> work,
                  std::function<Napi::Value(Napi::Env)> result = [](Napi::Env env) { return env.Undefined(); });

void InitReducer(Napi::Env env, Napi::Object exports);
void InitSyncBatchNorm(Napi::Env env, Napi::Object exports);
void InitWatch(Napi::Env env, Napi::Object exports);

}  // namespace esvit

#endif

namespace esvit {
// Exports nothing where this libtorch was built without collectives, or its headers are not here.
void InitCollective(Napi::Env env, Napi::Object exports);
}  // namespace esvit
