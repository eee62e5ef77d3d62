// Loops over pieces of work, on libtorch's own threads.
#pragma once

#include <ATen/ATen.h>
#include <ATen/TensorIterator.h>

#include <cstdint>

namespace esvit {

// Calls work(piece) for all pieces of [0, count). at::parallel_for does that too, but it is compiled into its caller, and
// runs on one thread where that was not built for the OpenMP of libtorch. Iterating over a tensor is libtorch's own code.
template <class Work>
void forPieces(int64_t count, const Work& work) {
  at::Tensor numbers = at::empty({count}, at::kLong);
  auto* number = numbers.data_ptr<int64_t>();
  for (int64_t i = 0; i < count; i++) number[i] = i;
  auto iterator = at::TensorIteratorConfig().add_output(numbers).resize_outputs(false).check_all_same_dtype(false).build();
  iterator.for_each(
      [&](char** data, const int64_t* strides, int64_t inner, int64_t outer) {
        for (int64_t j = 0; j < outer; j++)
          for (int64_t i = 0; i < inner; i++)
            work(*reinterpret_cast<const int64_t*>(data[0] + i * strides[0] + j * strides[1]));
      },
      1);
}

// Piece `number` of `count` equal ones of [0, length): from `first` on, up to `last`.
struct Piece {
  int64_t first, last;
  Piece(int64_t length, int64_t number, int64_t count)
      : first(length * number / count), last(length * (number + 1) / count) {}
};

}  // namespace esvit
