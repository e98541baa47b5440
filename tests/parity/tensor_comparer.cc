#include "tests/parity/tensor_comparer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "fmt/format.h"
#include "tests/parity/bf16_bound.h"

namespace filigree::parity {
namespace {

constexpr double kTimesFp32 = 4;
constexpr double kFileRounding = 1e-7;
// A gradient this much smaller than that of its weight is the rounding of a zero.
constexpr double kZeroInTruth = 1e-6;

double Norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

// ||a - b||, and where it is largest.
struct Difference {
  double norm = 0;
  size_t worst = 0;
};
Difference Subtract(std::span<const float> a, std::span<const float> b) {
  Difference difference;
  double sum = 0, largest = -1;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - b[i];
    sum += d * d;
    if (!(std::fabs(d) <= largest)) {
      largest = std::isnan(d) ? std::numeric_limits<double>::infinity() : std::fabs(d);
      difference.worst = i;
    }
  }
  difference.norm = std::sqrt(sum);
  return difference;
}

// Entries that are zero on one side only.
int64_t ZerosThatDiffer(std::span<const float> ours, std::span<const float> truth) {
  int64_t count = 0;
  for (size_t i = 0; i < ours.size(); ++i) count += (ours[i] == 0) != (truth[i] == 0);
  return count;
}

// Relative to `norm`; where that is zero, the norm of the difference itself.
Comparison Measure(const std::string& name, std::span<const float> ours, std::span<const float> truth, double norm) {
  Comparison row;
  row.subject = name;
  const Difference difference = Subtract(ours, truth);
  row.distance = norm > 0 ? difference.norm / norm : difference.norm;
  const size_t i = difference.worst;
  if (!truth.empty()) row.note = fmt::format("at {}: {} instead of {}", i, ours[i], truth[i]);
  return row;
}

}  // namespace

double BoundOf(const GoldenCase& golden, const std::string& name) {
  const auto found = golden.fp32_distance.find(name);
  const double fp32 = (found == golden.fp32_distance.end() ? 0 : kTimesFp32 * found->second) + kFileRounding;
  if (!golden.spec.rounds()) return fp32;
  const Bf16Bound bf16 = BoundOfBf16(golden.spec);
  return fp32 + (name.starts_with("grad.") ? bf16.gradient : bf16.value);
}

double TensorComparer::Bound(const std::string& name) {
  if (!golden_.fp32_distance.contains(name)) {
    report_.AddError(golden_.name, fmt::format("fp32_distance_from_f64 has no entry '{}' to compare with", name));
  }
  return BoundOf(golden_, name);
}

void TensorComparer::Compare(const std::string& name, const checkpoint::Shape& shape, std::span<const float> ours,
                             Zeros zeros, double rounding) {
  compared_.insert(name);
  const absl::StatusOr<std::vector<float>> truth = ReadTensor(golden_, name, shape);
  if (!truth.ok()) return report_.AddError(golden_.name, std::string(truth.status().message()));
  Comparison row = Measure(name, ours, *truth, Norm(*truth));
  row.case_name = golden_.name;
  row.bound = Bound(name);
  if (zeros == Zeros::kMustAgree) {
    row.zeros_compared = true;
    row.zeros_differ = ZerosThatDiffer(ours, *truth);
    if (golden_.spec.rounds()) {
      const auto kept =
          static_cast<double>(std::count_if(truth->begin(), truth->end(), [](float x) { return x != 0; }));
      row.zeros_allowed = static_cast<int64_t>(BoundOfBf16(golden_.spec).zeros_share * kept);
    }
  }
  if (!row.ok() && row.bound < rounding) {
    row.bound = rounding;
    if (row.ok()) row.note = fmt::format("beyond {:.2e}: this run amplifies rounding", Bound(name));
  } else if (row.ok()) {
    row.note.clear();
  }
  report_.Add(std::move(row));
}

void TensorComparer::CompareGradient(const model::TensorInfo& info, const float* ours) {
  const std::string name = "grad." + info.name;
  const std::span<const float> values(ours, info.numel());
  const absl::StatusOr<std::vector<float>> truth = ReadTensor(golden_, name, info.shape);
  const std::string weight = "grad." + info.name.substr(0, info.name.rfind('.')) + ".weight";
  const checkpoint::TensorView* weight_tensor = golden_.tensors.Find(weight);
  if (!truth.ok() || weight == name || weight_tensor == nullptr) {
    return Compare(name, info.shape, values, Zeros::kIgnore);
  }
  const absl::StatusOr<std::vector<float>> weight_truth = checkpoint::ToFloats(*weight_tensor);
  const double weight_norm = weight_truth.ok() ? Norm(*weight_truth) : 0;
  if (!(Norm(*truth) < kZeroInTruth * weight_norm)) return Compare(name, info.shape, values, Zeros::kIgnore);
  compared_.insert(name);
  Comparison row = Measure(name, values, *truth, weight_norm);
  row.case_name = golden_.name;
  row.bound = std::min(Bound(name), Bound(weight));
  row.note = "zero in truth: against the norm of its weight's gradient";
  report_.Add(std::move(row));
}

void TensorComparer::Finish() {
  for (const checkpoint::TensorView& tensor : golden_.tensors.tensors()) {
    if (tensor.name == "tokens" || tensor.name.starts_with("in.") || compared_.contains(tensor.name)) continue;
    const auto begins = [&](const std::string& beginning) { return tensor.name.starts_with(beginning); };
    if (std::any_of(passed_over_.begin(), passed_over_.end(), begins)) continue;
    report_.AddError(golden_.name, fmt::format("'{}' is nothing that the configuration lets the program compute, so it "
                                               "was not compared",
                                               tensor.name));
  }
}

}  // namespace filigree::parity
