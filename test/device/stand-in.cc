// A second device for tests where no GPU is: its memory is the processor's, and its operators are those of the processor, but a tensor of the
// processor and one of this device are as far apart as with a GPU. An operator that is given both throws, as CUDA's would.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <unordered_map>

namespace {

constexpr auto kKey = c10::DispatchKey::PrivateUse1;
const c10::Device kDevice(c10::DeviceType::PrivateUse1, 0);

bool ours(const at::Tensor& tensor) { return tensor.defined() && tensor.device().type() == kDevice.type(); }

/// The same memory as a tensor of this device.
at::Tensor wrapped(const at::Tensor& cpu) {
  auto* held = new at::Tensor(cpu);  // freed with the storage
  c10::DataPtr data(const_cast<void*>(static_cast<const void*>(cpu.storage().unsafeGetStorageImpl()->data())), held,
                    [](void* tensor) { delete static_cast<at::Tensor*>(tensor); }, kDevice);
  c10::Storage storage(c10::Storage::use_byte_size_t(), cpu.storage().nbytes(), std::move(data), nullptr, false);
  auto result = at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(kKey), cpu.dtype());
  result.unsafeGetTensorImpl()->set_storage_offset(cpu.storage_offset());
  result.unsafeGetTensorImpl()->set_sizes_and_strides(cpu.sizes(), cpu.strides());
  return result;
}

/// The same memory as a tensor of the processor.
at::Tensor aliased(const at::Tensor& tensor) {
  if (!ours(tensor)) return tensor;
  return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), [tensor](void*) {}, at::TensorOptions().dtype(tensor.dtype()));
}

/// Arguments as tensors of the processor, and which of them stand for which of this device.
class Translation {
 public:
  explicit Translation(const c10::OperatorHandle& op) : op_(op) {}

  at::Tensor in(const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    if (!ours(tensor)) {
      TORCH_CHECK(tensor.dim() == 0 || seen_.empty(), op_.schema().name(), " was given tensors on ", kDevice, " and on ", tensor.device());
      foreign_ = foreign_ || tensor.dim() > 0;
      return tensor;
    }
    TORCH_CHECK(!foreign_, op_.schema().name(), " was given tensors on the CPU and on ", kDevice);
    const auto alias = tensor.numel() > 0 ? aliased(tensor) : at::empty(tensor.sizes(), at::TensorOptions().dtype(tensor.dtype()));
    seen_[alias.unsafeGetTensorImpl()] = tensor;
    return alias;
  }

  at::Tensor out(const at::Tensor& tensor) {
    if (!tensor.defined() || ours(tensor)) return tensor;
    const auto known = seen_.find(tensor.unsafeGetTensorImpl());
    if (known == seen_.end()) return wrapped(tensor);
    if (tensor.numel() > 0 && known->second.numel() == 0) takeOver(known->second, wrapped(tensor));  // an empty result that the operator sized
    return known->second;
  }

 private:
  static void takeOver(const at::Tensor& target, const at::Tensor& source) {
    target.unsafeGetTensorImpl()->set_storage_keep_dtype(source.storage());
    target.unsafeGetTensorImpl()->set_sizes_and_strides(source.sizes(), source.strides());
  }

  const c10::OperatorHandle& op_;
  std::unordered_map<c10::TensorImpl*, at::Tensor> seen_;
  bool foreign_ = false;
};

template <typename Change>
c10::IValue changed(const c10::IValue& value, const Change& change) {
  if (value.isTensor()) return change(value.toTensor());
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(change(tensor));
    return list;
  }
  if (value.isList() && !value.toListRef().empty() && (value.toListRef()[0].isTensor() || value.toListRef()[0].isNone())) {
    c10::List<c10::optional<at::Tensor>> list;
    for (const auto& element : value.toListRef()) {
      if (element.isNone()) list.push_back(c10::nullopt);
      else list.push_back(change(element.toTensor()));
    }
    return list;
  }
  return value;
}

void onProcessor(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  Translation translation(op);
  const auto count = op.schema().arguments().size();
  torch::jit::Stack inner;
  for (size_t i = 0; i < count; i++) inner.push_back(changed((*stack)[stack->size() - count + i], [&](const at::Tensor& tensor) { return translation.in(tensor); }));
  for (auto& value : inner)
    if (value.isDevice()) value = c10::Device(c10::kCPU);
  op.callBoxed(inner);
  stack->resize(stack->size() - count);
  for (const auto& value : inner) stack->push_back(changed(value, [&](const at::Tensor& tensor) { return translation.out(tensor); }));
}

at::Tensor emptyHere(at::IntArrayRef size, c10::optional<at::ScalarType> dtype, c10::optional<at::Layout>, c10::optional<at::Device>, c10::optional<bool>,
                     c10::optional<at::MemoryFormat> format) {
  return wrapped(at::empty(size, at::TensorOptions().dtype(dtype), format));
}
at::Tensor emptyStridedHere(at::IntArrayRef size, at::IntArrayRef stride, c10::optional<at::ScalarType> dtype, c10::optional<at::Layout>,
                            c10::optional<at::Device>, c10::optional<bool>) {
  return wrapped(at::empty_strided(size, stride, at::TensorOptions().dtype(dtype)));
}

at::Tensor copied(const at::Tensor& from, const at::Tensor& to, bool) { return aliased(to).copy_(aliased(from)), to; }

at::Tensor restrided(const at::Tensor& tensor, at::IntArrayRef size, at::IntArrayRef stride, c10::optional<int64_t> offset) {
  auto result = at::detail::make_tensor<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(tensor.storage()), tensor.key_set(), tensor.dtype());
  result.unsafeGetTensorImpl()->set_storage_offset(offset.value_or(tensor.storage_offset()));
  result.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
  return result;
}
at::Tensor reshapedAlias(const at::Tensor& tensor, at::IntArrayRef size, at::IntArrayRef stride) { return restrided(tensor, size, stride, c10::nullopt); }
at::Tensor viewed(const at::Tensor& tensor, at::IntArrayRef size) {
  const auto view = aliased(tensor).view(size);  // throws where strides do not allow it
  return restrided(tensor, view.sizes(), view.strides(), c10::nullopt);
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kDevice.type(); }
  c10::Device exchangeDevice(c10::Device) const override { return kDevice; }
  c10::Device getDevice() const override { return kDevice; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, kDevice); }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&onProcessor>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", &emptyHere);
  library.impl("empty_strided", &emptyStridedHere);
  library.impl("_copy_from", &copied);
  library.impl("as_strided", &restrided);
  library.impl("_reshape_alias", &reshapedAlias);
  library.impl("view", &viewed);
}
