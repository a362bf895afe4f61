#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "kernels.h"

namespace prospect {
namespace {

struct Coefficients {
  float decay, beta1, beta2, stepSize, rootCorrection2, epsilon, gradientScale;
};

// One version of the loop for each instruction set, chosen at load: the addon may move between processors.
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3", "no-math-errno", "no-trapping-math")))
#endif
void update(float* __restrict parameter, const float* __restrict gradient, float* __restrict first, float* __restrict second, int64_t count,
            const Coefficients c) {
  for (int64_t i = 0; i < count; i++) {
    const float g = gradient[i] * c.gradientScale;
    const float m = first[i] + (g - first[i]) * (1 - c.beta1);
    const float v = second[i] * c.beta2 + g * g * (1 - c.beta2);
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
  Coefficients c;
  c.decay = static_cast<float>(1 - learningRate * weightDecay);
  c.beta1 = static_cast<float>(beta1);
  c.beta2 = static_cast<float>(beta2);
  c.stepSize = static_cast<float>(learningRate / (1 - std::pow(beta1, static_cast<double>(step))));
  c.rootCorrection2 = static_cast<float>(std::sqrt(1 - std::pow(beta2, static_cast<double>(step))));
  c.epsilon = static_cast<float>(epsilon);
  c.gradientScale = static_cast<float>(gradientScale);
  for (size_t i = 0; i < parameters.size(); i++) {
    const auto count = parameters[i].numel();
    float* parameter = floatsOf(parameters[i], count);
    const float* gradient = floatsOf(gradients[i], count);
    float* first = floatsOf(firstMoments[i], count);
    float* second = floatsOf(secondMoments[i], count);
    at::parallel_for(0, count, 1 << 15, [&](int64_t begin, int64_t end) {
      update(parameter + begin, gradient + begin, first + begin, second + begin, end - begin, c);
    });
  }
}

}  // namespace prospect
