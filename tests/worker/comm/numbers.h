#ifndef FILIGREE_TESTS_WORKER_COMM_NUMBERS_H_
#define FILIGREE_TESTS_WORKER_COMM_NUMBERS_H_

#include <cstdint>
#include <random>
#include <span>
#include <vector>

// Inputs of collectives whose results are known.

namespace filigree::comm {

// Small whole numbers, so that sums are exact in every type.
template <typename T>
T Known(int rank, int64_t i) {
  return static_cast<T>((rank * 7 + i * 3 + i / 5) % 101);
}
template <typename T>
std::vector<T> KnownVector(int rank, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) values[i] = Known<T>(rank, i);
  return values;
}

// Of very different sizes and signs, so that every order of adding them gives other bits.
inline std::vector<float> Rough(int rank, int64_t count) {
  std::mt19937 random(17 + rank);
  std::uniform_real_distribution<float> mantissa(-1.0F, 1.0F);
  std::uniform_int_distribution<int> exponent(-12, 12);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = std::ldexp(mantissa(random), exponent(random));
  return values;
}

// The sum along the tree that communicator.h promises, pair by pair.
inline float TreeSum(std::vector<float> terms) {
  while (terms.size() > 1) {
    std::vector<float> pairs;
    pairs.reserve(terms.size());
    for (size_t i = 0; i + 1 < terms.size(); i += 2) pairs.push_back(terms[i] + terms[i + 1]);
    if (terms.size() % 2 == 1) pairs.push_back(terms.back());
    terms = std::move(pairs);
  }
  return terms.front();
}

}  // namespace filigree::comm

#endif  // FILIGREE_TESTS_WORKER_COMM_NUMBERS_H_
