// What the operators that run kernels share.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "handles.h"
#include "kernels.h"
#include "parallel.h"

namespace esvit {

// The kernels in use.
const Kernels& chosen();

template <class T>
T* pointer(const at::Tensor& x) {
  return static_cast<T*>(x.data_ptr());
}

// Calls body with a value of the type that x has in the kernels.
template <class Body>
void typed(const at::Tensor& x, const Body& body) {
  if (x.scalar_type() == at::kFloat) body(float{});
  else if (x.scalar_type() == at::kBFloat16) body(Half{});
  else throw std::runtime_error("expected float32 or bfloat16, received " + nameOf(x.scalar_type()));
}

inline void expect(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(std::string("internal: ") + what);
}

// Calls work(first, count) for pieces of `length` elements.
template <class Work>
void forElements(int64_t length, const Work& work) {
  constexpr int64_t kPiece = 1 << 14;
  const int64_t count = (length + kPiece - 1) / kPiece;
  forPieces(count, [&](int64_t number) {
    const int64_t first = number * kPiece;
    work(first, std::min(kPiece, length - first));
  });
}

// The tensor of a handle; one of no elements for 0.
inline at::Tensor tensorFrom(const Napi::CallbackInfo& info, size_t i) {
  const uint32_t handle = info[i].As<Napi::Number>().Uint32Value();
  return handle == 0 ? at::empty({0}, at::kFloat) : tensorAt(stateOf(info.Env()), handle);
}

}  // namespace esvit
