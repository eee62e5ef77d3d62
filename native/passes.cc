// Single passes over rows of logits and over parameters, which nobody differentiates.
#include "fused.h"

#include <atomic>
#include <vector>

namespace esvit {

namespace {
std::atomic<const Kernels*> forced{nullptr};
}

const Kernels& chosen() {
  const Kernels* own = forced.load();
  return own != nullptr ? *own : kernels();
}

namespace {

float numberAt(const Napi::CallbackInfo& info, size_t i) {
  return static_cast<float>(info[i].As<Napi::Number>().DoubleValue());
}

bool plain(const at::Tensor& x) { return x.is_cpu() && x.is_contiguous() && x.scalar_type() == at::kFloat; }

// For autograd: what is written behind its back is a new version.
void noteWritten(const at::Tensor& x) {
  if (!x.is_inference()) x.unsafeGetTensorImpl()->bump_version();
}

// crossEntropy(x, q, total, totals or 0, factor, weight, gradient) -> handle of the loss of all rows. x: [rows, K], gradient
// the same; q: [rows, K] float32; total: Σ q of a row, or totals: [rows, 1] of each
Napi::Value crossEntropy(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const at::Tensor x = tensorFrom(info, 0).contiguous(), q = tensorFrom(info, 1).contiguous();
    const at::Tensor totals = tensorFrom(info, 3).to(at::kFloat).contiguous(), gradient = tensorFrom(info, 6);
    const float total = numberAt(info, 2), factor = numberAt(info, 4), weight = numberAt(info, 5);
    const int64_t rows = x.size(0), width = x.size(1);
    expect(gradient.is_contiguous() && gradient.sizes() == x.sizes() && gradient.scalar_type() == x.scalar_type() &&
               q.sizes() == x.sizes() && plain(q) && (totals.numel() == 0 || totals.numel() == rows),
           "shapes of the cross-entropy");
    const at::Tensor losses = at::empty({rows}, at::kFloat);
    typed(x, [&](auto kind) {
      using T = decltype(kind);
      const auto run = chosen().of(kind).crossEntropy;
      const int64_t count = std::min<int64_t>(rows, 64);
      forPieces(count, [&](int64_t number) {
        const Piece piece(rows, number, count);
        std::vector<float> scratch(static_cast<size_t>(width));
        for (int64_t row = piece.first; row < piece.last; row++)
          pointer<float>(losses)[row] =
              run(pointer<T>(x) + row * width, pointer<float>(q) + row * width, factor,
                  totals.numel() == 0 ? total : pointer<float>(totals)[row], weight, pointer<T>(gradient) + row * width,
                  scratch.data(), width);
      });
    });
    noteWritten(gradient);
    return Napi::Number::New(env, keep(env, losses.sum()));
  });
}

// sharpen(x, center, factor) -> handle of softmax((x - center) factor), float32; x: [rows, K], center: [1, K] float32
Napi::Value sharpen(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const at::Tensor x = tensorFrom(info, 0).contiguous(), center = tensorFrom(info, 1);
    const float factor = numberAt(info, 2);
    const int64_t rows = x.size(0), width = x.size(1);
    expect(plain(center) && center.numel() == width, "shapes of the teacher's answers");
    const at::Tensor out = at::empty({rows, width}, at::kFloat);
    typed(x, [&](auto kind) {
      using T = decltype(kind);
      const auto run = chosen().of(kind).sharpen;
      forPieces(rows, [&](int64_t row) {
        run(pointer<T>(x) + row * width, pointer<float>(center), factor, pointer<float>(out) + row * width, width);
      });
    });
    return Napi::Number::New(env, keep(env, out));
  });
}

// Lists of tensors of the same shapes, one after the other, cut into pieces of about the same size.
class Lists {
 public:
  Lists(const Napi::CallbackInfo& info, size_t count) {
    State& state = stateOf(info.Env());
    for (size_t list = 0; list < count; list++) {
      const auto handles = info[list].As<Napi::Array>();
      lists_.emplace_back();
      for (uint32_t i = 0; i < handles.Length(); i++)
        lists_.back().push_back(tensorAt(state, handles.Get(i).As<Napi::Number>().Uint32Value()));
      expect(lists_.back().size() == lists_[0].size(), "lists of one length");
    }
    for (size_t i = 0; i < lists_[0].size(); i++)
      for (int64_t first = 0; first < lists_[0][i].numel(); first += kPiece) pieces_.push_back({i, first});
  }

  // Whether the kernels can work on all of them.
  bool fit() const {
    for (const auto& list : lists_)
      for (size_t i = 0; i < list.size(); i++)
        if (!plain(list[i]) || list[i].sizes() != lists_[0][i].sizes()) return false;
    return true;
  }

  // work(pointer(list), count) for every piece
  template <class Work>
  void run(const Work& work) const {
    forPieces(static_cast<int64_t>(pieces_.size()), [&](int64_t number) {
      const auto [i, first] = pieces_[static_cast<size_t>(number)];
      const size_t tensor = i;
      const int64_t start = first;
      work([&](size_t list) { return pointer<float>(lists_[list][tensor]) + start; },
           std::min(kPiece, lists_[0][tensor].numel() - start));
    });
  }

  void noteWrittenIn(size_t list) const {
    for (const at::Tensor& x : lists_[list]) noteWritten(x);
  }

 private:
  static constexpr int64_t kPiece = 1 << 16;
  std::vector<std::vector<at::Tensor>> lists_;
  std::vector<std::pair<size_t, int64_t>> pieces_;
};

// adamw(parameters, gradients, means, squares, decay, beta1, beta2, correction, eps, rate) -> whether it was done: not for
// tensors that are not contiguous float32 of the CPU
Napi::Value adamw(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const Lists lists(info, 4);
    if (!lists.fit()) return Napi::Boolean::New(env, false);
    const double beta1 = info[5].As<Napi::Number>().DoubleValue(), beta2 = info[6].As<Napi::Number>().DoubleValue();
    const AdamWSettings settings{numberAt(info, 4), static_cast<float>(beta1), static_cast<float>(1 - beta1),
                                 static_cast<float>(beta2), static_cast<float>(1 - beta2), numberAt(info, 7),
                                 numberAt(info, 8), numberAt(info, 9)};
    lists.run([&](const auto& list, int64_t count) { chosen().adamw(settings, list(0), list(1), list(2), list(3), count); });
    for (const size_t list : {size_t{0}, size_t{2}, size_t{3}}) lists.noteWrittenIn(list);
    return Napi::Boolean::New(env, true);
  });
}

// moveAverage(averages, values, momentum) -> whether it was done
Napi::Value moveAverage(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    const Lists lists(info, 2);
    if (!lists.fit()) return Napi::Boolean::New(env, false);
    const double momentum = info[2].As<Napi::Number>().DoubleValue();
    lists.run([&](const auto& list, int64_t count) {
      chosen().movingAverage(static_cast<float>(momentum), static_cast<float>(1 - momentum), list(0), list(1), count);
    });
    lists.noteWrittenIn(0);
    return Napi::Boolean::New(env, true);
  });
}

// useKernels(name or null: the machine's best) -> the name of those in use, null where the machine has none of that name
Napi::Value useKernels(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    if (info[0].IsString()) {
      const Kernels* found = kernelsNamed(info[0].As<Napi::String>().Utf8Value().c_str());
      if (found == nullptr) return env.Null();
      forced = found;
    } else {
      forced = nullptr;
    }
    return Napi::String::New(env, chosen().name);
  });
}

}  // namespace

void InitPasses(Napi::Env env, Napi::Object exports) {
  exports.Set("crossEntropy", Napi::Function::New(env, crossEntropy));
  exports.Set("sharpen", Napi::Function::New(env, sharpen));
  exports.Set("adamw", Napi::Function::New(env, adamw));
  exports.Set("moveAverage", Napi::Function::New(env, moveAverage));
  exports.Set("useKernels", Napi::Function::New(env, useKernels));
}

}  // namespace esvit
