// What JavaScript sees of libtorch: one generic operator call, tensors in and out, autograd, memory, threads. Types: src/tensor/addon.ts.
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>
#include <napi.h>
#include <torch/csrc/api/include/torch/version.h>
#include <torch/csrc/autograd/autograd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <sstream>

#include "allocator.h"
#include "convert.h"
#include "device.h"
#include "gpus.h"
#include "handles.h"
#include "mapping.h"
#include "operators.h"
#include "profiler.h"
#include "random.h"
#include "writer.h"

namespace prospect {
namespace {

constexpr size_t kMostArguments = 32;

/// call(operator, ...arguments): the hot path, on the raw Node-API.
napi_value call(napi_env env, napi_callback_info info) {
  size_t count = kMostArguments;
  napi_value values[kMostArguments];
  void* data;
  napi_get_cb_info(env, info, &count, values, nullptr, &data);
  const Operator* op = nullptr;
  try {
    uint32_t index = UINT32_MAX;
    napi_get_value_uint32(env, values[0], &index);
    op = &operatorAt(index);
    const size_t arity = op->arguments.size();
    if (arity >= kMostArguments) throw std::runtime_error("has too many arguments for this binding");
    torch::jit::Stack stack;
    stack.reserve(arity);
    napi_value undefined;
    napi_get_undefined(env, &undefined);
    for (size_t i = 0; i < arity; i++) pushArgument(env, i + 1 < count ? values[i + 1] : undefined, op->arguments[i], stack);
    op->handle.callBoxed(stack);
    return fromStack(env, stack, *static_cast<Environment*>(data));
  } catch (const std::exception& error) {
    std::string message = messageOf(error);
    if (op != nullptr) message = op->name + "(" + describeArguments(env, *op, values + 1, count - 1) + "): " + message;
    napi_throw_error(env, nullptr, message.c_str());
    return nullptr;
  }
}

/// Wraps a function over Napi::CallbackInfo so that every C++ exception becomes a JavaScript error that names it.
template <Napi::Value (*Function)(const Napi::CallbackInfo&)>
void define(Napi::Env env, Napi::Object exports, const char* name, Environment* environment) {
  exports.Set(name, Napi::Function::New(
                        env,
                        [](const Napi::CallbackInfo& info) -> Napi::Value {
                          try {
                            return Function(info);
                          } catch (const Napi::Error&) {
                            throw;
                          } catch (const std::exception& error) {
                            throw Napi::Error::New(info.Env(), messageOf(error));
                          }
                        },
                        name, environment));
}

const Environment& environmentOf(const Napi::CallbackInfo& info) { return *static_cast<Environment*>(info.Data()); }
at::Tensor tensorArgument(const Napi::CallbackInfo& info, size_t index = 0) { return toTensor(info.Env(), info[index]); }
Napi::Value handleOf(const Napi::CallbackInfo& info, at::Tensor tensor) {
  return {info.Env(), fromTensor(info.Env(), std::move(tensor), environmentOf(info))};
}
Napi::Value count(const Napi::CallbackInfo& info, double value) { return Napi::Number::New(info.Env(), value); }

// Operators

Napi::Value operatorIndex(const Napi::CallbackInfo& info) { return count(info, findOperator(info[0].As<Napi::String>())); }

/// The schema's text, and per argument whether it takes tensors, for the JavaScript side to unwrap them.
Napi::Value operatorSchema(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto& op = operatorAt(info[0].As<Napi::Number>().Uint32Value());
  std::ostringstream text;
  text << op.handle.schema();
  auto arguments = Napi::Array::New(env, op.arguments.size());
  for (uint32_t i = 0; i < op.arguments.size(); i++) {
    auto item = Napi::Object::New(env);
    item["name"] = op.arguments[i].name;
    item["tensor"] = op.arguments[i].kind == Kind::Tensor;
    item["list"] = op.arguments[i].list;
    arguments[i] = item;
  }
  auto result = Napi::Object::New(env);
  result["text"] = text.str();
  result["arguments"] = arguments;
  return result;
}

// Tensors

Napi::Value drop(const Napi::CallbackInfo& info) {
  handles().drop(info[0].As<Napi::Number>().Uint32Value());
  return info.Env().Undefined();
}

Napi::Value live(const Napi::CallbackInfo& info) { return count(info, handles().live()); }

Napi::Value shape(const Napi::CallbackInfo& info) {
  const auto tensor = tensorArgument(info);
  auto result = Napi::Array::New(info.Env(), tensor.dim());
  for (int64_t i = 0; i < tensor.dim(); i++) result[static_cast<uint32_t>(i)] = static_cast<double>(tensor.size(i));
  return result;
}

Napi::Value dtype(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), dtypeName(tensorArgument(info).scalar_type())); }
Napi::Value device(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), tensorArgument(info).device().str()); }

Napi::Value item(const Napi::CallbackInfo& info) {
  const auto tensor = tensorArgument(info);
  if (tensor.numel() != 1) throw std::runtime_error("item(): expected one element, got " + describeTensor(tensor));
  return count(info, tensor.item().toDouble());
}

/// fromBytes(view, shape, dtype, device?): a copy of the view's bytes as a tensor on the CPU, or on the device. A GPU takes it from pinned memory,
/// while the processor goes on; libtorch keeps that memory until it has been read.
Napi::Value fromBytes(const Napi::CallbackInfo& info) {
  const auto view = info[0].As<Napi::TypedArray>();
  const auto device = info[3].IsString() ? c10::Device(info[3].As<Napi::String>().Utf8Value()) : c10::Device(c10::kCPU);
  auto tensor = emptyTensor(toIntVector(info.Env(), info[1]), parseDtype(info[2].As<Napi::String>()), device.is_cuda());
  if (tensor.nbytes() != view.ByteLength()) {
    throw std::runtime_error(describeTensor(tensor) + " takes " + std::to_string(tensor.nbytes()) + " bytes, got " + std::to_string(view.ByteLength()));
  }
  if (tensor.nbytes() > 0) std::memcpy(tensor.data_ptr(), static_cast<uint8_t*>(view.ArrayBuffer().Data()) + view.ByteOffset(), tensor.nbytes());
  return handleOf(info, device.is_cpu() ? std::move(tensor) : tensor.to(device, tensor.scalar_type(), /*non_blocking=*/device.is_cuda()));
}

/// The tensor's elements in row-major order, copied.
Napi::Value toBytes(const Napi::CallbackInfo& info) {
  const auto tensor = tensorArgument(info).detach().cpu().contiguous();
  auto result = Napi::ArrayBuffer::New(info.Env(), tensor.nbytes());
  if (tensor.nbytes() > 0) std::memcpy(result.Data(), tensor.data_ptr(), tensor.nbytes());
  return result;
}

// Mapped files

Napi::Value mapFile(const Napi::CallbackInfo& info) {
  auto* mapping = new std::shared_ptr<Mapping>(Mapping::open(info[0].As<Napi::String>()));  // freed by the finalizer below
  return Napi::External<std::shared_ptr<Mapping>>::New(info.Env(), mapping, [](Napi::Env, std::shared_ptr<Mapping>* held) { delete held; });
}

/// mappedBytes(mapping): the file as an ArrayBuffer over the same pages, which keeps the mapping alive.
Napi::Value mappedBytes(const Napi::CallbackInfo& info) {
  const auto& mapping = *info[0].As<Napi::External<std::shared_ptr<Mapping>>>().Data();
  auto* held = new std::shared_ptr<Mapping>(mapping);  // freed by the finalizer
  return Napi::ArrayBuffer::New(info.Env(), mapping->data(), mapping->size(), [held](Napi::Env, void*) { delete held; });
}

/// mappedTensor(mapping, offset, shape, dtype): shares the file's pages; written pages are copied, never stored.
Napi::Value mappedTensor(const Napi::CallbackInfo& info) {
  const auto& mapping = *info[0].As<Napi::External<std::shared_ptr<Mapping>>>().Data();
  const auto offset = info[1].As<Napi::Number>().Int64Value();
  return handleOf(info, tensorOver(mapping, offset, toIntVector(info.Env(), info[2]), parseDtype(info[3].As<Napi::String>())));
}

// Files written in the background

using Writing = std::shared_ptr<FileWriter>;
Writing& writingArgument(const Napi::CallbackInfo& info) { return *info[0].As<Napi::External<Writing>>().Data(); }

/// A list of files to be written.
Napi::Value newWriting(const Napi::CallbackInfo& info) {
  auto* held = new Writing(std::make_shared<FileWriter>());  // freed by the finalizer
  return Napi::External<Writing>::New(info.Env(), held, [](Napi::Env, Writing* held) { delete held; });
}

/// addToWriting(writing, path, header, handles): a file of the header's bytes and the tensors as they are now.
Napi::Value addToWriting(const Napi::CallbackInfo& info) {
  const auto header = info[2].As<Napi::Uint8Array>();
  const auto list = info[3].As<Napi::Array>();
  std::vector<at::Tensor> tensors;
  for (uint32_t i = 0; i < list.Length(); i++) tensors.push_back(toTensor(info.Env(), list.Get(i)));
  writingArgument(info)->add(info[1].As<Napi::String>(), std::string(reinterpret_cast<const char*>(header.Data()), header.ByteLength()), tensors);
  return info.Env().Undefined();
}

class WriteWorker final : public Napi::AsyncWorker {
 public:
  WriteWorker(Napi::Env env, Writing writing) : AsyncWorker(env), writing_(std::move(writing)), deferred_(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      writing_->run();
    } catch (const std::exception& error) {
      SetError(messageOf(error));
    }
  }
  void OnOK() override { deferred_.Resolve(Env().Undefined()); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Writing writing_;
  Napi::Promise::Deferred deferred_;
};

/// A promise: all files are written and synced.
Napi::Value startWriting(const Napi::CallbackInfo& info) {
  auto* worker = new WriteWorker(info.Env(), writingArgument(info));  // deletes itself when it has ended
  worker->Queue();
  return worker->promise();
}

Napi::Value writingLeft(const Napi::CallbackInfo& info) { return count(info, static_cast<double>(writingArgument(info)->left())); }
/// detachWriting(writing, copy): after it the tensors may be changed.
Napi::Value detachWriting(const Napi::CallbackInfo& info) {
  writingArgument(info)->detach(info[1].As<Napi::Boolean>());
  return info.Env().Undefined();
}

Napi::Value cancelWriting(const Napi::CallbackInfo& info) { return writingArgument(info)->cancel(), info.Env().Undefined(); }

// Autograd

Napi::Value setRequiresGrad(const Napi::CallbackInfo& info) {
  tensorArgument(info).set_requires_grad(info[1].As<Napi::Boolean>());
  return info.Env().Undefined();
}
Napi::Value requiresGrad(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), tensorArgument(info).requires_grad()); }
Napi::Value grad(const Napi::CallbackInfo& info) { return handleOf(info, tensorArgument(info).grad()); }

Napi::Value setGrad(const Napi::CallbackInfo& info) {
  tensorArgument(info).mutable_grad() = info[1].IsNull() ? at::Tensor() : tensorArgument(info, 1);
  return info.Env().Undefined();
}

/// backward(output, gradient | null)
Napi::Value backward(const Napi::CallbackInfo& info) {
  torch::autograd::variable_list gradients;
  if (!info[1].IsNull()) gradients.push_back(tensorArgument(info, 1));
  torch::autograd::backward({tensorArgument(info)}, gradients);
  return info.Env().Undefined();
}

/// Sets whether operators are recorded for backward, for this thread; gives what it was.
Napi::Value gradMode(const Napi::CallbackInfo& info) {
  const bool previous = c10::GradMode::is_enabled();
  c10::GradMode::set_enabled(info[0].As<Napi::Boolean>());
  return Napi::Boolean::New(info.Env(), previous);
}

// Random state

Napi::Value generator(const Napi::CallbackInfo& info) { return count(info, addGenerator(makeGenerator(info[0].As<Napi::Number>().Int64Value()))); }
Napi::Value generatorState(const Napi::CallbackInfo& info) {
  return handleOf(info, stateOf(generatorAt(info[0].As<Napi::Number>().Uint32Value())));
}
Napi::Value setGeneratorState(const Napi::CallbackInfo& info) {
  setStateOf(generatorAt(info[0].As<Napi::Number>().Uint32Value()), tensorArgument(info, 1));
  return info.Env().Undefined();
}

// The machine

Napi::Value threads(const Napi::CallbackInfo& info) {
  if (info.Length() > 0) at::set_num_threads(info[0].As<Napi::Number>().Int32Value());
  return count(info, at::get_num_threads());
}

Napi::Value memory(const Napi::CallbackInfo& info) {
  const auto use = memoryUse();
  auto result = Napi::Object::New(info.Env());
  result["live"] = static_cast<double>(use.live);
  result["peak"] = static_cast<double>(use.peak);
  result["largest"] = static_cast<double>(use.largest);
  result["cached"] = static_cast<double>(use.cached);
  return result;
}
Napi::Value resetPeakMemory(const Napi::CallbackInfo& info) { return resetPeak(), info.Env().Undefined(); }
Napi::Value emptyCachedMemory(const Napi::CallbackInfo& info) { return emptyCache(), info.Env().Undefined(); }

// Devices

c10::Device deviceArgument(const Napi::CallbackInfo& info) { return c10::Device(info[0].As<Napi::String>().Utf8Value()); }

/// The GPUs that the driver shows, and why none where there are none.
Napi::Value gpus(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto found = findGpus();
  auto all = Napi::Array::New(env, found.all.size());
  for (uint32_t i = 0; i < found.all.size(); i++) {
    const auto& gpu = found.all[i];
    auto item = Napi::Object::New(env);
    item["name"] = gpu.name;
    item["memory"] = static_cast<double>(gpu.memory);
    item["capability"] = std::to_string(gpu.major) + "." + std::to_string(gpu.minor);
    item["bfloat16"] = gpu.major >= 8;
    all[i] = item;
  }
  auto result = Napi::Object::New(env);
  result["all"] = all;
  result["driver"] = found.driver;
  result["cuda"] = found.cuda;
  result["problem"] = found.problem;
  result["loaded"] = hasCuda();
  return result;
}

/// Bytes, or null where this libtorch does not say.
Napi::Value deviceMemory(const Napi::CallbackInfo& info) {
  const auto use = prospect::deviceMemory(deviceArgument(info));
  if (!use.known) return info.Env().Null();
  auto result = Napi::Object::New(info.Env());
  result["allocated"] = static_cast<double>(use.allocated);
  result["reserved"] = static_cast<double>(use.reserved);
  result["peakAllocated"] = static_cast<double>(use.peakAllocated);
  result["peakReserved"] = static_cast<double>(use.peakReserved);
  result["free"] = static_cast<double>(use.free);
  result["total"] = static_cast<double>(use.total);
  return result;
}
Napi::Value resetDevicePeak(const Napi::CallbackInfo& info) { return prospect::resetDevicePeak(deviceArgument(info)), info.Env().Undefined(); }
Napi::Value emptyDeviceCache(const Napi::CallbackInfo& info) { return prospect::emptyDeviceCache(deviceArgument(info)), info.Env().Undefined(); }
Napi::Value synchronize(const Napi::CallbackInfo& info) { return prospect::synchronize(deviceArgument(info)), info.Env().Undefined(); }
Napi::Value allowTf32(const Napi::CallbackInfo& info) { return prospect::allowTf32(info[0].As<Napi::Boolean>()), info.Env().Undefined(); }
Napi::Value deterministic(const Napi::CallbackInfo& info) { return prospect::deterministic(info[0].As<Napi::Boolean>()), info.Env().Undefined(); }

/// profile(true) starts; profile(false) stops and gives milliseconds and calls by operator.
Napi::Value profile(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (info[0].As<Napi::Boolean>()) return startProfile(), env.Undefined();
  auto result = Napi::Object::New(env);
  for (const auto& [name, time] : stopProfile()) {
    auto item = Napi::Object::New(env);
    item["milliseconds"] = time.milliseconds;
    item["calls"] = static_cast<double>(time.calls);
    result[name] = item;
  }
  return result;
}

std::string libraryOf(const void* symbol) {
  Dl_info found;
  return dladdr(symbol, &found) != 0 && found.dli_fname != nullptr ? found.dli_fname : "";
}

/// What was loaded: versions, places, the BLAS and the kernel that it chose.
Napi::Value engine(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  auto result = Napi::Object::New(env);
  result["version"] = std::string(TORCH_VERSION);
  result["library"] = libraryOf(reinterpret_cast<const void*>(&at::get_num_threads));
  result["config"] = at::show_config();
  auto* core = reinterpret_cast<char* (*)()>(dlsym(RTLD_DEFAULT, "openblas_get_corename"));
  auto* config = reinterpret_cast<char* (*)()>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
  result["blasKernel"] = core != nullptr ? Napi::Value(Napi::String::New(env, core())) : env.Null();
  result["blasConfig"] = config != nullptr ? Napi::Value(Napi::String::New(env, config())) : env.Null();
  result["blasLibrary"] = core != nullptr ? Napi::Value(Napi::String::New(env, libraryOf(reinterpret_cast<const void*>(core)))) : env.Null();
  return result;
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  static std::once_flag once;
  std::call_once(once, installAllocator);
  static std::atomic<uint32_t> owners{0};
  auto* environment = new Environment{++owners};  // freed by the clean-up hook, after the last use
  env.AddCleanupHook(
      [](Environment* ending) {
        handles().dropOwner(ending->owner);
        delete ending;
      },
      environment);

  napi_value function;
  napi_create_function(env, "call", NAPI_AUTO_LENGTH, call, environment, &function);
  exports.Set("call", function);
#define DEFINE(name) define<name>(env, exports, #name, environment)
  DEFINE(operatorIndex); DEFINE(operatorSchema);
  DEFINE(drop); DEFINE(live); DEFINE(shape); DEFINE(dtype); DEFINE(device); DEFINE(item); DEFINE(fromBytes); DEFINE(toBytes);
  DEFINE(mapFile); DEFINE(mappedBytes); DEFINE(mappedTensor);
  DEFINE(newWriting); DEFINE(addToWriting); DEFINE(startWriting); DEFINE(writingLeft); DEFINE(detachWriting); DEFINE(cancelWriting);
  DEFINE(setRequiresGrad); DEFINE(requiresGrad); DEFINE(grad); DEFINE(setGrad); DEFINE(backward); DEFINE(gradMode);
  DEFINE(generator); DEFINE(generatorState); DEFINE(setGeneratorState);
  DEFINE(gpus); DEFINE(deviceMemory); DEFINE(resetDevicePeak); DEFINE(emptyDeviceCache); DEFINE(synchronize); DEFINE(allowTf32); DEFINE(deterministic);
  DEFINE(threads); DEFINE(memory); DEFINE(resetPeakMemory); DEFINE(emptyCachedMemory); DEFINE(profile); DEFINE(engine);
#undef DEFINE
  return exports;
}

}  // namespace
}  // namespace prospect

static Napi::Object Initialise(Napi::Env env, Napi::Object exports) { return prospect::initialise(env, exports); }
NODE_API_MODULE(prospect, Initialise)
