#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "dynamic_code.h"
#include "kernels.h"
#include "quantized.h"

namespace prospect {
namespace {

struct Coefficients {
  Coefficients(int64_t step, double learningRate, double firstDecay, double secondDecay, double denominator, double weightDecay, double scale)
      : decay(static_cast<float>(1 - learningRate * weightDecay)),
        firstShare(static_cast<float>(1 - firstDecay)),
        beta2(static_cast<float>(secondDecay)),
        secondShare(static_cast<float>(1 - secondDecay)),
        stepSize(static_cast<float>(learningRate / (1 - std::pow(firstDecay, static_cast<double>(step))))),
        rootCorrection2(static_cast<float>(std::sqrt(1 - std::pow(secondDecay, static_cast<double>(step))))),
        epsilon(static_cast<float>(denominator)),
        gradientScale(static_cast<float>(scale)) {}
  float decay, firstShare, beta2, secondShare, stepSize, rootCorrection2, epsilon, gradientScale;
};

// One version of the loop for each instruction set, chosen at load: the addon may move between processors.
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3", "no-math-errno", "no-trapping-math")))
#endif
void update(float* __restrict parameter, const float* __restrict gradient, float* __restrict first, float* __restrict second, int64_t count,
            const Coefficients c) {
  for (int64_t i = 0; i < count; i++) {
    const float g = gradient[i] * c.gradientScale;
    const float m = first[i] + (g - first[i]) * c.firstShare;
    const float v = second[i] * c.beta2 + g * g * c.secondShare;
    first[i] = m;
    second[i] = v;
    parameter[i] = parameter[i] * c.decay - c.stepSize * m / (std::sqrt(v) / c.rootCorrection2 + c.epsilon);
  }
}

float* floatsOf(const at::Tensor& tensor, int64_t count) {
  TORCH_CHECK(tensor.scalar_type() == at::kFloat && tensor.is_contiguous() && tensor.device().is_cpu() && tensor.numel() == count,
              "the optimiser takes contiguous float32 tensors on the CPU, of one shape a parameter");
  return tensor.data_ptr<float>();
}

/// Sum of squares; sixteen thousand at a time in float32, so that rounding does not grow with the tensor.
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3", "associative-math", "no-signed-zeros", "no-trapping-math")))
#endif
float squaresOf(const float* values, int64_t count) {
  float sum = 0;
  for (int64_t i = 0; i < count; i++) sum += values[i] * values[i];
  return sum;
}

/// Finds the nearest value of a code. The upper half of a float's bits names a cell, which at most one middle between values lies in.
class Quantizer {
 public:
  explicit Quantizer(bool withSign) : code(dynamicCode(withSign)) {
    const auto middles = middlesOf(code);
    const float most = std::numeric_limits<float>::infinity();
    lower_[0] = -most;
    upper_[255] = most;
    for (size_t i = 0; i < middles.size(); i++) upper_[i] = lower_[i + 1] = middles[i];
    for (int32_t sign = 0; sign < 2; sign++) {
      for (int32_t cell = 0; cell < kCells; cell++) {
        const int32_t bits = (cell + kFirst) << 16;
        float start;
        std::memcpy(&start, &bits, sizeof(start));
        const float value = cell == 0 ? 0 : sign == 0 ? start : -start;
        cells_[static_cast<size_t>(sign * kCells + cell)] = static_cast<int32_t>(std::lower_bound(middles.begin(), middles.end(), value) - middles.begin());
      }
    }
  }

  /// Codes of a block of numbers from -1 to 1, or from 0 where the code has no sign.
#if defined(__x86_64__)
  __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3", "no-math-errno", "no-trapping-math")))
#endif
  void quantize(const float* __restrict values, float inverse, uint8_t* __restrict codes, int64_t count) const {
    const int32_t* cells = cells_.data();
    const float *lower = lower_.data(), *upper = upper_.data();
    for (int64_t i = 0; i < count; i++) {
      const float value = std::min(1.0f, std::max(-1.0f, values[i] * inverse));
      int32_t bits;
      std::memcpy(&bits, &value, sizeof(bits));
      const int32_t cell = std::max(0, ((bits & 0x7fffffff) >> 16) - kFirst);
      const int32_t near = cells[cell + (bits < 0 ? kCells : 0)];
      codes[i] = static_cast<uint8_t>(near + (upper[near] < value) - (lower[near] >= value));
    }
  }

  const DynamicCode& code;

 private:
  static constexpr int32_t kFirst = 103 << 7;                // cells begin at 2^-24, far below the least middle
  static constexpr int32_t kCells = (127 << 7) - kFirst + 1;  // and end at 1
  std::array<int32_t, 2 * kCells> cells_{};
  std::array<float, 256> lower_{}, upper_{};
};

#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3", "no-math-errno", "no-trapping-math")))
#endif
void dequantize(const float* __restrict code, const uint8_t* __restrict codes, float scale, float* __restrict values, int64_t count) {
  for (int64_t i = 0; i < count; i++) values[i] = code[codes[i]] * scale;
}

/// One moment, a code an element and a scale a block.
struct Moment {
  Moment(const at::Tensor& codes, const at::Tensor& scales, int64_t count) {
    const int64_t blocks = (count + kMomentBlock - 1) / kMomentBlock;
    TORCH_CHECK(codes.scalar_type() == at::kByte && codes.is_contiguous() && codes.device().is_cpu() && codes.numel() == blocks * kMomentBlock,
                "a moment of ", count, " elements has ", blocks, " x ", kMomentBlock, " contiguous codes on the CPU, got ", codes.toString(), " of ", codes.sizes());
    code = codes.data_ptr<uint8_t>();
    scale = floatsOf(scales, blocks);
  }
  void load(const Quantizer& quantizer, int64_t block, float* values, int64_t count) const {
    dequantize(quantizer.code.data(), code + block * kMomentBlock, scale[block], values, count);
  }
  void store(const Quantizer& quantizer, int64_t block, const float* values, int64_t count) const {
    const float largest = largestMagnitude(values, count);
    const bool any = largest > 1e-36f;  // the inverse of less is not finite
    scale[block] = any ? largest : 0;
    quantizer.quantize(values, any ? 1 / largest : 0, code + block * kMomentBlock, count);
  }
  uint8_t* code;
  float* scale;
};

}  // namespace

double gradientNorm(at::TensorList gradients) {
  constexpr int64_t kChunk = 1 << 14;
  constexpr int64_t kAlone = 1 << 18;  // elements that one thread has done before another has woken
  int64_t total = 0;
  std::vector<std::pair<const float*, int64_t>> chunks;
  for (const auto& gradient : gradients) {
    const auto count = gradient.numel();
    const float* values = floatsOf(gradient, count);
    total += count;
    for (int64_t start = 0; start < count; start += kChunk) chunks.emplace_back(values + start, std::min(kChunk, count - start));
  }
  std::vector<double> sums(chunks.size());
  const auto all = static_cast<int64_t>(chunks.size());
  at::parallel_for(0, all, total < kAlone ? all : 16, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); i++) sums[i] = squaresOf(chunks[i].first, chunks[i].second);
  });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

void adamw(at::TensorList parameters, at::TensorList gradients, at::TensorList firstMoments, at::TensorList secondMoments, int64_t step,
           double learningRate, double beta1, double beta2, double epsilon, double weightDecay, double gradientScale) {
  TORCH_CHECK(gradients.size() == parameters.size() && firstMoments.size() == parameters.size() && secondMoments.size() == parameters.size(),
              "adamw_ takes as many gradients and moments as parameters");
  const Coefficients c(step, learningRate, beta1, beta2, epsilon, weightDecay, gradientScale);
  for (size_t i = 0; i < parameters.size(); i++) {
    const auto count = parameters[i].numel();
    float* parameter = floatsOf(parameters[i], count);
    parameters[i].unsafeGetTensorImpl()->bump_version();  // written to behind autograd's back: what was saved of it is stale
    const float* gradient = floatsOf(gradients[i], count);
    float* first = floatsOf(firstMoments[i], count);
    float* second = floatsOf(secondMoments[i], count);
    at::parallel_for(0, count, 1 << 15, [&](int64_t begin, int64_t end) {
      update(parameter + begin, gradient + begin, first + begin, second + begin, end - begin, c);
    });
  }
}

void adamw8bit(at::TensorList parameters, at::TensorList gradients, at::TensorList firstCodes, at::TensorList firstScales, at::TensorList secondCodes,
               at::TensorList secondScales, int64_t step, double learningRate, double beta1, double beta2, double epsilon, double weightDecay,
               double gradientScale) {
  for (const auto& list : {gradients, firstCodes, firstScales, secondCodes, secondScales})
    TORCH_CHECK(list.size() == parameters.size(), "adamw_8bit_ takes as many gradients, codes and scales as parameters");
  static const Quantizer withSign(true), withoutSign(false);
  const Coefficients c(step, learningRate, beta1, beta2, epsilon, weightDecay, gradientScale);
  for (size_t i = 0; i < parameters.size(); i++) {
    const auto count = parameters[i].numel();
    float* parameter = floatsOf(parameters[i], count);
    parameters[i].unsafeGetTensorImpl()->bump_version();  // written to behind autograd's back: what was saved of it is stale
    const float* gradient = floatsOf(gradients[i], count);
    const Moment first(firstCodes[i], firstScales[i], count), second(secondCodes[i], secondScales[i], count);
    at::parallel_for(0, (count + kMomentBlock - 1) / kMomentBlock, 1 << 6, [&](int64_t begin, int64_t end) {
      alignas(64) float m[kMomentBlock], v[kMomentBlock];
      for (int64_t block = begin; block < end; block++) {
        const int64_t start = block * kMomentBlock, size = std::min(kMomentBlock, count - start);
        first.load(withSign, block, m, size);
        second.load(withoutSign, block, v, size);
        update(parameter + start, gradient + start, m, v, size, c);
        first.store(withSign, block, m, size);
        second.store(withoutSign, block, v, size);
      }
    });
  }
}

}  // namespace prospect
