#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "worker/data/bpe_trainer.h"
#include "worker/data/byte_alphabet.h"

namespace filigree::data::ref {
namespace {

using Ids = std::vector<uint16_t>;

Ids Replace(const Ids& ids, Merge pair, uint16_t id) {
  Ids out;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i + 1 < ids.size() && ids[i] == pair.first && ids[i + 1] == pair.second) {
      out.push_back(id);
      ++i;
    } else {
      out.push_back(ids[i]);
    }
  }
  return out;
}

}  // namespace

std::vector<Merge> TrainBpe(const WordCounts& words, int merges) {
  std::vector<Ids> split(words.size());
  for (uint32_t w = 0; w < words.size(); ++w) {
    for (const char c : words.word(w)) split[w].push_back(IdsOfBytes()[static_cast<uint8_t>(c)]);
  }
  std::vector<std::string> tokens;
  for (const uint8_t byte : BytesInIdOrder()) tokens.emplace_back(1, static_cast<char>(byte));

  std::vector<Merge> result;
  while (static_cast<int>(result.size()) < merges) {
    std::map<Merge, int64_t> counts;
    for (uint32_t w = 0; w < words.size(); ++w) {
      for (size_t i = 0; i + 1 < split[w].size(); ++i) counts[{split[w][i], split[w][i + 1]}] += words.count(w);
    }
    const std::set<std::string> known(tokens.begin(), tokens.end());
    std::erase_if(counts, [&](const auto& entry) {
      const std::string bytes = tokens[entry.first.first] + tokens[entry.first.second];
      return known.contains(bytes) || bytes.size() > kMaxTokenBytes;
    });
    // The map ascends by pair and max_element takes the first of equals: the smallest pair.
    const auto best =
        std::max_element(counts.begin(), counts.end(), [](auto& a, auto& b) { return a.second < b.second; });
    if (best == counts.end()) break;
    const Merge pair = best->first;
    for (Ids& ids : split) ids = Replace(ids, pair, static_cast<uint16_t>(tokens.size()));
    tokens.push_back(tokens[pair.first] + tokens[pair.second]);
    result.push_back(pair);
  }
  return result;
}

}  // namespace filigree::data::ref
