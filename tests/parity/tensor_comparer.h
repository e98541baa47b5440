#ifndef FILIGREE_TESTS_PARITY_TENSOR_COMPARER_H_
#define FILIGREE_TESTS_PARITY_TENSOR_COMPARER_H_

#include <set>
#include <span>
#include <string>
#include <vector>

#include "tests/parity/golden_case.h"
#include "tests/parity/report.h"

// Compares tensors of one case with what the program computed.
//
//   distance = ||ours - truth||_2 / ||truth||_2          bound = 4 * (distance of the authors' own fp32 run) + 1e-7
//
// and where activations are kept as bf16 what bf16_bound.h adds.

namespace filigree::parity {

// Of a tensor; of one without an fp32 distance the rounding of the file alone.
double BoundOf(const GoldenCase& golden, const std::string& name);

enum class Zeros { kIgnore, kMustAgree };

class TensorComparer {
 public:
  // Borrows both.
  TensorComparer(const GoldenCase& golden, Report& report) : golden_(golden), report_(report) {}

  // A tensor that the file lacks, or has in another shape, or of which it has no fp32 distance, is a miss. rounding:
  // how far it may be where that is more than the bound (rounding.h).
  void Compare(const std::string& name, const checkpoint::Shape& shape, std::span<const float> ours, Zeros zeros,
               double rounding = 0);

  // A gradient. One that is zero in truth (a bias of k without AbsTopK) has no norm of its own and is measured against
  // that of its weight.
  void CompareGradient(const model::TensorInfo& info, const float* ours);

  // Tensors of the file whose names begin so are not compared.
  void PassOver(const std::string& beginning) { passed_over_.push_back(beginning); }

  // After all comparisons: a tensor of the file that was not compared is a miss.
  void Finish();

 private:
  double Bound(const std::string& name);

  const GoldenCase& golden_;
  Report& report_;
  std::set<std::string> compared_;
  std::vector<std::string> passed_over_;
};

}  // namespace filigree::parity

#endif  // FILIGREE_TESTS_PARITY_TENSOR_COMPARER_H_
