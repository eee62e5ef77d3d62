// Gradients of all ranks are averaged in buckets, each as soon as backward has filled it.
#include "collective.h"

#ifdef ESVIT_C10D

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/utils/lambda_post_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_map>

// libgomp's own, if libtorch computes with it.
extern "C" __attribute__((weak)) void omp_set_num_threads(int);

namespace esvit {
namespace {

using Clock = std::chrono::steady_clock;
double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Some parameters' gradients side by side in one flat tensor, and for each a flag: has any rank a gradient for it?
struct Bucket {
  std::vector<size_t> members;
  std::vector<int64_t> offsets;
  int64_t elements = 0;  // without the flags
  at::Tensor flat;       // [elements + members], padded to a multiple of the number of ranks
  at::Tensor flags;      // [members], the end of `flat`, on the CPU filled by hand
  size_t pending = 0;
  WorkPtr work;
};

struct Stats {
  double bytes = 0;   // sent by this rank in this step
  double busy = 0;    // seconds in which the exchange was under way
  double waited = 0;  // seconds of them after backward, in which nothing else could be done
  double buckets = 0;
};

class Reducer : public std::enable_shared_from_this<Reducer> {
 public:
  Reducer(std::shared_ptr<Group> group, std::vector<at::Tensor> params, int64_t firstBytes, int64_t bytes, bool half)
      : group_(std::move(group)), params_(std::move(params)), half_(half), bucketOf_(params_.size()), slotOf_(params_.size()) {
    cut(firstBytes, bytes);
  }

  void start() {
    for (size_t i = 0; i < params_.size(); i++) {
      auto accumulator = torch::autograd::impl::grad_accumulator(params_[i]);
      std::weak_ptr<Reducer> self = weak_from_this();
      accumulator->add_post_hook(std::make_unique<torch::autograd::utils::LambdaPostHook>(
          [self, i](const torch::autograd::variable_list& outputs, const torch::autograd::variable_list&) {
            if (const auto reducer = self.lock()) reducer->ready(i);
            return outputs;
          }));
      accumulators_.push_back(std::move(accumulator));
    }
    // Gloo's collectives are run by a thread of ours, in order; NCCL has its own stream.
    if (group_->isGloo) thread_ = std::thread([this] { serve(); });
  }

  ~Reducer() {
    if (!thread_.joinable()) return;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  // The next backward is the last of this step: its gradients, with what was added up before, are exchanged.
  void arm() {
    std::lock_guard<std::mutex> lock(mutex_);
    at::NoGradGuard guard;
    for (Bucket& bucket : buckets_) {
      bucket.pending = bucket.members.size();
      bucket.flags.zero_();
    }
    isReady_.assign(params_.size(), false);
    next_ = done_ = 0;
    failure_ = nullptr;
    stats_ = {};
    armed_ = true;
  }

  Stats finish() {
    at::NoGradGuard guard;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!armed_) throw std::runtime_error("internal: nothing to exchange was announced");
      armed_ = false;
      // What had no gradient here may have one elsewhere: it counts as zero, and everybody sends the same buckets.
      for (Bucket& bucket : buckets_)
        for (size_t slot = 0; slot < bucket.members.size(); slot++)
          if (!isReady_[bucket.members[slot]]) take(bucket, slot);
      launch();
    }
    const auto start = Clock::now();
    if (group_->isGloo) {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return failure_ || done_ == buckets_.size(); });
      if (failure_) std::rethrow_exception(failure_);
    } else {
      for (Bucket& bucket : buckets_) bucket.work->wait();
      for (Bucket& bucket : buckets_)
        if (half_) bucket.flat.copy_(wire_[&bucket - buckets_.data()]);
    }
    stats_.waited = secondsSince(start);
    hand();
    return stats_;
  }

 private:
  // Backward fills the last parameters first, so they come first here.
  void cut(int64_t firstBytes, int64_t bytes) {
    at::NoGradGuard guard;
    Bucket bucket;
    auto close = [&] {
      if (bucket.members.empty()) return;
      const int64_t length = bucket.elements + static_cast<int64_t>(bucket.members.size());
      const int64_t padded = (length + group_->size - 1) / group_->size * group_->size;
      const auto options = params_[bucket.members[0]].options().dtype(at::kFloat).requires_grad(false);
      bucket.flat = at::zeros({padded}, options);
      bucket.flags = bucket.flat.narrow(0, bucket.elements, static_cast<int64_t>(bucket.members.size()));
      if (half_) wire_.push_back(at::empty({padded}, options.dtype(at::kBFloat16)));
      buckets_.push_back(std::move(bucket));
      bucket = Bucket();
    };
    for (size_t at = params_.size(); at-- > 0;) {
      const at::Tensor& param = params_[at];
      if (param.scalar_type() != at::kFloat) throw std::runtime_error("internal: gradients of float32 only are exchanged");
      bucketOf_[at] = buckets_.size();
      slotOf_[at] = bucket.members.size();
      bucket.members.push_back(at);
      bucket.offsets.push_back(bucket.elements);
      bucket.elements += param.numel();
      if (bucket.elements * 4 >= (buckets_.empty() ? firstBytes : bytes)) close();
    }
    close();
  }

  // Called by backward, maybe on a thread of its own.
  void ready(size_t i) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!armed_ || isReady_[i]) return;
    at::NoGradGuard guard;
    try {
      take(buckets_[bucketOf_[i]], slotOf_[i]);
      launch();
    } catch (...) {
      failure_ = std::current_exception();
      throw;
    }
  }

  // Copies one gradient, divided by the number of ranks, to its place.
  void take(Bucket& bucket, size_t slot) {
    const size_t i = bucket.members[slot];
    const at::Tensor& gradient = params_[i].grad();
    at::Tensor place = bucket.flat.narrow(0, bucket.offsets[slot], params_[i].numel());
    if (gradient.defined()) {
      const at::Tensor values = gradient.reshape({-1}).to(at::kFloat);
      at::mul_out(place, values, at::scalar_tensor(1.0 / group_->size, values.options()));
      bucket.flags.narrow(0, static_cast<int64_t>(slot), 1).fill_(1.0);
    } else {
      place.zero_();
    }
    isReady_[i] = true;
    bucket.pending--;
  }

  // All ranks must send in the same order, so a bucket waits for those before it.
  void launch() {
    for (; next_ < buckets_.size() && buckets_[next_].pending == 0; next_++) {
      Bucket& bucket = buckets_[next_];
      const double bytes = static_cast<double>(bucket.flat.numel()) * (half_ ? 2 : 4);
      stats_.bytes += 2.0 * (group_->size - 1) / group_->size * bytes;
      stats_.buckets++;
      if (group_->isGloo) {
        queue_.push_back(next_);
        wake_.notify_all();
      } else if (half_) {
        wire_[next_].copy_(bucket.flat);
        bucket.work = startAllReduce(*group_, wire_[next_]);
      } else {
        bucket.work = startAllReduce(*group_, bucket.flat);
      }
    }
  }

  void serve() {
    at::NoGradGuard guard;
    // One thread here: the others compute backward. (The first call sets this thread's number from the global one.)
    at::internal::lazy_init_num_threads();
    if (omp_set_num_threads) omp_set_num_threads(1);
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return closing_ || !queue_.empty(); });
      if (closing_) return;
      const size_t at = queue_.front();
      queue_.pop_front();
      if (failure_) continue;
      lock.unlock();
      const auto start = Clock::now();
      std::exception_ptr failure;
      try {
        if (half_)
          exchangeHalf(buckets_[at].flat, wire_[at]);
        else
          startAllReduce(*group_, buckets_[at].flat)->wait();
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      stats_.busy += secondsSince(start);
      done_++;
      if (failure) failure_ = failure;
      wake_.notify_all();
    }
  }

  // Gloo cannot add bfloat16. So each rank gets its part of everybody's numbers, adds in float32, and passes the
  // sums round: as many bytes as a ring takes, and one rounding of the sum instead of one a hop.
  void exchangeHalf(at::Tensor flat, at::Tensor wire) {
    const int64_t size = group_->size, part = flat.numel() / size;
    wire.copy_(flat);
    at::Tensor pieces = at::empty_like(wire);
    startAllToAll(*group_, pieces, wire)->wait();
    const at::Tensor sum = pieces.view({size, part}).to(at::kFloat).sum(0).to(at::kBFloat16);
    std::vector<at::Tensor> rows;
    for (const at::Tensor& row : wire.view({size, part}).unbind()) rows.push_back(row.view(at::kByte));
    startAllGather(*group_, rows, sum.view(at::kByte))->wait();
    flat.copy_(wire);
  }

  // The averaged gradients take the place of the local ones, without a copy.
  void hand() {
    for (Bucket& bucket : buckets_) {
      const at::Tensor flags = bucket.flags.cpu();
      const float* has = flags.data_ptr<float>();
      for (size_t slot = 0; slot < bucket.members.size(); slot++) {
        const at::Tensor& param = params_[bucket.members[slot]];
        if (has[slot] > 0)
          param.mutable_grad() = bucket.flat.narrow(0, bucket.offsets[slot], param.numel()).view(param.sizes());
      }
    }
  }

  std::shared_ptr<Group> group_;
  std::vector<at::Tensor> params_;
  bool half_;
  std::vector<size_t> bucketOf_, slotOf_;
  std::vector<Bucket> buckets_;
  std::vector<at::Tensor> wire_;
  std::vector<decltype(torch::autograd::impl::grad_accumulator(std::declval<at::Tensor&>()))> accumulators_;
  std::vector<bool> isReady_;
  bool armed_ = false;
  size_t next_ = 0, done_ = 0;
  Stats stats_;
  std::exception_ptr failure_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<size_t> queue_;
  bool closing_ = false;
  std::thread thread_;
};

// Never destroyed with the process: the thread may be waiting for a peer that is gone.
auto& reducers = *new std::unordered_map<uint32_t, std::shared_ptr<Reducer>>();
uint32_t lastReducer = 0;

Reducer& reducerAt(const Napi::Value& id) {
  const auto found = reducers.find(id.As<Napi::Number>().Uint32Value());
  if (found == reducers.end()) throw std::runtime_error("internal: unknown reducer");
  return *found->second;
}

// reducerOpen(group, parameterHandles, firstBytes, bytes, half) -> number
Napi::Value reducerOpen(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    std::vector<at::Tensor> params;
    const auto handles = info[1].As<Napi::Array>();
    for (uint32_t i = 0; i < handles.Length(); i++)
      params.push_back(tensorAt(stateOf(env), handles.Get(i).As<Napi::Number>().Uint32Value()));
    auto reducer = std::make_shared<Reducer>(groupAt(info[0].As<Napi::Number>().Uint32Value()), std::move(params),
                                             info[2].As<Napi::Number>().Int64Value(), info[3].As<Napi::Number>().Int64Value(),
                                             info[4].As<Napi::Boolean>().Value());
    reducer->start();
    reducers[++lastReducer] = std::move(reducer);
    return Napi::Number::New(env, lastReducer);
  });
}

Napi::Value reducerArm(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    reducerAt(info[0]).arm();
    return env.Undefined();
  });
}

// reducerFinish(reducer) -> [bytes sent, seconds busy, seconds waited, buckets]
Napi::Value reducerFinish(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const Stats stats = reducerAt(info[0]).finish();
    auto result = Napi::Array::New(env, 4);
    result.Set(0u, stats.bytes);
    result.Set(1u, stats.busy);
    result.Set(2u, stats.waited);
    result.Set(3u, stats.buckets);
    return result;
  });
}

Napi::Value reducerClose(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    reducers.erase(info[0].As<Napi::Number>().Uint32Value());
    return env.Undefined();
  });
}

}  // namespace

void InitReducer(Napi::Env env, Napi::Object exports) {
  exports.Set("reducerOpen", Napi::Function::New(env, reducerOpen));
  exports.Set("reducerArm", Napi::Function::New(env, reducerArm));
  exports.Set("reducerFinish", Napi::Function::New(env, reducerFinish));
  exports.Set("reducerClose", Napi::Function::New(env, reducerClose));
}

}  // namespace esvit

#endif
