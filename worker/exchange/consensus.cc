#include "worker/exchange/consensus.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"

namespace filigree::exchange {
namespace {

using kernels::Digest;

// What every rank sends every time.
struct Summary {
  int64_t epoch = 0;
  int32_t replica = 0;
  int16_t part = 0;
  int16_t contradicts_itself = 0;  // what it found is not what it left
  Digest found, part_found;
};
static_assert(sizeof(Summary) == kConsensusBytes);

bool ContradictsItself(const Claim& claim) {
  const bool knows = !claim.left.empty() || !claim.part_left.empty() || !claim.own_left.empty();
  return knows &&
         (claim.left != claim.found || claim.part_left != claim.part_found || claim.own_left != claim.own_found);
}

Summary SummaryOf(const Claim& claim) {
  Summary summary;
  summary.epoch = claim.epoch;
  summary.replica = claim.replica;
  summary.part = static_cast<int16_t>(claim.part);
  summary.contradicts_itself = ContradictsItself(claim) ? 1 : 0;
  summary.found = Together(claim.found);
  summary.part_found = Together(claim.part_found);
  return summary;
}

// "weights of wte, mask of lm_head and 3 more": in what two lists of the same tensors differ.
class Differences {
 public:
  void Add(std::span<const TensorDigests> a, std::span<const TensorDigests> b) {
    if (a.size() != b.size()) return Add(fmt::format("the number of tensors, {} and {}", a.size(), b.size()));
    for (size_t t = 0; t < a.size(); ++t) AddTensor(a[t].name, a[t].of, b[t].of);
  }
  void AddTensor(const std::string& name, const Digest* a, const Digest* b) {
    for (int c = 0; c < kComponents; ++c) {
      if (a[c] != b[c]) Add(fmt::format("{} of {}", Name(static_cast<Component>(c)), name));
    }
  }
  std::string text() const {
    std::string all = fmt::format("{}", fmt::join(first_, ", "));
    if (count_ > first_.size()) all += fmt::format(" and {} more", count_ - first_.size());
    return all;
  }

 private:
  void Add(std::string what) {
    constexpr size_t kMost = 4;
    if (++count_ <= kMost) first_.push_back(std::move(what));
  }
  std::vector<std::string> first_;
  size_t count_ = 0;
};

// Ranks by what they say, the most numerous first; of equals the one with the lowest rank.
template <typename Key>
std::vector<std::vector<int>> Parties(const std::vector<int>& ranks, Key key) {
  std::vector<std::vector<int>> parties;
  for (const int rank : ranks) {
    const auto same = std::find_if(parties.begin(), parties.end(),
                                   [&](const std::vector<int>& party) { return key(party.front()) == key(rank); });
    if (same == parties.end()) {
      parties.push_back({rank});
    } else {
      same->push_back(rank);
    }
  }
  std::stable_sort(parties.begin(), parties.end(),
                   [](const std::vector<int>& a, const std::vector<int>& b) { return a.size() > b.size(); });
  return parties;
}

// Those outside the party that more than half are in; all where there is none.
void NameDiffering(const std::vector<std::vector<int>>& parties, std::vector<int>& named) {
  size_t all = 0;
  for (const std::vector<int>& party : parties) all += party.size();
  const bool majority = 2 * parties.front().size() > all;
  for (size_t p = majority ? 1 : 0; p < parties.size(); ++p) {
    named.insert(named.end(), parties[p].begin(), parties[p].end());
  }
}

// Whom the summaries name, and the ranks to compare tensor by tensor: pairs of one that differs and one of the first
// party.
struct Finding {
  std::vector<int> named, contradicting;
  std::vector<std::pair<int, int>> differing;
  std::vector<std::string> texts;
};

// Ranks that hold the same, by what they say of it.
template <typename Key>
void CompareReplicas(const std::map<int, std::vector<int>>& replicas, Key key, Finding& finding) {
  for (const auto& [replica, ranks] : replicas) {
    const auto parties = Parties(ranks, key);
    if (parties.size() < 2) continue;
    NameDiffering(parties, finding.named);
    std::vector<std::string> names;
    names.reserve(parties.size());
    for (const std::vector<int>& party : parties) names.push_back(fmt::format("{}", fmt::join(party, ", ")));
    finding.texts.push_back(
        fmt::format("ranks {} hold the same part of the model and do not agree", fmt::join(names, " | ")));
    for (size_t p = 1; p < parties.size(); ++p) {
      const std::pair<int, int> pair = {parties[0].front(), parties[p].front()};
      const bool listed =
          std::find(finding.differing.begin(), finding.differing.end(), pair) != finding.differing.end();
      if (!listed) finding.differing.push_back(pair);
    }
  }
}

void FindDiffering(const std::vector<Summary>& all, Finding& finding) {
  std::vector<int> everyone;
  std::map<int, std::vector<int>> replicas, parts;
  for (int r = 0; r < std::ssize(all); ++r) {
    everyone.push_back(r);
    replicas[all[r].replica].push_back(r);
    parts[all[r].part].push_back(r);
  }
  const auto epochs = Parties(everyone, [&](int r) { return all[r].epoch; });
  if (epochs.size() > 1) {
    NameDiffering(epochs, finding.named);
    for (const std::vector<int>& party : epochs) {
      finding.texts.push_back(
          fmt::format("after {} mask updates: ranks {}", all[party.front()].epoch, fmt::join(party, ", ")));
    }
    return;
  }
  CompareReplicas(
      replicas, [&](int r) { return all[r].found; }, finding);
  CompareReplicas(
      parts, [&](int r) { return all[r].part_found; }, finding);
}

Finding Find(const std::vector<Summary>& all) {
  Finding finding;
  for (int r = 0; r < std::ssize(all); ++r) {
    if (all[r].contradicts_itself != 0) finding.contradicting.push_back(r);
  }
  finding.named = finding.contradicting;
  if (finding.named.empty()) FindDiffering(all, finding);
  std::sort(finding.named.begin(), finding.named.end());
  finding.named.erase(std::unique(finding.named.begin(), finding.named.end()), finding.named.end());
  return finding;
}

void Append(std::span<const TensorDigests> list, std::string& to) {
  to += fmt::format("{}", list.size());
  to.push_back('\0');
  for (const TensorDigests& tensor : list) {
    to += tensor.name;
    to.push_back('\0');
    to.append(reinterpret_cast<const char*>(tensor.of), sizeof(tensor.of));
  }
}

// What a rank says where something is wrong: in words where it contradicts itself, and what it found.
std::string Evidence(const Claim& claim) {
  Differences own;
  if (ContradictsItself(claim)) {
    own.Add(claim.left, claim.found);
    own.Add(claim.part_left, claim.part_found);
    own.Add(claim.own_left, claim.own_found);
  }
  std::string evidence = own.text();
  evidence.push_back('\0');
  Append(claim.found, evidence);
  Append(claim.part_found, evidence);
  return evidence;
}

// Takes what ends with a zero from the front; all there is where none does.
std::string TakeWord(std::string_view& from) {
  const size_t end = std::min(from.find('\0'), from.size());
  std::string word(from.substr(0, end));
  from.remove_prefix(std::min(end + 1, from.size()));
  return word;
}

// A list as Append writes it, as far as the bytes hold together.
std::vector<TensorDigests> TakeList(std::string_view& from) {
  std::vector<TensorDigests> list;
  int64_t count = 0;
  if (!absl::SimpleAtoi(TakeWord(from), &count)) return list;
  for (int64_t i = 0; i < count; ++i) {
    TensorDigests& tensor = list.emplace_back();
    tensor.name = TakeWord(from);
    if (from.size() < sizeof(tensor.of)) {
      list.pop_back();
      break;
    }
    std::memcpy(tensor.of, from.data(), sizeof(tensor.of));
    from.remove_prefix(sizeof(tensor.of));
  }
  return list;
}

// In what two ranks differ: of what a part holds only where both hold the same part.
std::string DifferencesOf(std::string_view a, std::string_view b, bool same_part) {
  Differences differences;
  TakeWord(a);
  TakeWord(b);
  differences.Add(TakeList(a), TakeList(b));
  if (same_part) differences.Add(TakeList(a), TakeList(b));
  return differences.text();
}

}  // namespace

absl::StatusOr<Verdict> Compare(comm::Communicator& ranks, const Claim& claim) {
  const Summary mine = SummaryOf(claim);
  std::vector<Summary> all(static_cast<size_t>(ranks.size()));
  const std::vector<int64_t> counts(all.size(), sizeof(Summary));
  const comm::ConstArray in = {&mine, sizeof(Summary)};
  const comm::Array out = {all.data(), static_cast<int64_t>(all.size() * sizeof(Summary))};
  if (absl::Status status = ranks.AllGather(in, counts, out); !status.ok()) return status;
  Finding finding = Find(all);
  Verdict verdict;
  if (finding.named.empty()) return verdict;
  const auto evidence = ranks.AllGatherStrings(Evidence(claim));
  if (!evidence.ok()) return evidence.status();
  for (const int r : finding.contradicting) {
    finding.texts.push_back(
        fmt::format("rank {} on {} contradicts its own digest, it has changed without an update: {}", r, ranks.host(r),
                    (*evidence)[r].c_str()));
  }
  for (const auto& [a, b] : finding.differing) {
    const std::string differences = DifferencesOf((*evidence)[a], (*evidence)[b], all[a].part == all[b].part);
    finding.texts.push_back(fmt::format("ranks {} and {} differ in {}", a, b, differences));
  }
  verdict.ranks = finding.named;
  int64_t epoch = 0;
  for (const Summary& summary : all) epoch = std::max(epoch, summary.epoch);
  verdict.text =
      fmt::format("the state of rank{} {} is in doubt after mask update {}: {}", verdict.ranks.size() > 1 ? "s" : "",
                  fmt::join(verdict.ranks, ", "), epoch, fmt::join(finding.texts, "; "));
  return verdict;
}

absl::Status Consensus(comm::Communicator& ranks, const Claim& claim) {
  const absl::StatusOr<Verdict> verdict = Compare(ranks, claim);
  if (!verdict.ok()) return verdict.status();
  if (verdict->ranks.empty()) return absl::OkStatus();
  return absl::DataLossError(verdict->text + "; go back to the last checkpoint");
}

}  // namespace filigree::exchange
