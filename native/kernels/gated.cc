#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <string>

#include "dispatch.h"
#include "kernels.h"
#include "leaf.h"
#include "product.h"
#include "simd.h"

namespace prospect {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Activation {
  Floats value, slope;
};

struct Silu {
  PROSPECT_INLINE static Activation at(const Floats& x) {
    const Floats s = sigmoid(x);
    return {x * s, s * (1.0f + x * (1.0f - s))};
  }
};

struct GeluTanh {
  PROSPECT_INLINE static Activation at(const Floats& x) {
    constexpr float kScale = 0.7978845608f, kCubic = 0.044715f;
    const Floats t = hyperbolicTangent(kScale * (x + kCubic * x * x * x));
    return {0.5f * x * (1.0f + t), 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * kScale * (1.0f + 3.0f * kCubic * x * x)};
  }
};

/// erf by Abramowitz & Stegun 7.1.26, absolute error under 2e-7.
struct Gelu {
  PROSPECT_INLINE static Activation at(const Floats& x) {
    const Floats z = x * 0.7071067812f, size = larger(z, -z), t = 1.0f / (1.0f + 0.3275911f * size);
    const Floats bell = exponential(-z * z);
    const Floats tail = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f)))) * bell;
    const Floats positive = 1.0f - 0.5f * tail;  // the normal distribution's integral up to |x|
    const Floats integral = x < 0.0f ? 1.0f - positive : positive;
    return {x * integral, integral + x * bell * 0.3989422804f};
  }
};

struct Relu {
  PROSPECT_INLINE static Activation at(const Floats& x) { return {x > 0.0f ? x : all(0), x > 0.0f ? all(1) : all(0)}; }
};

template <typename Body>
void withActivation(const std::string& name, const Body& body) {
  if (name == "silu") return body(Silu{});
  if (name == "gelu") return body(Gelu{});
  if (name == "gelu_tanh") return body(GeluTanh{});
  if (name == "relu") return body(Relu{});
  TORCH_CHECK(false, "activation must be 'silu', 'gelu', 'gelu_tanh' or 'relu', got '", name, "'");
}

constexpr int64_t kGrain = kElementsPerThread / 4;  // fewer, since exponentials take longer

/// Calls body(thread's rows) with pointers made from row strides: gate and up may be two halves of one product.
at::Tensor forwardOf(const at::Tensor& gate, const at::Tensor& up, const std::string& activation) {
  const int64_t rows = gate.size(0), width = gate.size(1);
  auto result = at::empty({rows, width}, gate.options());
  withFloatType(gate.scalar_type(), [&](auto type) {
    using T = decltype(type);
    withActivation(activation, [&](auto function) {
      using F = decltype(function);
      const T *gates = gate.data_ptr<T>(), *ups = up.data_ptr<T>();
      T* to = result.data_ptr<T>();
      const int64_t gateStride = gate.stride(0), upStride = up.stride(0);
      at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
        vectorised([&]() PROSPECT_INLINE {
          for (int64_t row = begin; row < end; row++) {
            const T *g = gates + row * gateStride, *u = ups + row * upStride;
            T* out = to + row * width;
            eachSixteen(width, [&](int64_t i, int64_t count) PROSPECT_INLINE {
              storeUpTo(out + i, F::at(loadUpTo(g + i, count)).value * loadUpTo(u + i, count), count);
            });
          }
        });
      });
    });
  });
  return result;
}

struct Gradients {
  at::Tensor gate, up;
};

/// Writes `result` again beside, where it is defined.
Gradients backwardOf(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& upstream, const std::string& activation, const at::Tensor& result) {
  const int64_t rows = gate.size(0), width = gate.size(1);
  auto ofGate = at::empty({rows, width}, gate.options()), ofUp = at::empty({rows, width}, gate.options());
  withFloatType(gate.scalar_type(), [&](auto type) {
    using T = decltype(type);
    withActivation(activation, [&](auto function) {
      using F = decltype(function);
      const T *gates = gate.data_ptr<T>(), *ups = up.data_ptr<T>(), *from = upstream.data_ptr<T>();
      T *gateTo = ofGate.data_ptr<T>(), *upTo = ofUp.data_ptr<T>(), *resultTo = result.defined() ? result.data_ptr<T>() : nullptr;
      const int64_t gateStride = gate.stride(0), upStride = up.stride(0);
      at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / width), [&](int64_t begin, int64_t end) {
        vectorised([&]() PROSPECT_INLINE {
          for (int64_t row = begin; row < end; row++) {
            const T *g = gates + row * gateStride, *u = ups + row * upStride, *d = from + row * width;
            T *gTo = gateTo + row * width, *uTo = upTo + row * width, *out = resultTo ? resultTo + row * width : nullptr;
            eachSixteen(width, [&](int64_t i, int64_t count) PROSPECT_INLINE {
              const auto [value, slope] = F::at(loadUpTo(g + i, count));
              const Floats down = loadUpTo(d + i, count), other = loadUpTo(u + i, count);
              if (out) storeUpTo(out + i, value * other, count);
              storeUpTo(gTo + i, down * other * slope, count);
              storeUpTo(uTo + i, down * value, count);
            });
          }
        });
      });
    });
  });
  return {ofGate, ofUp};
}

struct Gated : torch::autograd::Function<Gated> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up, const std::string& activation) {
    context->save_for_backward({gate, up});
    context->saved_data["activation"] = activation;
    return forwardOf(gate, up, activation);
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const auto saved = context->get_saved_variables();
    auto [gate, up] = backwardOf(saved[0], saved[1], outputs[0].contiguous(), context->saved_data["activation"].toStringRef(), at::Tensor());
    return {gate, up, at::Tensor()};
  }
};

/// What is gated is computed again in the backward pass, beside its own gradients: it would be a third of what a block keeps.
struct GatedLinear : torch::autograd::Function<GatedLinear> {
  /// The weight stands in for a master that is not there.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up, const std::string& activation, const at::Tensor& weight,
                            const at::Tensor& masterOrWeight) {
    context->save_for_backward({gate, up, savedWeight(*context, weight, masterOrWeight)});
    context->saved_data["activation"] = activation;
    context->saved_data["of_weight"] = masterOrWeight.requires_grad();
    const at::AutoDispatchBelowADInplaceOrView below;
    return timesTransposed(forwardOf(gate, up, activation), weight);
  }
  static variable_list backward(AutogradContext* context, variable_list outputs) {
    const at::AutoDispatchBelowADInplaceOrView below;
    const auto saved = context->get_saved_variables();
    const auto &gate = saved[0], &up = saved[1], &upstream = outputs[0];
    const bool wanted = context->saved_data["of_weight"].toBool();
    const auto inner = wanted ? at::empty(gate.sizes(), gate.options()) : at::Tensor();
    const auto down = times(upstream, weightOf(*context, saved[2]));
    auto [ofGate, ofUp] = backwardOf(gate, up, down, context->saved_data["activation"].toStringRef(), inner);
    return {ofGate, ofUp, at::Tensor(), wanted ? weightGradient(*context, upstream, inner) : at::Tensor(), at::Tensor()};
  }
};

at::Tensor withRowsTogether(const at::Tensor& x) { return x.stride(1) == 1 ? x : x.contiguous(); }

void check(const at::Tensor& gate, const at::Tensor& up) {
  TORCH_CHECK(gate.dim() == 2 && gate.sizes() == up.sizes() && gate.scalar_type() == up.scalar_type(), "gate and up must be [tokens, width] of one dtype");
}

}  // namespace

at::Tensor gatedActivation(const at::Tensor& gate, const at::Tensor& up, c10::string_view activation) {
  check(gate, up);
  const std::string name(activation.data(), activation.size());
  if (!needsGradient({gate, up})) return forwardOf(withRowsTogether(gate), withRowsTogether(up), name);
  return Gated::apply(withRowsTogether(gate), withRowsTogether(up), name);
}

at::Tensor gatedLinear(const at::Tensor& gate, const at::Tensor& up, c10::string_view activation, const at::Tensor& weight,
                       const c10::optional<at::Tensor>& master) {
  check(gate, up);
  TORCH_CHECK(weight.dim() == 2 && weight.size(1) == gate.size(1) && weight.scalar_type() == gate.scalar_type(), "weight must be [out, width], of the dtype of gate");
  checkMaster(weight, master);
  const auto& original = master.has_value() ? *master : weight;
  const std::string name(activation.data(), activation.size());
  const auto gates = withRowsTogether(gate), ups = withRowsTogether(up);
  if (!needsGradient({gate, up, weight, original})) return timesTransposed(forwardOf(gates, ups, name), weight);
  return GatedLinear::apply(gates, ups, name, weight, original);
}

}  // namespace prospect
