#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "dropout.h"
#include "kernels.h"

namespace prospect {
namespace {

/// The finaliser of splitmix64 (Steele, Lea & Flood, 2014): every bit of the input moves every bit of the output.
inline uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

template <typename T>
void dropRows(const at::Tensor& input, const at::Tensor& keys, int64_t seed, double share, at::Tensor& result) {
  const auto rows = input.size(0), width = input.size(1);
  const auto* source = input.data_ptr<T>();
  const auto* key = keys.data_ptr<int64_t>();
  T* target = result.data_ptr<T>();
  const auto threshold = static_cast<uint32_t>(share * 4294967296.0);
  const auto factor = static_cast<float>(1 / (1 - share));
  at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
      const uint64_t start = mixed(static_cast<uint64_t>(key[row]) ^ mixed(static_cast<uint64_t>(seed)));
      for (int64_t i = 0; i < width; i++) {
        const uint64_t random = mixed(start + static_cast<uint64_t>(i / 2) * 0x9e3779b97f4a7c15u);
        const auto half = static_cast<uint32_t>(i % 2 == 0 ? random : random >> 32);
        target[row * width + i] = half < threshold ? T(0) : static_cast<T>(static_cast<float>(source[row * width + i]) * factor);
      }
    }
  });
}

at::Tensor dropped(const at::Tensor& given, const at::Tensor& keys, int64_t seed, double share) {
  const auto input = given.contiguous();
  auto result = at::empty(input.sizes(), input.options());
  if (input.scalar_type() == at::kFloat) dropRows<float>(input, keys, seed, share, result);
  else if (input.scalar_type() == at::kBFloat16) dropRows<at::BFloat16>(input, keys, seed, share, result);
  else TORCH_CHECK(false, "keyed_dropout takes float32 or bfloat16, not ", input.scalar_type());
  return result;
}

}  // namespace

at::Tensor keyedDropout(const at::Tensor& input, const at::Tensor& keys, int64_t seed, double share) {
  TORCH_CHECK(input.dim() == 2 && keys.dim() == 1 && keys.size(0) == input.size(0) && keys.scalar_type() == at::kLong && keys.is_contiguous(),
              "keyed_dropout takes an input of [tokens, width] and a key (int64) for each token");
  TORCH_CHECK(share >= 0 && share < 1, "keyed_dropout takes a share from 0 to below 1, got ", share);
  return KeyedDropout<&dropped>::apply(input, keys, seed, share);
}

}  // namespace prospect
