// Stores, process groups and collectives of c10d.
#include "collective.h"

#ifdef ESVIT_C10D

#ifdef USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <c10/core/impl/VirtualGuardImpl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <mutex>
#include <unordered_map>

namespace esvit {
namespace {

using std::chrono::milliseconds;

// What is under way: the tensors it writes, and what is left to do once it is done.
struct Pending {
  WorkPtr work;
  std::vector<at::Tensor> tensors;
  std::function<void()> after;

  void finish() {
    if (work) work->wait();
    if (after) after();
  }
};

template <class T>
class Table {
 public:
  uint32_t add(T item) {
    std::lock_guard<std::mutex> lock(mutex_);
    items_[++last_] = std::move(item);
    return last_;
  }
  T at(uint32_t id, const char* what) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = items_.find(id);
    if (found == items_.end()) throw std::runtime_error(std::string("internal: unknown ") + what);
    return found->second;
  }
  T take(uint32_t id, const char* what) {
    T item = at(id, what);
    std::lock_guard<std::mutex> lock(mutex_);
    items_.erase(id);
    return item;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<uint32_t, T> items_;
  uint32_t last_ = 0;
};

// Never destroyed, see Group.
auto& stores = *new Table<c10::intrusive_ptr<c10d::TCPStore>>();
auto& groups = *new Table<std::shared_ptr<Group>>();
auto& works = *new Table<std::shared_ptr<Pending>>();

class Later : public Napi::AsyncWorker {
 public:
  Later(Napi::Env env, std::function<void()> work, std::function<Napi::Value(Napi::Env)> result)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)), result_(std::move(result)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      work_();
    } catch (const std::exception& error) {
      SetError(messageOf(error));
    }
  }
  void OnOK() override { deferred_.Resolve(result_(Env())); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  std::function<void()> work_;
  std::function<Napi::Value(Napi::Env)> result_;
};

std::string text(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }
uint32_t number(const Napi::Value& value) { return value.As<Napi::Number>().Uint32Value(); }
milliseconds span(const Napi::Value& value) { return milliseconds(value.As<Napi::Number>().Int64Value()); }
std::vector<uint8_t> bytesOf(const std::string& text) { return {text.begin(), text.end()}; }

// storeOpen(host, port, isServer, timeoutMs) -> promise of [number, port]; a server with port 0 takes a free one
Napi::Value storeOpen(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const std::string host = text(info[0]);
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(number(info[1]));
    options.isServer = info[2].As<Napi::Boolean>().Value();
    options.waitWorkers = false;
    options.timeout = span(info[3]);
    auto opened = std::make_shared<c10::intrusive_ptr<c10d::TCPStore>>();
    return later(
        env, [=] { *opened = c10::make_intrusive<c10d::TCPStore>(host, options); },
        [=](Napi::Env env) -> Napi::Value {
          auto result = Napi::Array::New(env, 2);
          result.Set(0u, static_cast<double>(stores.add(*opened)));
          result.Set(1u, static_cast<double>((*opened)->getPort()));
          return result;
        });
  });
}

Napi::Value storeSet(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto store = stores.at(number(info[0]), "store");
    const std::string key = text(info[1]), value = text(info[2]);
    return later(env, [=] { store->set(key, bytesOf(value)); });
  });
}

// storeTry(store, key) -> promise of the value, or null where nobody has set it
Napi::Value storeTry(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto store = stores.at(number(info[0]), "store");
    const std::string key = text(info[1]);
    auto value = std::make_shared<Optional<std::string>>();
    return later(
        env,
        [=] {
          if (!store->check({key})) return;
          const auto bytes = store->get(key);
          *value = std::string(bytes.begin(), bytes.end());
        },
        [=](Napi::Env env) -> Napi::Value {
          return value->has_value() ? Napi::Value(Napi::String::New(env, **value)) : env.Null();
        });
  });
}

// storeClaim(store, key, value) -> promise of what stands there now: `value`, or what somebody had set before
Napi::Value storeClaim(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto store = stores.at(number(info[0]), "store");
    const std::string key = text(info[1]), value = text(info[2]);
    auto now = std::make_shared<std::string>();
    return later(
        env,
        [=] {
          const auto bytes = store->compareSet(key, {}, bytesOf(value));
          now->assign(bytes.begin(), bytes.end());
        },
        [=](Napi::Env env) -> Napi::Value { return Napi::String::New(env, *now); });
  });
}

Napi::Value storeAdd(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto store = stores.at(number(info[0]), "store");
    const std::string key = text(info[1]);
    const int64_t amount = info[2].As<Napi::Number>().Int64Value();
    auto sum = std::make_shared<int64_t>();
    return later(
        env, [=] { *sum = store->add(key, amount); },
        [=](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, static_cast<double>(*sum)); });
  });
}

c10::intrusive_ptr<Backend> openBackend(const std::string& kind, const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                        int size, milliseconds timeout, const std::string& address) {
#ifdef USE_C10D_GLOO
  if (kind == "gloo") {
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
    options->threads = 2;
    return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
  }
#endif
#ifdef USE_C10D_NCCL
  if (kind == "nccl") {
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = timeout;
    return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
  }
#endif
  throw std::runtime_error("this libtorch has no backend " + kind);
}

// groupOpen(store, prefix, rank, size, kind, timeoutMs, address) -> promise of its number
Napi::Value groupOpen(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto store = stores.at(number(info[0]), "store");
    const std::string prefix = text(info[1]), kind = text(info[4]), address = text(info[6]);
    const int rank = info[2].As<Napi::Number>().Int32Value(), size = info[3].As<Napi::Number>().Int32Value();
    const milliseconds timeout = span(info[5]);
    auto group = std::make_shared<Group>();
    return later(
        env,
        [=] {
          const auto own = c10::make_intrusive<c10d::PrefixStore>(prefix, store);
          own->setTimeout(timeout);
          group->backend = openBackend(kind, own, rank, size, timeout, address);
          group->isGloo = kind == "gloo";
          group->rank = rank;
          group->size = size;
        },
        [=](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, static_cast<double>(groups.add(group))); });
  });
}

at::Tensor contiguousAt(Napi::Env env, const Napi::Value& handle) {
  const at::Tensor& tensor = tensorAt(stateOf(env), number(handle));
  if (!tensor.is_contiguous()) throw std::runtime_error("collectives need contiguous tensors");
  return tensor.detach();
}

// Gloo knows neither bfloat16 nor bool; where nothing is computed, bytes are as good.
at::Tensor asBytes(const at::Tensor& x) { return x.reshape({-1}).view(at::kByte); }

Napi::Value started(Napi::Env env, WorkPtr work, std::vector<at::Tensor> tensors, std::function<void()> after = {}) {
  auto pending = std::make_shared<Pending>(Pending{std::move(work), std::move(tensors), std::move(after)});
  return Napi::Number::New(env, static_cast<double>(works.add(std::move(pending))));
}

// allReduce(group, handle, 'sum' | 'max' | 'min') -> work
Napi::Value allReduce(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const at::Tensor x = contiguousAt(env, info[1]);
    const std::string op = text(info[2]);
    const auto type = op == "max" ? c10d::ReduceOp::MAX : op == "min" ? c10d::ReduceOp::MIN : c10d::ReduceOp::SUM;
    return started(env, startAllReduce(*groupAt(number(info[0])), x, type), {x});
  });
}

// broadcast(group, handle, root) -> work
Napi::Value broadcast(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const at::Tensor x = contiguousAt(env, info[1]);
    std::vector<at::Tensor> tensors{asBytes(x)};
    c10d::BroadcastOptions options;
    options.rootRank = number(info[2]);
    return started(env, groupAt(number(info[0]))->backend->broadcast(tensors, options), {x});
  });
}

// allGather(group, [size, ...] output, input) -> work
Napi::Value allGather(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto group = groupAt(number(info[0]));
    const at::Tensor output = contiguousAt(env, info[1]), input = contiguousAt(env, info[2]);
    if (output.nbytes() != input.nbytes() * group->size)
      throw std::runtime_error("all_gather: the output does not hold the inputs of all ranks");
    std::vector<at::Tensor> rows;
    for (const at::Tensor& row : asBytes(output).chunk(group->size)) rows.push_back(row);
    return started(env, startAllGather(*group, rows, asBytes(input)), {output, input});
  });
}

// reduceScatter(group, output, [size, ...] input) -> work; sums
Napi::Value reduceScatter(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto group = groupAt(number(info[0]));
    const at::Tensor output = contiguousAt(env, info[1]), input = contiguousAt(env, info[2]);
    if (input.numel() != output.numel() * group->size)
      throw std::runtime_error("reduce_scatter: the input does not hold a piece for every rank");
    if (!group->isGloo) {
      std::vector<at::Tensor> outputs{output};
      std::vector<std::vector<at::Tensor>> inputs{{}};
      for (const at::Tensor& piece : input.reshape({group->size, -1}).unbind())
        inputs[0].push_back(piece.view(output.sizes()));
      return started(env, group->backend->reduce_scatter(outputs, inputs), {output, input});
    }
    // Gloo has none: each rank gets its pieces and adds them up.
    const at::Tensor pieces = at::empty_like(input);
    return started(env, startAllToAll(*group, pieces, input), {output, input, pieces}, [=] {
      at::NoGradGuard guard;
      output.copy_(pieces.reshape({group->size, -1}).sum(0).view(output.sizes()));
    });
  });
}

Napi::Value barrier(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto group = groupAt(number(info[0]));
    c10d::BarrierOptions options;
    // Else NCCL guesses the GPU from the rank.
    if (!group->isGloo)
      options.device_ids = {c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).getDevice().index()};
    return started(env, group->backend->barrier(options), {});
  });
}

Napi::Value workWait(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    works.take(number(info[0]), "work")->finish();
    return env.Undefined();
  });
}

Napi::Value workDone(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    return Napi::Boolean::New(env, works.at(number(info[0]), "work")->work->isCompleted());
  });
}

Napi::Value workLater(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto pending = works.take(number(info[0]), "work");
    return later(env, [=] { pending->finish(); });
  });
}

// exitNow(code): no destructor runs, so no thread of a group is waited for.
Napi::Value exitNow(const Napi::CallbackInfo& info) {
  std::fflush(nullptr);
  ::_exit(info[0].As<Napi::Number>().Int32Value());
}

// useCuda(index): the GPU that `cuda` means from now on
Napi::Value useCuda(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const auto index = static_cast<c10::DeviceIndex>(info[0].As<Napi::Number>().Int32Value());
    c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).setDevice(c10::Device(c10::DeviceType::CUDA, index));
    return env.Undefined();
  });
}

}  // namespace

Napi::Value later(Napi::Env env, std::function<void()> work, std::function<Napi::Value(Napi::Env)> result) {
  auto* worker = new Later(env, std::move(work), std::move(result));
  worker->Queue();
  return worker->promise();
}

std::shared_ptr<Group> groupAt(uint32_t id) { return groups.at(id, "group"); }

WorkPtr startAllReduce(Group& group, at::Tensor x, c10d::ReduceOp::RedOpType op) {
  std::vector<at::Tensor> tensors{std::move(x)};
  c10d::AllreduceOptions options;
  options.reduceOp = op;
  return group.backend->allreduce(tensors, options);
}

WorkPtr startAllGather(Group& group, std::vector<at::Tensor> outputs, at::Tensor input) {
  std::vector<std::vector<at::Tensor>> lists{std::move(outputs)};
  std::vector<at::Tensor> inputs{std::move(input)};
  return group.backend->allgather(lists, inputs);
}

WorkPtr startAllToAll(Group& group, at::Tensor output, at::Tensor input) {
  at::Tensor to = asBytes(output), from = asBytes(input);
  std::vector<int64_t> equal;
  return group.backend->alltoall_base(to, from, equal, equal);
}

void InitCollective(Napi::Env env, Napi::Object exports) {
  auto collectives = Napi::Object::New(env);
  auto add = [&](const char* name, auto* function) { collectives.Set(name, Napi::Function::New(env, function)); };
  add("storeOpen", storeOpen);
  add("storeSet", storeSet);
  add("storeTry", storeTry);
  add("storeClaim", storeClaim);
  add("storeAdd", storeAdd);
  add("groupOpen", groupOpen);
  add("allReduce", allReduce);
  add("broadcast", broadcast);
  add("allGather", allGather);
  add("reduceScatter", reduceScatter);
  add("barrier", barrier);
  add("workWait", workWait);
  add("workDone", workDone);
  add("workLater", workLater);
  add("exitNow", exitNow);
  add("useCuda", useCuda);
  InitReducer(env, collectives);
  InitSyncBatchNorm(env, collectives);
  InitWatch(env, collectives);
  exports.Set("collectives", collectives);
}

}  // namespace esvit

#else

namespace esvit {
void InitCollective(Napi::Env, Napi::Object) {}
}  // namespace esvit

#endif
