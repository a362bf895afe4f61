#include "convert.h"

#include <cmath>
#include <deque>
#include <mutex>
#include <stdexcept>

#include "handles.h"

namespace prospect {
namespace {

const std::pair<const char*, at::ScalarType> kDtypes[] = {
    {"float32", at::kFloat}, {"float64", at::kDouble}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16},
    {"int64", at::kLong},    {"int32", at::kInt},      {"int16", at::kShort},  {"int8", at::kChar},
    {"uint8", at::kByte},    {"bool", at::kBool}};

void check(napi_status status, const char* expected) {
  if (status != napi_ok) throw std::runtime_error(std::string("expected ") + expected);
}

napi_valuetype typeOf(napi_env env, napi_value value) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  return type;
}

std::string toString(napi_env env, napi_value value) {
  size_t length;
  check(napi_get_value_string_utf8(env, value, nullptr, 0, &length), "a string");
  std::string result(length, '\0');
  napi_get_value_string_utf8(env, value, &result[0], length + 1, &length);
  return result;
}

double toDouble(napi_env env, napi_value value) {
  double result;
  check(napi_get_value_double(env, value, &result), "a number");
  return result;
}

bool toBool(napi_env env, napi_value value) {
  bool result;
  check(napi_get_value_bool(env, value, &result), "a boolean");
  return result;
}

int64_t toInt(napi_env env, napi_value value) {
  double number;
  if (napi_get_value_double(env, value, &number) == napi_ok) {
    if (!std::isfinite(number) || number != std::trunc(number)) throw std::runtime_error("expected an integer, got " + std::to_string(number));
    int64_t result;
    napi_get_value_int64(env, value, &result);
    return result;
  }
  int64_t result;
  bool lossless;
  check(napi_get_value_bigint_int64(env, value, &result, &lossless), "an integer");
  return result;
}

at::Scalar toScalar(napi_env env, napi_value value) {
  const auto type = typeOf(env, value);
  if (type == napi_boolean) return at::Scalar(toBool(env, value));
  if (type == napi_bigint) return at::Scalar(toInt(env, value));
  const double number = toDouble(env, value);
  const bool whole = number == std::trunc(number) && std::abs(number) < 9e15;
  return whole ? at::Scalar(static_cast<int64_t>(number)) : at::Scalar(number);
}

int64_t toMemoryFormat(const std::string& name) {
  if (name == "contiguous_format") return static_cast<int64_t>(at::MemoryFormat::Contiguous);
  if (name == "preserve_format") return static_cast<int64_t>(at::MemoryFormat::Preserve);
  throw std::runtime_error("expected 'contiguous_format' or 'preserve_format', got '" + name + "'");
}

c10::IValue toValue(napi_env env, napi_value value, Kind kind) {
  switch (kind) {
    case Kind::Tensor: return toTensor(env, value);
    case Kind::Int: return toInt(env, value);
    case Kind::Float: return toDouble(env, value);
    case Kind::Bool: return toBool(env, value);
    case Kind::String: return toString(env, value);
    case Kind::Scalar: return toScalar(env, value);
    case Kind::Dtype: return static_cast<int64_t>(parseDtype(toString(env, value)));
    case Kind::Layout: return static_cast<int64_t>(at::kStrided);
    case Kind::Device: return c10::Device(toString(env, value));
    case Kind::MemoryFormat: return toMemoryFormat(toString(env, value));
    case Kind::Generator: return generatorAt(static_cast<uint32_t>(toInt(env, value)));
    default: throw std::runtime_error("has a type that JavaScript cannot pass");
  }
}

/// The elements of a JavaScript array; or one value, repeated where the schema says `int[2]`.
std::vector<napi_value> elements(napi_env env, napi_value value, const Argument& argument) {
  bool isArray;
  napi_is_array(env, value, &isArray);
  if (!isArray) return std::vector<napi_value>(argument.fixedLength > 0 ? argument.fixedLength : 1, value);
  uint32_t length;
  napi_get_array_length(env, value, &length);
  std::vector<napi_value> result(length);
  for (uint32_t i = 0; i < length; i++) napi_get_element(env, value, i, &result[i]);
  return result;
}

template <typename T, typename Convert>
c10::IValue toList(const std::vector<napi_value>& values, Convert convert) {
  c10::List<T> list;
  list.reserve(values.size());
  for (auto value : values) list.push_back(convert(value));
  return list;
}

c10::IValue toListValue(napi_env env, napi_value value, const Argument& argument) {
  const auto values = elements(env, value, argument);
  switch (argument.kind) {
    case Kind::Tensor:
      if (argument.optionalElements) {
        return toList<c10::optional<at::Tensor>>(values, [&](napi_value v) -> c10::optional<at::Tensor> {
          if (typeOf(env, v) == napi_null) return c10::nullopt;
          return toTensor(env, v);
        });
      }
      return toList<at::Tensor>(values, [&](napi_value v) { return toTensor(env, v); });
    case Kind::Int: return toList<int64_t>(values, [&](napi_value v) { return toInt(env, v); });
    case Kind::Float: return toList<double>(values, [&](napi_value v) { return toDouble(env, v); });
    case Kind::Bool: return toList<bool>(values, [&](napi_value v) { return toBool(env, v); });
    case Kind::Scalar: return toList<at::Scalar>(values, [&](napi_value v) { return toScalar(env, v); });
    default: throw std::runtime_error("has a list type that JavaScript cannot pass");
  }
}

napi_value number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

template <typename List, typename Convert>
napi_value fromList(napi_env env, const List& list, Convert convert) {
  napi_value result;
  napi_create_array_with_length(env, list.size(), &result);
  for (size_t i = 0; i < list.size(); i++) napi_set_element(env, result, i, convert(list[i]));
  return result;
}

napi_value fromValue(napi_env env, const c10::IValue& value, const Environment& environment) {
  napi_value result;
  if (value.isTensor()) return fromTensor(env, value.toTensor(), environment);
  if (value.isInt()) return number(env, static_cast<double>(value.toInt()));
  if (value.isDouble()) return number(env, value.toDouble());
  if (value.isScalar()) return number(env, value.toScalar().toDouble());
  if (value.isBool()) return napi_get_boolean(env, value.toBool(), &result), result;
  if (value.isNone()) return napi_get_null(env, &result), result;
  if (value.isTensorList()) return fromList(env, value.toTensorVector(), [&](const at::Tensor& t) { return fromTensor(env, t, environment); });
  if (value.isIntList()) return fromList(env, value.toIntVector(), [&](int64_t v) { return number(env, static_cast<double>(v)); });
  throw std::runtime_error("returned a " + value.tagKind() + ", which JavaScript cannot take");
}

struct Generators {
  std::mutex mutex;
  std::deque<at::Generator> all;
};
Generators& generators() {
  static auto& instance = *new Generators();
  return instance;
}

}  // namespace

std::string messageOf(const std::exception& error) {
  const auto* torchError = dynamic_cast<const c10::Error*>(&error);
  return torchError != nullptr ? torchError->what_without_backtrace() : error.what();
}

at::ScalarType parseDtype(const std::string& name) {
  for (const auto& [known, type] : kDtypes)
    if (name == known) return type;
  throw std::runtime_error("unknown dtype '" + name + "'");
}

const char* dtypeName(at::ScalarType type) {
  for (const auto& [name, known] : kDtypes)
    if (type == known) return name;
  return "other";
}

std::string describeTensor(const at::Tensor& tensor) {
  std::string result = std::string(dtypeName(tensor.scalar_type())) + "[";
  for (int64_t i = 0; i < tensor.dim(); i++) result += (i > 0 ? ", " : "") + std::to_string(tensor.size(i));
  return result + "]";
}

at::Tensor toTensor(napi_env env, napi_value value) {
  uint32_t handle;
  check(napi_get_value_uint32(env, value, &handle), "a Tensor");
  return handles().get(handle);
}

std::vector<int64_t> toIntVector(napi_env env, napi_value value) {
  uint32_t length;
  check(napi_get_array_length(env, value, &length), "an array of integers");
  std::vector<int64_t> result(length);
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    napi_get_element(env, value, i, &element);
    result[i] = toInt(env, element);
  }
  return result;
}

napi_value fromTensor(napi_env env, at::Tensor tensor, const Environment& environment) {
  napi_value result;
  if (!tensor.defined()) return napi_get_null(env, &result), result;
  napi_create_uint32(env, handles().put(std::move(tensor), environment.owner), &result);
  return result;
}

void pushArgument(napi_env env, napi_value value, const Argument& argument, torch::jit::Stack& stack) {
  const auto type = typeOf(env, value);
  if (type == napi_undefined && argument.hasDefault) return stack.push_back(argument.defaultValue);
  if (type == napi_undefined && !argument.optional) throw std::runtime_error("argument '" + argument.name + "' is missing");
  if (type == napi_undefined || type == napi_null) {
    if (!argument.optional) throw std::runtime_error("argument '" + argument.name + "' must not be null");
    stack.emplace_back();
    return;
  }
  try {
    stack.push_back(argument.list ? toListValue(env, value, argument) : toValue(env, value, argument.kind));
  } catch (const std::exception& error) {
    throw std::runtime_error("argument '" + argument.name + "': " + messageOf(error));
  }
}

napi_value fromStack(napi_env env, torch::jit::Stack& stack, const Environment& environment) {
  if (stack.size() == 1) return fromValue(env, stack[0], environment);
  if (!stack.empty()) return fromList(env, stack, [&](const c10::IValue& value) { return fromValue(env, value, environment); });
  napi_value undefined;
  napi_get_undefined(env, &undefined);
  return undefined;
}

std::string describeArguments(napi_env env, const Operator& op, const napi_value* values, size_t count) {
  std::string result;
  for (size_t i = 0; i < op.arguments.size() && i < count; i++) {
    const auto& argument = op.arguments[i];
    const auto type = typeOf(env, values[i]);
    if (argument.kind != Kind::Tensor || type == napi_undefined || type == napi_null) continue;
    std::string described;
    try {
      if (argument.list) {
        for (auto element : elements(env, values[i], argument)) described += (described.empty() ? "" : ", ") + describeTensor(toTensor(env, element));
        described = "[" + described + "]";
      } else {
        described = describeTensor(toTensor(env, values[i]));
      }
    } catch (const std::exception&) {
      described = "not a live tensor";
    }
    result += (result.empty() ? "" : ", ") + argument.name + ": " + described;
  }
  return result;
}

uint32_t addGenerator(at::Generator generator) {
  auto& known = generators();
  std::lock_guard<std::mutex> guard(known.mutex);
  known.all.push_back(std::move(generator));
  return static_cast<uint32_t>(known.all.size()) - 1;
}

at::Generator& generatorAt(uint32_t index) {
  auto& known = generators();
  std::lock_guard<std::mutex> guard(known.mutex);
  if (index >= known.all.size()) throw std::runtime_error("expected a Generator");
  return known.all[index];
}

}  // namespace prospect
