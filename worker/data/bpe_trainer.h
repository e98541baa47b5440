#ifndef FILIGREE_WORKER_DATA_BPE_TRAINER_H_
#define FILIGREE_WORKER_DATA_BPE_TRAINER_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/data/tokenizer.h"
#include "worker/data/word_counts.h"

// Byte-level BPE training. Every word starts as the ids of its bytes. Then, merge after merge: the count of a pair (a,
// b) is the number of places where b follows a inside a word, overlapping ones included, times the count of the word;
// the pair of the highest count, among equals the smallest (a, b), is replaced by a new id from left to right in all
// words.
//
// A pair whose bytes are a token already is never merged: one string has one id. (With exact counts it does not happen:
// an inner piece of a word is merged as it would be alone, so equal bytes between borders are in equal pieces.) Neither
// is a pair of more than kMaxTokenBytes.
//
// The result depends on words and counts alone, not on their order.

namespace filigree::data {

// Called after every merge with how many there are; may be empty.
using MergeProgress = std::function<void(int64_t merges)>;

// The `merges` first merges in rank order; fewer only where no pair is left.
//
// ResourceExhausted where the different words have 4 GiB or more together. Memory: 22 bytes a byte of different words,
// and the pairs. Time: every merge touches the places it changes and no others.
absl::StatusOr<std::vector<Merge>> TrainBpe(const WordCounts& words, int merges, const MergeProgress& progress);

namespace ref {

// The definition, counting everything anew for every merge.
std::vector<Merge> TrainBpe(const WordCounts& words, int merges);

}  // namespace ref

}  // namespace filigree::data

#endif  // FILIGREE_WORKER_DATA_BPE_TRAINER_H_
