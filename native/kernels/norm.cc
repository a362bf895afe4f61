#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "dispatch.h"
#include "kernels.h"
#include "simd.h"

namespace prospect {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// sum = x + delta (where there is one), normed = sum / rms(sum) * (scale + offset); one row. Gives 1 / rms.
template <typename X, typename Delta, typename Y>
PROSPECT_INLINE inline float normRow(const X* x, const Delta* delta, X* total, const float* scale, float offset, float epsilon, Y* normed, int64_t width) {
  Floats squares = all(0);
  eachSixteen(width, [&](int64_t i, int64_t count) PROSPECT_INLINE {
    Floats value = loadUpTo(x + i, count);
    if (delta != nullptr) {
      value += loadUpTo(delta + i, count);
      storeUpTo(total + i, value, count);
      value = loadUpTo(total + i, count);  // as rounded: the backward pass sees what was stored
    }
    squares += value * value;
  });
  const float inverse = 1.0f / std::sqrt(sum(squares) / static_cast<float>(width) + epsilon);
  const X* source = delta != nullptr ? total : x;
  eachSixteen(width, [&](int64_t i, int64_t count) PROSPECT_INLINE {
    storeUpTo(normed + i, loadUpTo(source + i, count) * inverse * (loadUpTo(scale + i, count) + offset), count);
  });
  return inverse;
}

/// d x = inverse (g - n mean(g n)) + d total, with g = d normed * (scale + offset) and n = x inverse; d scale += d normed * n.
template <typename X, typename Y>
PROSPECT_INLINE inline void normRowBackward(const X* x, const Y* upstream, const X* ofTotal, const float* scale, float offset, float inverse, X* gradient,
                                            float* scaleGradient, int64_t width) {
  Floats products = all(0);
  eachSixteen(width, [&](int64_t i, int64_t count) PROSPECT_INLINE {
    products += loadUpTo(upstream + i, count) * (loadUpTo(scale + i, count) + offset) * loadUpTo(x + i, count);
  });
  const float mean = sum(products) * inverse / static_cast<float>(width);
  eachSixteen(width, [&](int64_t i, int64_t count) PROSPECT_INLINE {
    const Floats up = loadUpTo(upstream + i, count);
    const Floats normed = loadUpTo(x + i, count) * inverse;
    Floats result = (up * (loadUpTo(scale + i, count) + offset) - normed * mean) * inverse;
    if (ofTotal != nullptr) result += loadUpTo(ofTotal + i, count);
    storeUpTo(gradient + i, result, count);
    if (scaleGradient != nullptr) storeUpTo(scaleGradient + i, loadUpTo(scaleGradient + i, count) + up * normed, count);
  });
}

int64_t grainOf(int64_t width) { return std::max<int64_t>(1, kElementsPerThread / std::max<int64_t>(1, width)); }

struct Normed {
  at::Tensor total, normed, inverses;
};

Normed normForward(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& scale, double epsilon, double offset, at::ScalarType dtype) {
  const int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
  Normed result{delta.defined() ? at::empty_like(x) : x, at::empty(x.sizes(), x.options().dtype(dtype)), at::empty({rows}, x.options().dtype(at::kFloat))};
  auto* inverses = result.inverses.data_ptr<float>();
  const auto* scales = scale.data_ptr<float>();
  withFloatType(x.scalar_type(), [&](auto xType) {
    using X = decltype(xType);
    withFloatType(delta.defined() ? delta.scalar_type() : at::kFloat, [&](auto deltaType) {
      using Delta = decltype(deltaType);
      withFloatType(dtype, [&](auto yType) {
        using Y = decltype(yType);
        const auto* from = x.data_ptr<X>();
        const auto* deltas = delta.defined() ? delta.data_ptr<Delta>() : nullptr;
        auto* totals = delta.defined() ? result.total.data_ptr<X>() : nullptr;
        auto* to = result.normed.data_ptr<Y>();
        at::parallel_for(0, rows, grainOf(width), [&](int64_t begin, int64_t end) {
          vectorised([&]() PROSPECT_INLINE {
            for (int64_t row = begin; row < end; row++) {
              const int64_t at = row * width;
              inverses[row] = normRow(from + at, deltas ? deltas + at : nullptr, totals ? totals + at : nullptr, scales, static_cast<float>(offset),
                                      static_cast<float>(epsilon), to + at, width);
            }
          });
        });
      });
    });
  });
  return result;
}

/// Gradients of x (float type of x) and of scale.
std::pair<at::Tensor, at::Tensor> normBackward(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& inverse, const at::Tensor& upstream,
                                               const at::Tensor& ofTotal, double offset, bool wantScale) {
  const int64_t width = x.size(-1), rows = inverse.numel();
  auto gradient = at::empty_like(x);
  const int64_t parts = wantScale ? std::max(1, at::get_num_threads()) : 0;
  auto partial = at::zeros({parts, width}, x.options().dtype(at::kFloat));
  auto* partials = partial.data_ptr<float>();
  const auto* scales = scale.data_ptr<float>();
  const auto* inverses = inverse.data_ptr<float>();
  withFloatType(x.scalar_type(), [&](auto xType) {
    using X = decltype(xType);
    withFloatType(upstream.scalar_type(), [&](auto yType) {
      using Y = decltype(yType);
      const auto* from = x.data_ptr<X>();
      const auto* up = upstream.data_ptr<Y>();
      const auto* others = ofTotal.defined() ? ofTotal.data_ptr<X>() : nullptr;
      auto* to = gradient.data_ptr<X>();
      at::parallel_for(0, rows, grainOf(width), [&](int64_t begin, int64_t end) {
        auto* own = wantScale ? partials + at::get_thread_num() * width : nullptr;
        vectorised([&]() PROSPECT_INLINE {
          for (int64_t row = begin; row < end; row++) {
            const int64_t at = row * width;
            normRowBackward(from + at, up + at, others ? others + at : nullptr, scales, static_cast<float>(offset), inverses[row], to + at, own, width);
          }
        });
      });
    });
  });
  return {gradient, wantScale ? partial.sum(0) : at::Tensor()};
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& scale, double epsilon, double offset, int64_t dtype) {
    auto result = normForward(x, at::Tensor(), scale, epsilon, offset, static_cast<at::ScalarType>(dtype));
    context->save_for_backward({x, scale, result.inverses});
    context->saved_data["offset"] = offset;
    return result.normed;
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    auto [x, scale] = normBackward(saved[0], saved[1], saved[2], outputs[0].contiguous(), at::Tensor(), context->saved_data["offset"].toDouble(),
                                   saved[1].requires_grad());
    return {x, scale, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct AddRmsNorm : torch::autograd::Function<AddRmsNorm> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& delta, const at::Tensor& scale, double epsilon,
                               double offset, int64_t dtype) {
    auto result = normForward(x, delta, scale, epsilon, offset, static_cast<at::ScalarType>(dtype));
    context->save_for_backward({result.total, scale, result.inverses});
    context->saved_data["offset"] = offset;
    context->saved_data["deltaType"] = static_cast<int64_t>(delta.scalar_type());
    return {result.total, result.normed};
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    const auto ofTotal = outputs[0].defined() ? outputs[0].contiguous() : at::Tensor();
    at::Tensor gradient = ofTotal, scale;
    if (outputs[1].defined()) {
      std::tie(gradient, scale) =
          normBackward(saved[0], saved[1], saved[2], outputs[1].contiguous(), ofTotal, context->saved_data["offset"].toDouble(), saved[1].requires_grad());
    }
    const auto deltaType = static_cast<at::ScalarType>(context->saved_data["deltaType"].toInt());
    return {gradient, gradient.defined() ? gradient.to(deltaType) : gradient, scale, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

void checkNorm(const at::Tensor& x, const at::Tensor& scale) {
  TORCH_CHECK(x.dim() >= 1 && scale.dim() == 1 && scale.size(0) == x.size(-1), "scale must have one element a column of x");
  TORCH_CHECK(scale.scalar_type() == at::kFloat && scale.is_contiguous(), "scale must be contiguous float32");
}

}  // namespace

at::Tensor rmsNorm(const at::Tensor& x, const at::Tensor& scale, double epsilon, double offset, c10::optional<at::ScalarType> dtype) {
  checkNorm(x, scale);
  const auto type = dtype.value_or(x.scalar_type());
  const auto rows = x.contiguous();
  if (!needsGradient({x, scale})) return normForward(rows, at::Tensor(), scale, epsilon, offset, type).normed;
  return RmsNorm::apply(rows, scale, epsilon, offset, static_cast<int64_t>(type));
}

std::tuple<at::Tensor, at::Tensor> addRmsNorm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& scale, double epsilon, double offset,
                                              c10::optional<at::ScalarType> dtype) {
  checkNorm(x, scale);
  TORCH_CHECK(x.sizes() == delta.sizes(), "x and delta must have one shape");
  const auto type = dtype.value_or(x.scalar_type());
  const auto rows = x.contiguous(), deltas = delta.contiguous();
  if (!needsGradient({x, delta, scale})) {
    auto result = normForward(rows, deltas, scale, epsilon, offset, type);
    return {result.total, result.normed};
  }
  auto outputs = AddRmsNorm::apply(rows, deltas, scale, epsilon, offset, static_cast<int64_t>(type));
  return {outputs[0], outputs[1]};
}

}  // namespace prospect
