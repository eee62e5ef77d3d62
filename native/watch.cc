// A thread that says that this process is alive while others compute, and ends it when the run is lost.
#include "collective.h"

#ifdef ESVIT_C10D

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>

namespace esvit {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// One a process, never destroyed: its thread may be waiting for a store that is gone.
struct Watch {
  std::mutex mutex;
  std::condition_variable wake;
  bool stopping = false;
  std::string state = "starting";
  double step = 0;
};
Watch* watch = nullptr;

[[noreturn]] void leave(const char* why) {
  std::fprintf(stderr, "error: %s; this process ends.\n", why);
  std::fflush(nullptr);
  ::_exit(1);
}

void serve(Watch& own, std::string host, c10d::TCPStoreOptions options, std::string prefix, std::string name, milliseconds interval,
           milliseconds grace) {
  c10::intrusive_ptr<c10d::TCPStore> store;
  Clock::time_point lostAt{};
  bool isLost = false;
  for (int64_t beat = 1;; beat++) {
    std::string text = std::to_string(beat) + " ";
    {
      std::lock_guard<std::mutex> lock(own.mutex);
      if (own.stopping) return;
      text += std::to_string(static_cast<int64_t>(own.step)) + " " + own.state;
    }
    const char* why = nullptr;
    try {
      if (!store) store = c10::make_intrusive<c10d::TCPStore>(host, options);
      store->set(prefix + "beat/" + name, {text.begin(), text.end()});
      if (store->check({prefix + "failed"})) why = "another rank failed and this one did not end by itself";
    } catch (const std::exception&) {
      store.reset();
      why = "the store of the run cannot be reached any more";
    }
    if (why == nullptr) isLost = false;
    if (why != nullptr && !isLost) lostAt = Clock::now();
    if (why != nullptr) isLost = true;
    std::unique_lock<std::mutex> lock(own.mutex);
    if (own.wake.wait_for(lock, interval, [&] { return own.stopping; })) return;
    if (isLost && Clock::now() - lostAt > grace) leave(why);
  }
}

// watchStart(host, port, prefix, name, intervalMs, graceMs)
Napi::Value watchStart(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    if (watch != nullptr) throw std::runtime_error("internal: the watch is on already");
    watch = new Watch();
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(info[1].As<Napi::Number>().Uint32Value());
    options.waitWorkers = false;
    options.timeout = std::chrono::seconds(10);
    const auto text = [&](size_t i) { return info[i].As<Napi::String>().Utf8Value(); };
    const auto span = [&](size_t i) { return milliseconds(info[i].As<Napi::Number>().Int64Value()); };
    std::thread(serve, std::ref(*watch), text(0), options, text(2), text(3), span(4), span(5)).detach();
    return env.Undefined();
  });
}

// watchSay(step, state): what the next beats tell
Napi::Value watchSay(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    if (watch == nullptr) return env.Undefined();
    std::lock_guard<std::mutex> lock(watch->mutex);
    watch->step = info[0].As<Napi::Number>().DoubleValue();
    watch->state = info[1].As<Napi::String>().Utf8Value();
    return env.Undefined();
  });
}

Napi::Value watchStop(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    if (watch == nullptr) return env.Undefined();
    {
      std::lock_guard<std::mutex> lock(watch->mutex);
      watch->stopping = true;
    }
    watch->wake.notify_all();
    watch = nullptr;
    return env.Undefined();
  });
}

// dieWithParent(parent): the kernel ends this process when the launcher is gone, however it went.
Napi::Value dieWithParent(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != info[0].As<Napi::Number>().Int32Value()) leave("the launcher is gone");
    return env.Undefined();
  });
}

}  // namespace

void InitWatch(Napi::Env env, Napi::Object exports) {
  exports.Set("watchStart", Napi::Function::New(env, watchStart));
  exports.Set("watchSay", Napi::Function::New(env, watchSay));
  exports.Set("watchStop", Napi::Function::New(env, watchStop));
  exports.Set("dieWithParent", Napi::Function::New(env, dieWithParent));
}

}  // namespace esvit

#endif
