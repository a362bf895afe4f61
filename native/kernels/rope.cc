#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"
#include "kernels.h"
#include "simd.h"

namespace prospect {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// One head: its first `turned` elements in two halves, (a, b) -> (a cos - b sin, b cos + a sin); the rest as it is. `direction` -1 turns back.
template <typename T>
PROSPECT_INLINE inline void turnHead(const T* from, T* to, const float* cos, const float* sin, float direction, int64_t turned, int64_t size) {
  const int64_t half = turned / 2;
  if (turned == kLanes) {  // both halves in one load: (a, b) cos + (-b, a) sin
    const Ints swap = {8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7};
    const Floats sign = {-1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1};
    const Floats x = load(from);
    store(to, x * load(cos) + __builtin_shuffle(x, swap) * load(sin) * sign * direction);
    for (int64_t i = turned; i < size; i++) to[i] = from[i];
    return;
  }
  eachSixteen(half, [&](int64_t i, int64_t count) PROSPECT_INLINE {
    const Floats a = loadUpTo(from + i, count), b = loadUpTo(from + half + i, count);
    const Floats c = loadUpTo(cos + i, count), s = loadUpTo(sin + i, count) * direction;
    storeUpTo(to + i, a * c - b * s, count);
    storeUpTo(to + half + i, b * c + a * s, count);
  });
  for (int64_t i = turned; i < size; i++) to[i] = from[i];
}

at::Tensor turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, float direction) {
  const int64_t tokens = x.size(0), heads = x.size(1), size = x.size(2), turned = cos.size(-1), stride = x.stride(0);
  auto result = at::empty(x.sizes(), x.options());
  const auto *cosines = cos.data_ptr<float>(), *sines = sin.data_ptr<float>();
  withFloatType(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const T* from = x.data_ptr<T>();
    T* to = result.data_ptr<T>();
    at::parallel_for(0, tokens, std::max<int64_t>(1, kElementsPerThread / (heads * size)), [&](int64_t begin, int64_t end) {
      vectorised([&]() PROSPECT_INLINE {
        for (int64_t token = begin; token < end; token++) {
          for (int64_t head = 0; head < heads; head++) {
            turnHead(from + token * stride + head * size, to + (token * heads + head) * size, cosines + token * turned, sines + token * turned, direction,
                     turned, size);
          }
        }
      });
    });
  });
  return result;
}

at::Tensor rowsContiguous(const at::Tensor& x) { return x.stride(2) == 1 && x.stride(1) == x.size(2) ? x : x.contiguous(); }

struct RotaryEmbedding : torch::autograd::Function<RotaryEmbedding> {
  static variable_list forward(AutogradContext* context, const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& cos, const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return {turn(rowsContiguous(queries), cos, sin, 1), turn(rowsContiguous(keys), cos, sin, 1)};
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto back = [&](const at::Tensor& upstream) { return upstream.defined() ? turn(rowsContiguous(upstream), saved[0], saved[1], -1) : upstream; };
    return {back(outputs[0]), back(outputs[1]), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

std::tuple<at::Tensor, at::Tensor> rotaryEmbedding(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& cos, const at::Tensor& sin) {
  TORCH_CHECK(queries.dim() == 3 && keys.dim() == 3 && queries.size(2) == keys.size(2), "queries and keys must be [tokens, heads, headSize]");
  TORCH_CHECK(cos.scalar_type() == at::kFloat && sin.scalar_type() == at::kFloat && cos.is_contiguous() && sin.is_contiguous(),
              "cosines and sines must be contiguous float32");
  TORCH_CHECK(queries.size(0) == keys.size(0), "queries are of ", queries.size(0), " tokens and keys of ", keys.size(0));
  TORCH_CHECK(cos.size(0) == queries.size(0) && cos.numel() == sin.numel() && cos.size(-1) <= queries.size(2) && cos.size(-1) % 2 == 0 &&
                  cos.numel() == cos.size(0) * cos.size(-1),
              "cosines and sines must be [tokens, 1, at most headSize]");
  if (!needsGradient({queries, keys})) return {turn(rowsContiguous(queries), cos, sin, 1), turn(rowsContiguous(keys), cos, sin, 1)};
  auto outputs = RotaryEmbedding::apply(queries, keys, cos, sin);
  return {outputs[0], outputs[1]};
}

}  // namespace prospect
