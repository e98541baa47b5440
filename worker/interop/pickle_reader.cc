#include "worker/interop/pickle_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "worker/interop/pickle_machine.h"

namespace filigree::interop {
namespace {

using checkpoint::DType;

struct StorageClass {
  const char* name;
  DType dtype;
};
constexpr std::array<StorageClass, 10> kStorages = {{{"torch FloatStorage", DType::kF32},
                                                     {"torch HalfStorage", DType::kF16},
                                                     {"torch BFloat16Storage", DType::kBF16},
                                                     {"torch DoubleStorage", DType::kF64},
                                                     {"torch LongStorage", DType::kI64},
                                                     {"torch IntStorage", DType::kI32},
                                                     {"torch ShortStorage", DType::kI16},
                                                     {"torch CharStorage", DType::kI8},
                                                     {"torch ByteStorage", DType::kU8},
                                                     {"torch BoolStorage", DType::kBool}}};

// Text for a message: the start of it, without control characters.
std::string Shown(const std::string& text) {
  std::string shown = text.substr(0, 80);
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return shown;
}

// Readers note the first thing that is wrong and return what they have.
class Reader {
 public:
  const std::string& error() const { return error_; }
  void Fail(const std::string& what) {
    if (error_.empty()) error_ = what;
  }

  const PickleValue* Item(const PickleValue& tuple, size_t i, PickleKind kind) {
    static const PickleValue none;
    if (i < tuple.items.size() && tuple.items[i]->kind == kind) return tuple.items[i];
    Fail("it has other arguments than a tensor has");
    return &none;
  }

  uint64_t Count(const PickleValue& tuple, size_t i) {
    const int64_t number = Item(tuple, i, PickleKind::kInt)->number;
    if (number < 0) Fail("it has a negative size");
    return number < 0 ? 0 : static_cast<uint64_t>(number);
  }

  std::vector<int64_t> Counts(const PickleValue& tuple, size_t i) {
    const PickleValue* list = Item(tuple, i, PickleKind::kTuple);
    std::vector<int64_t> counts;
    if (list->items.size() > 16) Fail("it has more than 16 dimensions");
    for (size_t k = 0; k < list->items.size() && error_.empty(); ++k) {
      counts.push_back(static_cast<int64_t>(Count(*list, k)));
    }
    return counts;
  }

  // persistent_id('storage', torch.FloatStorage, '0', 'cpu', elements)
  void Storage(const PickleValue& persistent, PickledTensor& tensor) {
    const PickleValue* id = Item(persistent, 0, PickleKind::kTuple);
    if (Item(*id, 0, PickleKind::kText)->text != "storage") Fail("its storage is of an unknown kind");
    const std::string& name = Item(*id, 1, PickleKind::kGlobal)->text;
    const auto* found =
        std::find_if(kStorages.begin(), kStorages.end(), [&](const StorageClass& s) { return name == s.name; });
    if (found == kStorages.end()) return Fail(fmt::format("its storage is a '{}'", Shown(name)));
    tensor.dtype = found->dtype;
    tensor.storage = Item(*id, 2, PickleKind::kText)->text;
    tensor.storage_elements = Count(*id, 4);
  }

  // The greatest index a strided view reaches must lie inside.
  void CheckExtent(const PickledTensor& tensor) {
    if (tensor.strides.size() != tensor.shape.size()) return Fail("it has not one stride a dimension");
    uint64_t last = tensor.offset, elements = 1;
    bool overflow = false;
    for (size_t d = 0; d < tensor.shape.size(); ++d) {
      const auto size = static_cast<uint64_t>(tensor.shape[d]);
      uint64_t reach = 0;
      overflow |= __builtin_mul_overflow(elements, size, &elements);
      if (size > 1) overflow |= __builtin_mul_overflow(size - 1, static_cast<uint64_t>(tensor.strides[d]), &reach);
      overflow |= __builtin_add_overflow(last, reach, &last);
    }
    // A view that reads an element twice (stride 0) could ask for more memory than the file has.
    if (overflow || elements > tensor.storage_elements || (elements > 0 && last >= tensor.storage_elements)) {
      Fail("it reaches beyond its storage");
    }
  }

  // _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks), perhaps inside _rebuild_parameter(tensor,
  // requires_grad, hooks).
  PickledTensor Tensor(const PickleValue* value) {
    PickledTensor tensor;
    const auto calls = [](const PickleValue* v, const char* name) {
      return v->kind == PickleKind::kCall && v->items[0]->text == name;
    };
    if (calls(value, "torch._utils _rebuild_parameter") && !value->items[1]->items.empty()) {
      value = value->items[1]->items[0];
    }
    if (!calls(value, "torch._utils _rebuild_tensor_v2")) {
      Fail(value->kind == PickleKind::kCall ? fmt::format("it calls '{}'", Shown(value->items[0]->text))
                                            : "it is not a tensor");
      return tensor;
    }
    const PickleValue& arguments = *value->items[1];
    Storage(*Item(arguments, 0, PickleKind::kPersistent), tensor);
    tensor.offset = Count(arguments, 1);
    tensor.shape = Counts(arguments, 2);
    tensor.strides = Counts(arguments, 3);
    if (error_.empty()) CheckExtent(tensor);
    return tensor;
  }

 private:
  std::string error_;
};

}  // namespace

absl::StatusOr<std::vector<PickledTensor>> ReadStateDictPickle(std::span<const uint8_t> pickle,
                                                               const std::string& path) {
  const auto broken = [&](const std::string& what) {
    return absl::DataLossError(fmt::format("{}: {}; not a state dict this program reads", path, what));
  };
  if (pickle.size() > kMaxPickleBytes) return broken(fmt::format("its pickle has {} bytes", pickle.size()));
  PickleMachine machine(pickle);
  const PickleValue* root = machine.Run();
  if (root == nullptr) return broken("there is " + machine.error());
  if (root->kind != PickleKind::kDict) return broken("its pickle holds something that is not a dict");
  std::vector<PickledTensor> tensors;
  std::set<std::string> names;
  for (const auto& [key, value] : root->entries) {
    if (key->kind != PickleKind::kText) return broken("a key of its dict is not text");
    Reader reader;
    PickledTensor tensor = reader.Tensor(value);
    if (!checkpoint::SoundTensorName(key->text)) reader.Fail("its name is not 1 to 256 printable ASCII characters");
    if (!names.insert(key->text).second) reader.Fail("it is there twice");
    if (!reader.error().empty()) return broken(fmt::format("tensor '{}': {}", Shown(key->text), reader.error()));
    tensor.name = key->text;
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

}  // namespace filigree::interop
