#include "coordinator/core/mask_agreement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace filigree::coordinator {

std::string DifferenceOf(const Digests& there, const Digests& here) {
  for (size_t i = 0; i < std::max(there.size(), here.size()); ++i) {
    if (i >= there.size()) return here[i].first + " was not there";
    if (i >= here.size()) return there[i].first + " is missing";
    if (there[i].first != here[i].first) return fmt::format("{} stands where {} was", here[i].first, there[i].first);
    if (there[i].second != here[i].second)
      return fmt::format("{} was {} and is {}", here[i].first, there[i].second, here[i].second);
  }
  return "";
}

std::string MaskAgreement::Contradiction(const RankSaid& said, int64_t epoch, const Digests& before,
                                         const Digests& after) const {
  if (epoch == said.epoch) {
    if (const std::string difference = DifferenceOf(said.after, after); !difference.empty())
      return fmt::format("contradicts its own digest of update {}: {}", epoch, difference);
    if (before.empty() || said.previous.empty()) return "";
    const std::string difference = DifferenceOf(said.previous, before);
    return difference.empty() ? "" : fmt::format("contradicts its own digest of update {}: {}", epoch - 1, difference);
  }
  if (epoch != said.epoch + 1 || before.empty()) return "";
  const std::string difference = DifferenceOf(said.after, before);
  return difference.empty() ? "" : fmt::format("contradicts its own digest of update {}: {}", said.epoch, difference);
}

MaskAgreement::Verdict MaskAgreement::Compare(int32_t tensor_index, int64_t epoch) const {
  std::map<Digests, std::vector<int32_t>> by_digests;
  for (int32_t d = 0; d < data_; ++d) {
    const int32_t rank = d * tensor_ + tensor_index;
    const auto said = said_.find(rank);
    if (said == said_.end() || said->second.epoch < epoch) return {};
    if (said->second.epoch == epoch) by_digests[said->second.after].push_back(rank);
  }
  Verdict verdict;
  verdict.kind = Verdict::kAgreed;
  if (by_digests.size() < 2) return verdict;
  verdict.kind = Verdict::kDiffer;
  const auto larger = [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); };
  const auto most = std::max_element(by_digests.begin(), by_digests.end(), larger);
  const bool majority = most->second.size() * 2 > static_cast<size_t>(data_);
  for (auto it = by_digests.begin(); it != by_digests.end(); ++it)
    if (!majority || it != most) verdict.ranks.insert(verdict.ranks.end(), it->second.begin(), it->second.end());
  std::sort(verdict.ranks.begin(), verdict.ranks.end());
  const auto other =
      std::find_if(by_digests.begin(), by_digests.end(), [&](const auto& item) { return &item != &*most; });
  verdict.text = fmt::format("differ{} after update {}: {}", majority ? " from the majority" : "", epoch,
                             DifferenceOf(most->first, other->first));
  return verdict;
}

bool MaskAgreement::AllAt(int64_t epoch) const {
  if (said_.size() < static_cast<size_t>(data_) * tensor_) return false;
  return std::all_of(said_.begin(), said_.end(), [&](const auto& item) { return item.second.epoch >= epoch; });
}

MaskAgreement::Verdict MaskAgreement::Report(int32_t rank, int64_t epoch, const Digests& before, const Digests& after) {
  RankSaid& said = said_[rank];
  Verdict verdict;
  if (epoch < said.epoch) {  // an old message; the rank itself is further
    verdict.kind = Verdict::kAgreed;
    return verdict;
  }
  if (said.epoch >= 0)
    if (const std::string text = Contradiction(said, epoch, before, after); !text.empty()) {
      verdict.kind = Verdict::kDiffer;
      verdict.ranks = {rank};
      verdict.text = text;
      return verdict;
    }
  if (epoch > said.epoch) {
    said.previous = said.epoch == epoch - 1 ? said.after : Digests{};
    said.epoch = epoch;
    said.after = after;
  }
  verdict = Compare(rank % tensor_, epoch);
  if (verdict.kind != Verdict::kAgreed) return verdict;
  if (!AllAt(epoch)) verdict.kind = Verdict::kPending;
  if (verdict.kind == Verdict::kAgreed && epoch > agreed_) {
    agreed_ = epoch;
    verdict.first = true;
  }
  return verdict;
}

}  // namespace filigree::coordinator
