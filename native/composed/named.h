// Operators of libtorch that some of its versions lack, or have with other arguments: called by name, with arguments by name.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

#include <string>
#include <utility>
#include <vector>

namespace prospect {

class NamedOperator {
 public:
  using Arguments = std::vector<std::pair<const char*, c10::IValue>>;

  explicit NamedOperator(const char* name, const char* overload = "");
  /// Whether this libtorch has it for the tensor's device.
  bool runsOn(const at::Tensor& tensor) const;
  bool takes(const char* argument) const;
  /// Arguments that are left out take the schema's default, or none. Throws where the schema has no argument of a given name, but for a none.
  torch::jit::Stack operator()(const Arguments& arguments) const;

 private:
  std::string name_;
  c10::optional<c10::OperatorHandle> handle_;
};

}  // namespace prospect
