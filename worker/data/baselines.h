#ifndef FILIGREE_WORKER_DATA_BASELINES_H_
#define FILIGREE_WORKER_DATA_BASELINES_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "worker/data/manifest.h"
#include "worker/data/token_stream.h"

// What a language model has to beat: cross-entropy of the validation split under counts of the training split.
//
//   unigram    p(w) = (c(w) + 1) / (N + V)
//   bigram     interpolated Kneser-Ney with one discount an order (Chen and Goodman 1999):
//                p(w | v) = max(c(v w) - D2, 0) / c(v) + D2 N(v .) / c(v) * q(w)
//                q(w)     = max(N(. w) - D1, 0) / N(. .) + D1 S / N(. .) / V
//              c counts, c(v) = sum over w of c(v w); N(v .) different successors of v; N(. w) different predecessors
//              of w; N(. .) different pairs; S different w with a predecessor; p(w | v) = q(w) where v was never
//              followed. D = n1 / (n1 + 2 n2), where n1, n2 are how many pairs (D2) were seen once, twice, or how many
//              tokens (D1) have one, two predecessors; 0.5 where n1 is 0.
//
// The split is read as one stream, document after document with end of text between; a model never sees more than the
// token before.

namespace filigree::data {

class KneserNeyBigram {
 public:
  // Counts the successive pairs of `train`, whose tokens are below `vocab`. 12 bytes a different pair, and more than 2
  // of slack.
  KneserNeyBigram(const TokenStream& train, int vocab);

  // p(next | previous) > 0 for all ids below vocab; sums to 1 over next.
  double Probability(uint16_t previous, uint16_t next) const;

  double discount_pairs() const { return d2_; }
  double discount_tokens() const { return d1_; }

 private:
  void CountPairs(const TokenStream& train);
  void FindDiscounts();

  int vocab_;
  absl::flat_hash_map<uint32_t, uint32_t> pairs_;   // previous << 16 | next -> count
  std::vector<int64_t> followed_;                   // c(v)
  std::vector<int64_t> successors_, predecessors_;  // N(v .), N(. w)
  double d1_ = 0, d2_ = 0;
  double kinds_ = 0;  // S
};

// Mean over all tokens of `validation` but the first. All 0 where it has fewer than two tokens.
Baselines MeasureBaselines(const TokenStream& train, const TokenStream& validation, int vocab,
                           double validation_bytes_per_token);

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_BASELINES_H_
