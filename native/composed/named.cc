#include "composed/named.h"

#include <algorithm>

namespace prospect {

NamedOperator::NamedOperator(const char* name, const char* overload)
    : name_(name), handle_(c10::Dispatcher::singleton().findSchema({name, overload})) {}

bool NamedOperator::runsOn(const at::Tensor& tensor) const {
  const auto key = c10::DispatchKeySet(c10::DispatchKeySet::RAW, 0) | c10::DispatchKeySet(c10::computeDispatchKey(tensor.scalar_type(), c10::nullopt, tensor.device()));
  return handle_.has_value() && handle_->hasComputedKernelForDispatchKey(key.highestPriorityTypeId());
}

bool NamedOperator::takes(const char* argument) const { return handle_.has_value() && handle_->schema().argumentIndexWithName(argument).has_value(); }

torch::jit::Stack NamedOperator::operator()(const Arguments& given) const {
  TORCH_CHECK(handle_.has_value(), "this libtorch has no operator ", name_);
  const auto& schema = handle_->schema();
  for (const auto& [name, value] : given)
    TORCH_CHECK(value.isNone() || schema.argumentIndexWithName(name).has_value(), name_, " has no argument ", name, " in this libtorch: ", schema);
  torch::jit::Stack stack;
  for (const auto& argument : schema.arguments()) {
    const auto found = std::find_if(given.begin(), given.end(), [&](const auto& pair) { return argument.name() == pair.first; });
    if (found != given.end()) stack.push_back(found->second);
    else if (argument.default_value()) stack.push_back(*argument.default_value());
    else {
      TORCH_CHECK(argument.type()->kind() == c10::TypeKind::OptionalType, name_, " needs an argument ", argument.name(), " in this libtorch: ", schema);
      stack.emplace_back();
    }
  }
  handle_->callBoxed(stack);
  return stack;
}

}  // namespace prospect
