// Operators in one pass over memory, with their gradients: layer and weight norm, GELU, attention in windows, on CPUs.
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "fused.h"

namespace esvit {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Sums over all rows or windows are added up in this many parts, whatever the number of threads: they come out the same.
constexpr int64_t kParts = 8;

at::Tensor floats(at::IntArrayRef shape) { return at::empty(shape, at::kFloat); }

struct LayerNorm : torch::autograd::Function<LayerNorm> {
  // x: [..., width] of float32 or bfloat16; weight, bias: [width] float32
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given, const at::Tensor& weight,
                            const at::Tensor& bias, double eps) {
    const at::Tensor x = given.contiguous();
    const int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
    const at::Tensor y = at::empty_like(x), mean = floats({rows}), rstd = floats({rows});
    typed(x, [&](auto kind) {
      using T = decltype(kind);
      const auto run = chosen().of(kind).layerNorm;
      const int64_t count = std::min<int64_t>(rows, 64);
      forPieces(count, [&](int64_t number) {
        const Piece piece(rows, number, count);
        run(pointer<T>(x) + piece.first * width, pointer<float>(weight), pointer<float>(bias),
            pointer<T>(y) + piece.first * width, pointer<float>(mean) + piece.first, pointer<float>(rstd) + piece.first,
            piece.last - piece.first, width, static_cast<float>(eps));
      });
    });
    context->save_for_backward({x, weight, mean, rstd});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &mean = saved[2], &rstd = saved[3];
    const at::Tensor dy = gradients[0].to(x.scalar_type()).contiguous();
    const int64_t width = x.size(-1), rows = mean.size(0);
    const at::Tensor dx = at::empty_like(x), sums = at::zeros({2, kParts, width}, at::kFloat);
    typed(x, [&](auto kind) {
      using T = decltype(kind);
      const auto run = chosen().of(kind).layerNormBackward;
      forPieces(kParts, [&](int64_t number) {
        const Piece piece(rows, number, kParts);
        run(pointer<T>(dy) + piece.first * width, pointer<T>(x) + piece.first * width, pointer<float>(weight),
            pointer<float>(mean) + piece.first, pointer<float>(rstd) + piece.first, pointer<T>(dx) + piece.first * width,
            pointer<float>(sums) + number * width, pointer<float>(sums) + (kParts + number) * width,
            piece.last - piece.first, width);
      });
    });
    const at::Tensor both = sums.sum({1});
    return {dx, both[0], both[1], at::Tensor()};
  }
};

struct Gelu : torch::autograd::Function<Gelu> {
  // x of float32 or bfloat16
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given) {
    const at::Tensor x = given.contiguous(), y = at::empty_like(x);
    typed(x, [&](auto kind) {
      using T = decltype(kind);
      forElements(x.numel(), [&](int64_t first, int64_t count) {
        chosen().of(kind).gelu(pointer<T>(x) + first, pointer<T>(y) + first, count);
      });
    });
    context->save_for_backward({x});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::Tensor x = context->get_saved_variables()[0];
    const at::Tensor dy = gradients[0].to(x.scalar_type()).contiguous(), dx = at::empty_like(x);
    typed(x, [&](auto kind) {
      using T = decltype(kind);
      forElements(x.numel(), [&](int64_t first, int64_t count) {
        chosen().of(kind).geluBackward(pointer<T>(dy) + first, pointer<T>(x) + first, pointer<T>(dx) + first, count);
      });
    });
    return {dx};
  }
};

struct WeightNorm : torch::autograd::Function<WeightNorm> {
  // v: [rows, width], gain: [rows, 1], both float32 -> gain v / |v| in bfloat16
  static at::Tensor forward(AutogradContext* context, const at::Tensor& v, const at::Tensor& gain) {
    expect(v.is_contiguous() && gain.is_contiguous() && gain.numel() == v.size(0), "shapes of a normalised weight");
    const int64_t rows = v.size(0), width = v.size(1);
    const at::Tensor w = at::empty({rows, width}, at::kBFloat16), norms = floats({rows});
    const int64_t count = std::min<int64_t>(rows, 256);
    forPieces(count, [&](int64_t number) {
      const Piece piece(rows, number, count);
      chosen().half.weightNorm(pointer<float>(v) + piece.first * width, pointer<float>(gain) + piece.first,
                               pointer<Half>(w) + piece.first * width, pointer<float>(norms) + piece.first,
                               piece.last - piece.first, width);
    });
    context->save_for_backward({v, gain, norms});
    return w;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &v = saved[0], &gain = saved[1], &norms = saved[2];
    const at::Tensor dw = gradients[0].to(at::kBFloat16).contiguous();
    const at::Tensor dv = at::empty_like(v), dgain = at::empty_like(gain);
    const int64_t rows = v.size(0), width = v.size(1), count = std::min<int64_t>(rows, 256);
    forPieces(count, [&](int64_t number) {
      const Piece piece(rows, number, count);
      const int64_t first = piece.first;
      chosen().half.weightNormBackward(pointer<Half>(dw) + first * width, pointer<float>(v) + first * width,
                                       pointer<float>(gain) + first, pointer<float>(norms) + first,
                                       pointer<float>(dv) + first * width, pointer<float>(dgain) + first,
                                       piece.last - first, width);
    });
    return {dv, dgain};
  }
};

struct WindowAttention : torch::autograd::Function<WindowAttention> {
  // qkv: [B, H, W, 3 heads D] of float32 or bfloat16; outside: [3 heads D] float32 of tokens outside the map, or of no
  // elements for zeros; bias: [heads, L, L] float32 -> [B, H, W, heads D]
  static at::Tensor forward(AutogradContext* context, const at::Tensor& given, const at::Tensor& outside,
                            const at::Tensor& bias, int64_t window, int64_t shift) {
    const at::Tensor qkv = given.contiguous();
    const int64_t heads = bias.size(0), channels = qkv.size(3) / 3;
    expect(qkv.size(3) == 3 * channels && channels % heads == 0 && bias.size(1) == window * window &&
               bias.size(2) == window * window && bias.scalar_type() == at::kFloat,
           "shapes of window attention");
    const WindowMap map = mapOf(qkv, heads, window, shift);
    const at::Tensor padded = paddedBias(bias, map), own = outsideOf(outside, qkv);
    const at::Tensor out = at::empty({qkv.size(0), qkv.size(1), qkv.size(2), channels}, qkv.options());
    typed(qkv, [&](auto kind) {
      using T = decltype(kind);
      const auto run = chosen().of(kind).attention;
      const int64_t count = std::min<int64_t>(map.windows(), 64);
      forPieces(count, [&](int64_t number) {
        const Piece piece(map.windows(), number, count);
        std::vector<float> scratch(static_cast<size_t>(chosen().scratch(map)), 0.0f);
        run(map, pointer<T>(qkv), pointer<float>(own), pointer<float>(padded), pointer<T>(out), piece.first, piece.last,
            scratch.data());
      });
    });
    context->save_for_backward({qkv, outside, bias});
    context->saved_data["window"] = window;
    context->saved_data["shift"] = shift;
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &qkv = saved[0], &outside = saved[1], &bias = saved[2];
    const at::Tensor dout = gradients[0].to(qkv.scalar_type()).contiguous();
    const WindowMap map = mapOf(qkv, bias.size(0), context->saved_data["window"].toInt(), context->saved_data["shift"].toInt());
    const at::Tensor padded = paddedBias(bias, map), own = outsideOf(outside, qkv);
    const at::Tensor dqkv = at::empty_like(qkv);
    const int64_t count = std::min<int64_t>(map.windows(), kParts);
    const at::Tensor doutside = at::zeros({count, 3 * map.channels()}, at::kFloat);
    const at::Tensor dbias = at::zeros({count, padded.size(0), padded.size(1), padded.size(2)}, at::kFloat);
    typed(qkv, [&](auto kind) {
      using T = decltype(kind);
      const auto run = chosen().of(kind).attentionBackward;
      forPieces(count, [&](int64_t number) {
        const Piece piece(map.windows(), number, count);
        std::vector<float> scratch(static_cast<size_t>(chosen().scratch(map)), 0.0f);
        run(map, pointer<T>(dout), pointer<T>(qkv), pointer<float>(own), pointer<float>(padded), pointer<T>(dqkv),
            pointer<float>(doutside) + number * doutside.size(1), pointer<float>(dbias) + number * padded.numel(),
            piece.first, piece.last, scratch.data());
      });
    });
    const at::Tensor sum = outside.numel() > 0 ? doutside.sum(0) : at::Tensor();
    return {dqkv, sum, dbias.sum(0).narrow(2, 0, map.length()), at::Tensor(), at::Tensor()};
  }

 private:
  static WindowMap mapOf(const at::Tensor& qkv, int64_t heads, int64_t window, int64_t shift) {
    const int64_t depth = qkv.size(3) / 3 / heads;
    return {qkv.size(0), qkv.size(1), qkv.size(2), heads, depth, window, shift, 1.0f / std::sqrt(static_cast<float>(depth))};
  }

  // Rows as long as the kernels' vectors ask for.
  static at::Tensor paddedBias(const at::Tensor& bias, const WindowMap& map) {
    const int64_t length = map.length();
    const at::Tensor padded = at::full({map.heads, length, chosen().paddedLength(length)},
                                       -std::numeric_limits<float>::infinity(), at::kFloat);
    padded.narrow(2, 0, length).copy_(bias);
    return padded;
  }

  static at::Tensor outsideOf(const at::Tensor& outside, const at::Tensor& qkv) {
    if (outside.numel() == 0) return at::zeros({qkv.size(3)}, at::kFloat);
    return outside.to(qkv.scalar_type()).to(at::kFloat).contiguous();
  }
};

// layerNorm(x, weight, bias, eps) -> handle
Napi::Value layerNorm(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    return Napi::Number::New(env, keep(env, LayerNorm::apply(tensorFrom(info, 0), tensorFrom(info, 1), tensorFrom(info, 2),
                                                             info[3].As<Napi::Number>().DoubleValue())));
  });
}

// gelu(x) -> handle
Napi::Value gelu(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    return Napi::Number::New(env, keep(env, Gelu::apply(tensorFrom(info, 0))));
  });
}

// weightNorm(v, gain) -> handle, bfloat16
Napi::Value weightNorm(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    return Napi::Number::New(env, keep(env, WeightNorm::apply(tensorFrom(info, 0), tensorFrom(info, 1))));
  });
}

// windowAttention(qkv, outside or 0, bias, window, shift) -> handle
Napi::Value windowAttention(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    return Napi::Number::New(
        env, keep(env, WindowAttention::apply(tensorFrom(info, 0), tensorFrom(info, 1), tensorFrom(info, 2),
                                              info[3].As<Napi::Number>().Int64Value(), info[4].As<Napi::Number>().Int64Value())));
  });
}

}  // namespace

void InitFused(Napi::Env env, Napi::Object exports) {
  exports.Set("layerNorm", Napi::Function::New(env, layerNorm));
  exports.Set("gelu", Napi::Function::New(env, gelu));
  exports.Set("weightNorm", Napi::Function::New(env, weightNorm));
  exports.Set("windowAttention", Napi::Function::New(env, windowAttention));
}

}  // namespace esvit
