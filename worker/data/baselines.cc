#include "worker/data/baselines.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "worker/data/corpus.h"

namespace filigree::data {
namespace {

// visit(token) for all of a stream, in order.
template <typename Visit>
void ForEachToken(const TokenStream& stream, Visit visit) {
  for (int shard = 0; shard < stream.shards(); ++shard) {
    const uint16_t* tokens = stream.ShardTokens(shard);
    for (int64_t i = 0; i < stream.ShardSize(shard); ++i) visit(tokens[i]);
  }
}

template <typename Visit>
void ForEachPair(const TokenStream& stream, Visit visit) {
  int previous = -1;
  ForEachToken(stream, [&](uint16_t token) {
    if (previous >= 0) visit(static_cast<uint16_t>(previous), token);
    previous = token;
  });
}

double Discount(int64_t once, int64_t twice) {
  return once == 0 ? 0.5 : static_cast<double>(once) / static_cast<double>(once + 2 * twice);
}

}  // namespace

KneserNeyBigram::KneserNeyBigram(const TokenStream& train, int vocab)
    : vocab_(vocab), followed_(vocab), successors_(vocab), predecessors_(vocab) {
  CountPairs(train);
  FindDiscounts();
}

void KneserNeyBigram::CountPairs(const TokenStream& train) {
  ForEachPair(train, [&](uint16_t previous, uint16_t next) {
    uint32_t& count = pairs_[uint32_t{previous} << 16 | next];
    count += count < UINT32_MAX;
    ++followed_[previous];
  });
  for (const auto& [pair, count] : pairs_) {
    ++successors_[pair >> 16];
    ++predecessors_[pair & 0xFFFF];
  }
}

void KneserNeyBigram::FindDiscounts() {
  std::array<int64_t, 3> pairs_seen{}, tokens_with{};
  for (const auto& [pair, count] : pairs_) ++pairs_seen[count <= 2 ? count : 0];
  for (const int64_t n : predecessors_) {
    if (n > 0) ++kinds_;
    if (n == 1 || n == 2) ++tokens_with[n];
  }
  d2_ = Discount(pairs_seen[1], pairs_seen[2]);
  d1_ = Discount(tokens_with[1], tokens_with[2]);
}

double KneserNeyBigram::Probability(uint16_t previous, uint16_t next) const {
  if (pairs_.empty()) return 1.0 / vocab_;
  const auto kinds_of_pairs = static_cast<double>(pairs_.size());
  const double predecessors = static_cast<double>(predecessors_[next]);
  const double lower = std::max(predecessors - d1_, 0.0) / kinds_of_pairs + d1_ * kinds_ / kinds_of_pairs / vocab_;
  if (followed_[previous] == 0) return lower;
  const auto found = pairs_.find(uint32_t{previous} << 16 | next);
  const double count = found == pairs_.end() ? 0.0 : found->second;
  const auto followed = static_cast<double>(followed_[previous]);
  return std::max(count - d2_, 0.0) / followed + d2_ * static_cast<double>(successors_[previous]) / followed * lower;
}

Baselines MeasureBaselines(const TokenStream& train, const TokenStream& validation, int vocab,
                           double validation_bytes_per_token) {
  Baselines result;
  const auto predicted = static_cast<double>(validation.size() - 1);
  if (predicted < 1) return result;
  std::vector<int64_t> counts(vocab);
  ForEachToken(train, [&](uint16_t token) { ++counts[token]; });
  const KneserNeyBigram bigram(train, vocab);

  const double all = static_cast<double>(train.size()) + vocab;
  double unigram_nats = 0, bigram_nats = 0;
  ForEachPair(validation, [&](uint16_t previous, uint16_t next) {
    unigram_nats -= std::log(static_cast<double>(counts[next] + 1) / all);
    bigram_nats -= std::log(bigram.Probability(previous, next));
  });
  result.uniform_nats = std::log(static_cast<double>(vocab));
  result.unigram_nats = unigram_nats / predicted;
  result.bigram_nats = bigram_nats / predicted;
  result.uniform_bits_per_byte = BitsPerByte(result.uniform_nats, validation_bytes_per_token);
  result.unigram_bits_per_byte = BitsPerByte(result.unigram_nats, validation_bytes_per_token);
  result.bigram_bits_per_byte = BitsPerByte(result.bigram_nats, validation_bytes_per_token);
  return result;
}

}  // namespace filigree::data
