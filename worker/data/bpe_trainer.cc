#include "worker/data/bpe_trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <queue>
#include <string>
#include <unordered_set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "worker/data/byte_alphabet.h"

namespace filigree::data {
namespace {

constexpr uint16_t kGone = 0xFFFF;      // the symbol was merged into the one before it
constexpr uint32_t kNone = UINT32_MAX;  // no neighbour: the word ends here

struct PairState {
  int64_t count = 0;
  // Left symbols of places where the pair was seen. Some may have changed since; every place it is at is here.
  std::vector<uint32_t> places;
};

// A pair waiting for its turn: the highest count first, then the smallest pair.
struct Candidate {
  int64_t count;
  uint32_t pair;
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

constexpr uint32_t KeyOf(uint16_t left, uint16_t right) { return uint32_t{left} << 16 | right; }

class Trainer {
 public:
  explicit Trainer(const WordCounts& words) {
    for (const uint8_t byte : BytesInIdOrder()) tokens_.emplace_back(1, static_cast<char>(byte));
    known_.insert(tokens_.begin(), tokens_.end());
    ids_.reserve(words.bytes());
    for (uint32_t w = 0; w < words.size(); ++w) AddWord(words.word(w), words.count(w));
    for (const auto& [pair, state] : pairs_) heap_.push({state.count, pair});
  }

  std::vector<Merge> Run(int merges, const MergeProgress& progress) {
    std::vector<Merge> result;
    while (static_cast<int>(result.size()) < merges && !heap_.empty()) {
      const Candidate top = heap_.top();
      heap_.pop();
      // Once made, a pair only gets rarer (later merges make pairs with later ids), so a count that was too high
      // when it surfaced goes back with the right one, and the first that is right is the highest.
      PairState& state = pairs_[top.pair];
      if (state.count != top.count) {
        if (state.count > 0) heap_.push({state.count, top.pair});
        continue;
      }
      const Merge pair{static_cast<uint16_t>(top.pair >> 16), static_cast<uint16_t>(top.pair)};
      std::string bytes = tokens_[pair.first] + tokens_[pair.second];
      if (bytes.size() > kMaxTokenBytes || !known_.insert(bytes).second) continue;
      tokens_.push_back(std::move(bytes));
      result.push_back(pair);
      MergeEverywhere(top.pair, static_cast<uint16_t>(tokens_.size() - 1));
      if (progress) progress(static_cast<int64_t>(result.size()));
    }
    return result;
  }

 private:
  void AddWord(std::string_view word, int64_t count) {
    const auto first = static_cast<uint32_t>(ids_.size());
    const auto last = static_cast<uint32_t>(first + word.size() - 1);
    counts_.push_back(count);
    for (uint32_t i = first; i <= last && !word.empty(); ++i) {
      ids_.push_back(IdsOfBytes()[static_cast<uint8_t>(word[i - first])]);
      previous_.push_back(i == first ? kNone : i - 1);
      next_.push_back(i == last ? kNone : i + 1);
      word_.push_back(static_cast<uint32_t>(counts_.size() - 1));
      if (i > first) Appear(i - 1, pairs_[KeyOf(ids_[i - 1], ids_[i])]);
    }
  }

  void Appear(uint32_t left, PairState& state) {
    state.count += counts_[word_[left]];
    state.places.push_back(left);
  }

  // One replacement in x a b y: (x, a) and (b, y) vanish, (x, n) and (n, y) appear.
  void MergeAt(uint32_t left, uint16_t id) {
    const uint32_t right = next_[left], before = previous_[left], after = next_[right];
    const int64_t count = counts_[word_[left]];
    if (before != kNone) pairs_[KeyOf(ids_[before], ids_[left])].count -= count;
    if (after != kNone) pairs_[KeyOf(ids_[right], ids_[after])].count -= count;
    pairs_[KeyOf(ids_[left], ids_[right])].count -= count;
    ids_[left] = id;
    ids_[right] = kGone;
    next_[left] = after;
    if (after != kNone) previous_[after] = left;
    if (before != kNone) AppearNew(before, KeyOf(ids_[before], id));
    if (after != kNone) AppearNew(left, KeyOf(id, ids_[after]));
  }

  void AppearNew(uint32_t left, uint32_t pair) {
    const auto [entry, is_new] = pairs_.try_emplace(pair);
    if (is_new) new_pairs_.push_back(pair);
    Appear(left, entry->second);
  }

  void MergeEverywhere(uint32_t pair, uint16_t id) {
    const auto a = static_cast<uint16_t>(pair >> 16), b = static_cast<uint16_t>(pair);
    std::vector<uint32_t> places = std::move(pairs_[pair].places);
    std::sort(places.begin(), places.end());  // from left to right: it decides which of "aaa" becomes one
    new_pairs_.clear();
    for (const uint32_t left : places) {
      if (ids_[left] == a && next_[left] != kNone && ids_[next_[left]] == b) MergeAt(left, id);
    }
    for (const uint32_t made : new_pairs_) {
      // What this merge made and its next place took apart again is at no place.
      if (const int64_t count = pairs_[made].count; count > 0) heap_.push({count, made});
    }
  }

  std::vector<std::string> tokens_;
  std::unordered_set<std::string> known_;
  // Symbols of all words, one behind the other; a merge keeps the left symbol and unlinks the right one.
  std::vector<uint16_t> ids_;
  std::vector<uint32_t> previous_, next_, word_;
  std::vector<int64_t> counts_;  // of words
  absl::flat_hash_map<uint32_t, PairState> pairs_;
  std::vector<uint32_t> new_pairs_;
  std::priority_queue<Candidate> heap_;
};

}  // namespace

absl::StatusOr<std::vector<Merge>> TrainBpe(const WordCounts& words, int merges, const MergeProgress& progress) {
  if (words.bytes() >= kNone) {
    return absl::ResourceExhaustedError(
        fmt::format("the different words of the text have {} bytes together, training can take {}: give it less text",
                    words.bytes(), kNone));
  }
  return Trainer(words).Run(merges, progress);
}

}  // namespace filigree::data
