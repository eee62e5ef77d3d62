// Batch normalisation by the statistics of all ranks' batches (Ioffe and Szegedy 2015), with its gradient.
#include "collective.h"

#ifdef ESVIT_C10D

#include <torch/csrc/autograd/custom_function.h>

namespace esvit {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// All dimensions but the second.
std::vector<int64_t> reducedDims(const at::Tensor& x) {
  std::vector<int64_t> dims{0};
  for (int64_t d = 2; d < x.dim(); d++) dims.push_back(d);
  return dims;
}

// [C] -> [1, C, 1, ...]
at::Tensor spread(const at::Tensor& channels, const at::Tensor& x) {
  std::vector<int64_t> shape(x.dim(), 1);
  shape[1] = channels.size(0);
  return channels.view(shape);
}

struct SyncBatchNorm : torch::autograd::Function<SyncBatchNorm> {
  // x: [B, C, ...], weight, bias: [C]; running statistics [C] are moved in place
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            at::Tensor runningMean, at::Tensor runningVar, double momentum, double eps, int64_t groupId) {
    const auto group = groupAt(static_cast<uint32_t>(groupId));
    const auto dims = reducedDims(x);
    const int64_t channels = x.size(1);
    const at::Tensor wide = x.to(at::kFloat);
    // Mean, sum of squares about it and count of each rank; combined about the common mean, so that nothing cancels.
    const at::Tensor mean = wide.mean(dims);
    const at::Tensor squares = (wide - spread(mean, wide)).square_().sum(dims);
    const at::Tensor count = at::full({1}, static_cast<double>(x.numel() / channels), mean.options());
    const at::Tensor own = at::cat({mean, squares, count});
    const at::Tensor all = at::empty({group->size, own.size(0)}, own.options());
    std::vector<at::Tensor> rows;
    for (const at::Tensor& row : all.unbind()) rows.push_back(row);
    startAllGather(*group, rows, own)->wait();
    const at::Tensor means = all.narrow(1, 0, channels);
    const at::Tensor counts = all.narrow(1, 2 * channels, 1);
    const at::Tensor total = counts.sum();
    const at::Tensor commonMean = (means * counts).sum(0) / total;
    const at::Tensor allSquares = (all.narrow(1, channels, channels) + (means - commonMean).square() * counts).sum(0);
    const at::Tensor variance = allSquares / total;
    const at::Tensor scale = (variance + eps).rsqrt();
    runningMean.mul_(1 - momentum).add_(commonMean, momentum);
    runningVar.mul_(1 - momentum).add_(allSquares / (total - 1), momentum);
    context->save_for_backward({x, weight, commonMean, scale, total});
    context->saved_data["group"] = groupId;
    const at::Tensor factor = scale * weight.to(at::kFloat);
    return (wide * spread(factor, wide) + spread(bias.to(at::kFloat) - commonMean * factor, wide)).to(x.scalar_type());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &mean = saved[2], &scale = saved[3], &total = saved[4];
    const auto group = groupAt(static_cast<uint32_t>(context->saved_data["group"].toInt()));
    const auto dims = reducedDims(x);
    const at::Tensor dy = gradients[0].to(at::kFloat);
    const at::Tensor normal = (x.to(at::kFloat) - spread(mean, x)) * spread(scale, x);
    const at::Tensor sum = dy.sum(dims), product = (dy * normal).sum(dims);
    // Every rank's outputs depend on every rank's inputs through the statistics.
    const at::Tensor sums = at::stack({sum, product});
    startAllReduce(*group, sums)->wait();
    const at::Tensor average = sums / total;
    const at::Tensor dx = (dy - spread(average[0], x) - normal * spread(average[1], x)) *
                          spread(scale * weight.to(at::kFloat), x);
    at::Tensor none;
    return {dx.to(x.scalar_type()), product.to(weight.scalar_type()), sum.to(weight.scalar_type()), none, none, none, none, none};
  }
};

// syncBatchNorm(group, x, weight, bias, runningMean, runningVar, momentum, eps) -> handle
Napi::Value syncBatchNorm(const Napi::CallbackInfo& info) {
  return protect(info, [&](Napi::Env env) -> Napi::Value {
    State& state = stateOf(env);
    auto tensor = [&](size_t i) { return tensorAt(state, info[i].As<Napi::Number>().Uint32Value()); };
    const at::Tensor y = SyncBatchNorm::apply(tensor(1), tensor(2), tensor(3), tensor(4), tensor(5),
                                              info[6].As<Napi::Number>().DoubleValue(), info[7].As<Napi::Number>().DoubleValue(),
                                              info[0].As<Napi::Number>().Int64Value());
    return Napi::Number::New(env, keep(env, y));
  });
}

}  // namespace

void InitSyncBatchNorm(Napi::Env env, Napi::Object exports) {
  exports.Set("syncBatchNorm", Napi::Function::New(env, syncBatchNorm));
}

}  // namespace esvit

#endif
