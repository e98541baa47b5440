#include "worker/interop/foreign_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "worker/interop/export.h"
#include "worker/interop/torch_file.h"

namespace filigree::interop {
namespace {

using checkpoint::ShapeText;

absl::StatusOr<std::vector<ForeignTensor>> OpenTorch(const std::string& path) {
  auto opened = TorchFile::Open(path);
  if (!opened.ok()) return opened.status();
  const auto file = std::make_shared<const TorchFile>(*std::move(opened));
  std::vector<ForeignTensor> tensors;
  for (const PickledTensor& tensor : file->tensors()) {
    tensors.push_back({tensor.name, tensor.shape, [file, &tensor] { return file->ToFloats(tensor); }});
  }
  return tensors;
}

absl::StatusOr<std::vector<ForeignTensor>> OpenSafetensors(const std::string& path) {
  auto opened = checkpoint::SafetensorsFile::Open(path);
  if (!opened.ok()) return opened.status();
  const auto file = std::make_shared<const checkpoint::SafetensorsFile>(*std::move(opened));
  const std::string prefix = kHuggingFacePrefix;
  std::vector<ForeignTensor> tensors;
  std::set<std::string> names;
  for (const checkpoint::TensorView& tensor : file->tensors()) {
    const std::string name = tensor.name.starts_with(prefix) ? tensor.name.substr(prefix.size()) : tensor.name;
    if (!names.insert(name).second) {
      return absl::DataLossError(fmt::format("{}: tensor '{}' is there with and without its prefix", path, name));
    }
    tensors.push_back({name, tensor.shape, [file, &tensor] { return checkpoint::ToFloats(tensor); }});
  }
  return tensors;
}

absl::Status Refuse(const std::string& path, const std::string& what) {
  return absl::FailedPreconditionError(fmt::format("{}: {}", path, what));
}

absl::Status MustBeZero(const ForeignTensor& tensor, const std::string& path, const char* meaning) {
  auto values = tensor.read();
  if (!values.ok()) return values.status();
  if (std::all_of(values->begin(), values->end(), [](float x) { return x == 0; })) return absl::OkStatus();
  return Refuse(
      path, fmt::format("{} is not zero: the model has {}, which this program does not have", tensor.name, meaning));
}

// transformer.h.3.attn.bias: the causal mask that the released code keeps as a buffer when it runs without flash.
bool IsCausalMask(const ForeignTensor& tensor) {
  return tensor.name.starts_with("transformer.h.") && tensor.name.ends_with(".attn.bias") && tensor.shape.size() == 4;
}

}  // namespace

absl::StatusOr<std::vector<ForeignTensor>> OpenForeignWeights(const std::string& path, Format format) {
  return format == Format::kOpenAi ? OpenTorch(path) : OpenSafetensors(path);
}

absl::Status CheckForeignTensors(const std::vector<ForeignTensor>& tensors, const model::Registry& registry,
                                 const ReleasedConfig& config, const std::string& path) {
  std::set<std::string> found;
  for (const ForeignTensor& tensor : tensors) {
    found.insert(tensor.name);
    const int index = registry.Find(tensor.name);
    if (index >= 0) {
      if (registry[index].shape == tensor.shape) continue;
      return Refuse(path, fmt::format("{} is {}, by the configuration it should be {}", tensor.name,
                                      ShapeText(tensor.shape), ShapeText(registry[index].shape)));
    }
    absl::Status status;
    if (tensor.name == "transformer.wpe.weight" && config.adds_positions) {
      status = MustBeZero(tensor, path, "positions added to the embedding");
    } else if (tensor.name == "final_logits_bias") {
      status = MustBeZero(tensor, path, "a bias on the logits");
    } else if (!IsCausalMask(tensor)) {
      status = Refuse(path, fmt::format("tensor '{}' {} is none of this model", tensor.name, ShapeText(tensor.shape)));
    }
    if (!status.ok()) return status;
  }
  for (const model::TensorInfo& info : registry.tensors()) {
    if (!found.contains(info.name)) return Refuse(path, fmt::format("tensor '{}' is missing", info.name));
  }
  return absl::OkStatus();
}

}  // namespace filigree::interop
