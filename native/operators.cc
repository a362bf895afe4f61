#include "operators.h"

#include <deque>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

namespace prospect {
namespace {

struct Registry {
  std::mutex mutex;
  std::deque<Operator> operators;  // a deque: references stay valid while it grows
  std::unordered_map<std::string, int32_t> indices;
};

Registry& registry() {
  static auto& instance = *new Registry();  // never destroyed: worker threads may outlive static destruction
  return instance;
}

Kind kindOf(c10::TypeKind kind) {
  using T = c10::TypeKind;
  switch (kind) {
    case T::TensorType: return Kind::Tensor;
    case T::IntType:
    case T::SymIntType: return Kind::Int;
    case T::FloatType: return Kind::Float;
    case T::BoolType: return Kind::Bool;
    case T::StringType: return Kind::String;
    case T::NumberType: return Kind::Scalar;
    case T::ScalarTypeType: return Kind::Dtype;
    case T::LayoutType: return Kind::Layout;
    case T::DeviceObjType: return Kind::Device;
    case T::MemoryFormatType: return Kind::MemoryFormat;
    case T::GeneratorType: return Kind::Generator;
    default: return Kind::Other;
  }
}

bool unwrapOptional(c10::TypePtr& type) {
  if (type->kind() != c10::TypeKind::OptionalType) return false;
  type = type->castRaw<c10::OptionalType>()->getElementType();
  return true;
}

Argument describe(const c10::Argument& source) {
  Argument result;
  result.name = source.name();
  c10::TypePtr type = source.real_type();  // type() says int where the schema says ScalarType
  result.optional = unwrapOptional(type);
  if (type->kind() == c10::TypeKind::ListType) {
    result.list = true;
    type = type->castRaw<c10::ListType>()->getElementType();
    if (source.N()) result.fixedLength = static_cast<int32_t>(*source.N());
    result.optionalElements = unwrapOptional(type);
  }
  result.kind = kindOf(type->kind());
  if (source.default_value()) {
    result.hasDefault = true;
    result.defaultValue = *source.default_value();
  }
  return result;
}

}  // namespace

int32_t findOperator(const std::string& name) {
  auto& all = registry();
  std::lock_guard<std::mutex> guard(all.mutex);
  if (auto found = all.indices.find(name); found != all.indices.end()) return found->second;
  const auto dot = name.find('.');
  const std::string base = name.substr(0, dot);
  const std::string overload = dot == std::string::npos ? "" : name.substr(dot + 1);
  auto handle = c10::Dispatcher::singleton().findSchema({base, overload});
  if (!handle) return -1;
  Operator op{*handle, name, {}};
  for (const auto& argument : handle->schema().arguments()) op.arguments.push_back(describe(argument));
  all.operators.push_back(std::move(op));
  const auto index = static_cast<int32_t>(all.operators.size()) - 1;
  all.indices[name] = index;
  return index;
}

const Operator& operatorAt(uint32_t index) {
  auto& all = registry();
  std::lock_guard<std::mutex> guard(all.mutex);
  if (index >= all.operators.size()) throw std::out_of_range("no operator has index " + std::to_string(index));
  return all.operators[index];
}

}  // namespace prospect
