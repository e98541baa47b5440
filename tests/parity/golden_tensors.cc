#include <algorithm>

#include "fmt/format.h"
#include "tests/parity/golden_case.h"

namespace filigree::parity {
namespace {

bool AllZero(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return x == 0; });
}

}  // namespace

absl::StatusOr<std::vector<float>> ReadTensor(const GoldenCase& golden, const std::string& name,
                                              const checkpoint::Shape& shape) {
  const checkpoint::TensorView* tensor = golden.tensors.Find(name);
  if (tensor == nullptr) {
    return absl::NotFoundError(fmt::format("{}.safetensors: tensor '{}' is missing", golden.name, name));
  }
  if (tensor->shape != shape) {
    return absl::InvalidArgumentError(fmt::format("{}.safetensors: '{}' is {}, {} was expected from the configuration",
                                                  golden.name, name, checkpoint::ShapeText(tensor->shape),
                                                  checkpoint::ShapeText(shape)));
  }
  return checkpoint::ToFloats(*tensor);
}

absl::Status ReadWeights(const GoldenCase& golden, const model::Registry& registry, model::Arena& weights) {
  for (const model::TensorInfo& info : registry.tensors()) {
    absl::StatusOr<std::vector<float>> values = ReadTensor(golden, "in." + info.name, info.shape);
    if (!values.ok()) return values.status();
    std::copy(values->begin(), values->end(), weights.tensor(info));
  }
  for (const checkpoint::TensorView& tensor : golden.tensors.tensors()) {
    if (!tensor.name.starts_with("in.") || registry.Find(tensor.name.substr(3)) >= 0) continue;
    absl::StatusOr<std::vector<float>> values = checkpoint::ToFloats(tensor);
    if (!values.ok()) return values.status();
    if (!AllZero(*values)) {
      return absl::InvalidArgumentError(
          fmt::format("{}.safetensors: '{}' is no parameter of the model that the configuration describes", golden.name,
                      tensor.name));
    }
  }
  return absl::OkStatus();
}

}  // namespace filigree::parity
