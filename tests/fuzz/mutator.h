#ifndef FILIGREE_TESTS_FUZZ_MUTATOR_H_
#define FILIGREE_TESTS_FUZZ_MUTATOR_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace filigree::fuzz {

// Makes bad input of good: bits flipped, bytes and words replaced by those that break things, pieces cut out, repeated,
// moved and exchanged between inputs, digits changed, brackets piled up. The same seed gives the same inputs.
class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, uint64_t seed) : seeds_(std::move(seeds)), dice_(seed) {}

  // The next input, at most kMostBytes.
  std::string Next();

  static constexpr size_t kMostBytes = 1 << 20;

 private:
  size_t Below(size_t n) { return n == 0 ? 0 : dice_() % n; }
  void Change(std::string& input);
  void FlipBit(std::string& input);
  void SetBytes(std::string& input);
  void CutOut(std::string& input);
  void Repeat(std::string& input);
  void Splice(std::string& input);
  void InsertWord(std::string& input);
  void ChangeNumber(std::string& input);
  void Nest(std::string& input);

  const std::vector<std::string> seeds_;
  std::mt19937_64 dice_;
};

}  // namespace filigree::fuzz

#endif  // FILIGREE_TESTS_FUZZ_MUTATOR_H_
