#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "dynamic_code.h"
#include "kernels.h"
#include "quantized.h"
#include "simd.h"

namespace prospect {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// NormalFloat with 4 bits: QLoRA (arXiv 2305.14314), Appendix E.
constexpr std::array<float, 16> kNormalFloat = {-1.0f,
                                                -0.6961928009986877f,
                                                -0.5250730514526367f,
                                                -0.39491748809814453f,
                                                -0.28444138169288635f,
                                                -0.18477343022823334f,
                                                -0.09105003625154495f,
                                                0.0f,
                                                0.07958029955625534f,
                                                0.16093020141124725f,
                                                0.24611230194568634f,
                                                0.33791524171829224f,
                                                0.44070982933044434f,
                                                0.5626170039176941f,
                                                0.7229568362236023f,
                                                1.0f};

/// Index of the entry of an ascending code that is nearest to `value`.
template <size_t N>
uint8_t nearest(const std::array<float, N>& code, float value) {
  const auto above = std::lower_bound(code.begin(), code.end(), value);
  if (above == code.begin()) return 0;
  if (above == code.end()) return N - 1;
  const auto below = above - 1;
  return static_cast<uint8_t>((value - *below <= *above - value ? below : above) - code.begin());
}

int64_t blocksOf(int64_t count, int64_t size) { return (count + size - 1) / size; }

PROSPECT_INLINE inline void quantizeBlock4(const float* values, int64_t count, float scale, uint8_t* into) {
  const float inverse = scale > 0 ? 1 / scale : 0;
  int32_t codes[kBlock + 1];
  eachSixteen(count, [&](int64_t i, int64_t part) PROSPECT_INLINE {
    const Floats value = loadUpTo(values + i, part) * inverse;
    Ints code{};
    // The nearest value's index is the number of gaps whose upper end is nearer; comparing gives -1.
    for (size_t k = 0; k + 1 < kNormalFloat.size(); k++) code -= value - kNormalFloat[k] > kNormalFloat[k + 1] - value;
    std::memcpy(codes + i, &code, part * sizeof(int32_t));
  });
  codes[count] = 7;  // zero, where the last byte has one weight only
  for (int64_t i = 0; i < count; i += 2) into[i / 2] = static_cast<uint8_t>(codes[i] << 4 | codes[i + 1]);
}

PROSPECT_INLINE inline void quantizeBlock8(const float* values, int64_t count, float scale, uint8_t* into) {
  const float inverse = scale > 0 ? 127 / scale : 0;
  for (int64_t i = 0; i < count; i++) into[i] = static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(values[i] * inverse)));
}

/// Both values of each byte, high half first.
const std::array<std::array<float, 2>, 256>& pairsOfByte() {
  static const auto pairs = [] {
    std::array<std::array<float, 2>, 256> made{};
    for (size_t byte = 0; byte < 256; byte++) made[byte] = {kNormalFloat[byte >> 4], kNormalFloat[byte & 15]};
    return made;
  }();
  return pairs;
}

void dequantizeBlock(const uint8_t* data, int64_t count, float scale, int64_t bits, float* into) {
  if (bits == 8) {
    const float step = scale / 127;
    for (int64_t i = 0; i < count; i++) into[i] = static_cast<float>(static_cast<int8_t>(data[i])) * step;
    return;
  }
  const auto& pairs = pairsOfByte();
  for (int64_t i = 0; i + 1 < count; i += 2) {
    into[i] = pairs[data[i / 2]][0] * scale;
    into[i + 1] = pairs[data[i / 2]][1] * scale;
  }
  if (count % 2 != 0) into[count - 1] = pairs[data[count / 2]][0] * scale;
}

/// The scales of all blocks in float32, from their own 8-bit form where they have one.
class Scales {
 public:
  Scales(const at::Tensor& absmax, const at::Tensor& nested) : absmax_(absmax.contiguous()), nested_(nested.contiguous()) {}
  float at(int64_t block) const {
    if (absmax_.scalar_type() == at::kFloat) return absmax_.data_ptr<float>()[block];
    const float* nested = nested_.data_ptr<float>();  // the mean first, then a scale a block of scales
    return dynamicCode(true)[absmax_.data_ptr<uint8_t>()[block]] * nested[1 + block / kNestedBlock] + nested[0];
  }

 private:
  at::Tensor absmax_, nested_;
};

void writeAs(const float* values, int64_t count, float* into) { std::memcpy(into, values, count * sizeof(float)); }
void writeAs(const float* values, int64_t count, at::BFloat16* into) {
  for (int64_t i = 0; i < count; i++) into[i] = static_cast<at::BFloat16>(values[i]);
}

template <typename T>
void dequantizeInto(at::Tensor& result, const at::Tensor& data, const Scales& scales, int64_t bits) {
  const auto count = result.numel();
  const auto* source = data.data_ptr<uint8_t>();
  T* target = result.data_ptr<T>();
  at::parallel_for(0, blocksOf(count, kBlock), 256, [&](int64_t begin, int64_t end) {
    float values[kBlock];
    for (int64_t block = begin; block < end; block++) {
      const auto first = block * kBlock;
      const auto length = std::min(kBlock, count - first);
      dequantizeBlock(source + first * bits / 8, length, scales.at(block), bits, values);
      writeAs(values, length, target + first);
    }
  });
}

struct QuantizedLinear : torch::autograd::Function<QuantizedLinear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input, const at::Tensor& data, const at::Tensor& absmax,
                            const at::Tensor& nested, int64_t rows, int64_t bits) {
    context->save_for_backward({data, absmax, nested});
    context->saved_data["rows"] = rows;
    context->saved_data["bits"] = bits;
    const auto weight = dequantize(data, absmax, nested, {rows, input.size(-1)}, bits, input.scalar_type());
    return at::linear(input, weight);
  }

  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto rows = context->saved_data["rows"].toInt(), bits = context->saved_data["bits"].toInt();
    const auto& data = saved[0];
    const auto& gradient = outputs[0];
    const auto weight = dequantize(data, saved[1], saved[2], {rows, data.numel() * 8 / bits / rows}, bits, gradient.scalar_type());
    return {at::mm(gradient.reshape({-1, rows}), weight), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

float largestMagnitude(const float* values, int64_t count) {
  float largest = 0;
  vectorised([&]() PROSPECT_INLINE {
    Floats most = all(0);
    eachSixteen(count, [&](int64_t i, int64_t part) PROSPECT_INLINE {
      const Floats value = loadUpTo(values + i, part);
      most = larger(larger(value, -value), most);
    });
    for (int64_t lane = 0; lane < kLanes; lane++) largest = std::max(largest, most[lane]);
  });
  return largest;
}

at::Tensor normalFloatPairs() {
  auto result = at::empty({256, 2}, at::kFloat);
  std::memcpy(result.data_ptr<float>(), pairsOfByte().data(), sizeof pairsOfByte());
  return result;
}

at::Tensor dynamicCodes() {
  auto result = at::empty({256, 1}, at::kFloat);
  std::memcpy(result.data_ptr<float>(), dynamicCode(true).data(), sizeof dynamicCode(true));
  return result;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> quantize(const at::Tensor& weight, int64_t bits, bool nestedScales) {
  TORCH_CHECK(bits == 4 || bits == 8, "quantize takes 4 or 8 bits, got ", bits);
  TORCH_CHECK(weight.device().is_cpu(), "quantize takes a weight on the CPU");
  const auto source = weight.detach().to(at::kFloat).contiguous();
  const auto count = source.numel();
  TORCH_CHECK(count * bits % 8 == 0 && count > 0, "quantize to 4 bits takes an even number of elements, got ", count);
  const auto blocks = blocksOf(count, kBlock);
  auto data = at::empty({count * bits / 8}, source.options().dtype(at::kByte));
  auto absmax = at::empty({blocks}, source.options());
  const float* values = source.data_ptr<float>();
  uint8_t* bytes = data.data_ptr<uint8_t>();
  float* scales = absmax.data_ptr<float>();
  at::parallel_for(0, blocks, 256, [&](int64_t begin, int64_t end) {
    vectorised([&]() PROSPECT_INLINE {
      for (int64_t block = begin; block < end; block++) {
        const auto first = block * kBlock;
        const auto length = std::min(kBlock, count - first);
        scales[block] = largestMagnitude(values + first, length);
        if (bits == 4) quantizeBlock4(values + first, length, scales[block], bytes + first * bits / 8);
        else quantizeBlock8(values + first, length, scales[block], bytes + first * bits / 8);
      }
    });
  });
  if (!nestedScales) return {data, absmax, at::empty({0}, source.options())};
  const auto groups = blocksOf(blocks, kNestedBlock);
  auto codes = at::empty({blocks}, source.options().dtype(at::kByte));
  auto nested = at::empty({groups + 1}, source.options());
  float* own = nested.data_ptr<float>();
  own[0] = absmax.mean().item<float>();
  for (int64_t block = 0; block < blocks; block++) scales[block] -= own[0];
  for (int64_t group = 0; group < groups; group++) {
    const auto first = group * kNestedBlock;
    const auto length = std::min(kNestedBlock, blocks - first);
    const float largest = own[1 + group] = largestMagnitude(scales + first, length);
    const float inverse = largest > 0 ? 1 / largest : 0;
    for (int64_t i = 0; i < length; i++) codes.data_ptr<uint8_t>()[first + i] = nearest(dynamicCode(true), scales[first + i] * inverse);
  }
  return {data, codes, nested};
}

at::Tensor dequantize(const at::Tensor& data, const at::Tensor& absmax, const at::Tensor& nested, at::IntArrayRef shape, int64_t bits,
                      at::ScalarType dtype) {
  auto result = at::empty(shape, data.options().dtype(dtype));
  TORCH_CHECK((bits == 4 || bits == 8) && data.scalar_type() == at::kByte && data.is_contiguous() && data.numel() * 8 == result.numel() * bits &&
                  absmax.numel() == blocksOf(result.numel(), kBlock),
              "dequantize: data of ", data.numel(), " bytes and ", absmax.numel(), " scales do not make ", result.numel(), " weights of ", bits, " bits");
  TORCH_CHECK(absmax.scalar_type() == at::kFloat || nested.numel() == 1 + blocksOf(absmax.numel(), kNestedBlock),
              "dequantize: the scales lack their own scales");
  const Scales scales(absmax, nested);
  if (dtype == at::kFloat) dequantizeInto<float>(result, data, scales, bits);
  else if (dtype == at::kBFloat16) dequantizeInto<at::BFloat16>(result, data, scales, bits);
  else TORCH_CHECK(false, "dequantize gives float32 or bfloat16, not ", dtype);
  return result;
}

at::Tensor quantizedLinear(const at::Tensor& input, const at::Tensor& data, const at::Tensor& absmax, const at::Tensor& nested, int64_t rows,
                           int64_t bits) {
  TORCH_CHECK(input.dim() == 2, "quantized_linear takes an input of [tokens, width]");
  return QuantizedLinear::apply(input, data, absmax, nested, rows, bits);
}

}  // namespace prospect
