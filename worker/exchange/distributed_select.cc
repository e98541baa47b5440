#include "worker/exchange/distributed_select.h"

#include <algorithm>
#include <bit>
#include <utility>
#include <vector>

#include "worker/exchange/local_matrices.h"
#include "worker/exchange/rank_search.h"

namespace filigree::exchange {
namespace {

// Matrices that share a threshold, one after another as far as indices go.
struct Group {
  std::vector<size_t> matrices, tasks;
  std::vector<int64_t> offsets;  // of the matrices' indices
  int64_t indices = 0;           // of all
  int64_t rest = 0;              // entries that step 1 does not keep, on all ranks
  int64_t by_rank = 0;           // of these, what step 2 keeps

  // What step 2 found: magnitudes >= least are kept, and some of those equal to `tied`.
  int64_t least = kMagnitudes, tied = -1;
  float threshold = 0;

  bool searched() const { return 0 < by_rank && by_rank < rest; }
};

}  // namespace

struct DistributedSelect::Impl {
  Impl(comm::Communicator& ranks_, SelectScope scope_, kernels::ThreadPool& pool_)
      : ranks(ranks_), scope(scope_), pool(pool_), local(pool_) {}

  comm::Communicator& ranks;
  const SelectScope scope;
  kernels::ThreadPool& pool;
  LocalMatrices local;
  std::vector<Group> groups;
  std::vector<size_t> group_of;   // a matrix
  std::vector<KeyGuess> guesses;  // a group
  std::vector<int64_t> kept;

  void MakeGroups();
  void CountLooks(const std::vector<size_t>& searched, std::span<Look> looks);
  absl::Status FindThresholds();
  void TakeThreshold(size_t g, const RankAnswer& answer);
  std::vector<int64_t> TieKeys(const Group& group);
  void MarkTies(const Group& group, const std::vector<int64_t>& keys, int64_t least_key);
  absl::Status BreakTies(const std::vector<size_t>& tied, const std::vector<RankAnswer>& answers);
  absl::Status CountKept();
};

void DistributedSelect::Impl::MakeGroups() {
  const std::vector<LocalMatrix>& matrices = local.matrices();
  groups.assign(scope == SelectScope::kGlobal ? std::min<size_t>(1, matrices.size()) : matrices.size(), {});
  group_of.clear();
  for (size_t m = 0; m < matrices.size(); ++m) {
    group_of.push_back(scope == SelectScope::kGlobal ? 0 : m);
    Group& group = groups[group_of[m]];
    group.matrices.push_back(m);
    group.offsets.push_back(group.indices);
    group.indices += matrices[m].numel;
    group.rest += matrices[m].numel - matrices[m].by_units;
    group.by_rank += matrices[m].in->selection.k - matrices[m].by_units;
  }
  for (size_t task = 0; task < local.tasks().size(); ++task) {
    groups[group_of[local.tasks()[task].matrix]].tasks.push_back(task);
  }
  for (Group& group : groups) {
    if (group.by_rank > 0 && group.by_rank == group.rest) group.least = 0;  // everything
  }
}

// This rank's part of a round: all tasks of all groups that are still searched, and per worker all of their bins.
void DistributedSelect::Impl::CountLooks(const std::vector<size_t>& searched, std::span<Look> looks) {
  struct Job {
    size_t look, task, bin;
  };
  std::vector<Job> jobs;
  size_t bins = 0;
  for (size_t l = 0; l < looks.size(); ++l) {
    for (const size_t task : groups[searched[looks[l].group]].tasks) jobs.push_back({l, task, bins});
    bins += looks[l].inside.size();
  }
  const auto workers = static_cast<size_t>(pool.threads());
  std::vector<uint64_t> inside(workers * bins), above(workers * looks.size());
  pool.Run(std::ssize(jobs), [&](int64_t i, int worker) {
    const auto& [look, task, bin] = jobs[i];
    above[worker * looks.size() + look] += local.Count(task, looks[look], inside.data() + worker * bins + bin);
  });
  size_t bin = 0;
  for (size_t l = 0; l < looks.size(); ++l) {
    Look& look = looks[l];
    for (uint64_t& count : look.inside) {
      for (size_t worker = 0; worker < workers; ++worker) count += inside[worker * bins + bin];
      look.below -= count;
      ++bin;
    }
    for (size_t worker = 0; worker < workers; ++worker) look.above += above[worker * looks.size() + l];
    look.below -= look.above;
    for (const size_t m : groups[searched[look.group]].matrices) {
      look.below += static_cast<uint64_t>(local.matrices()[m].own_rest);
    }
  }
}

absl::Status DistributedSelect::Impl::FindThresholds() {
  if (guesses.size() != groups.size()) guesses.assign(groups.size(), {});
  std::vector<size_t> searched;
  std::vector<RankQuery> queries;
  for (size_t g = 0; g < groups.size(); ++g) {
    if (!groups[g].searched()) continue;
    searched.push_back(g);
    RankQuery query = {kMagnitudes, groups[g].rest, groups[g].by_rank};
    guesses[g].Ask(query);
    queries.push_back(query);
  }
  const auto answers = SearchRanks(ranks, queries, [&](std::span<Look> looks) { CountLooks(searched, looks); });
  if (!answers.ok()) return answers.status();
  std::vector<size_t> tied;
  std::vector<RankAnswer> tied_answers;
  for (size_t i = 0; i < searched.size(); ++i) {
    TakeThreshold(searched[i], (*answers)[i]);
    if (groups[searched[i]].tied < 0) continue;
    tied.push_back(searched[i]);
    tied_answers.push_back((*answers)[i]);
  }
  return BreakTies(tied, tied_answers);
}

void DistributedSelect::Impl::TakeThreshold(size_t g, const RankAnswer& answer) {
  Group& group = groups[g];
  group.threshold = std::bit_cast<float>(static_cast<int32_t>(answer.key));
  const bool all_fit = answer.above + answer.equal == group.by_rank;
  group.least = all_fit ? answer.key : answer.key + 1;
  if (!all_fit) group.tied = answer.key;
  guesses[g].Update(answer.key);
  pool.Run(std::ssize(group.tasks), [&](int64_t i, int) {
    const size_t task = group.tasks[i];
    if (group.least > local.tasks()[task].marked_from) local.Unmark(task);
  });
}

// Keys of this rank's ties: the lower the index, the larger.
std::vector<int64_t> DistributedSelect::Impl::TieKeys(const Group& group) {
  std::vector<std::vector<int64_t>> keys(group.tasks.size());
  pool.Run(std::ssize(group.tasks), [&](int64_t i, int) {
    keys[i] = local.Ties(group.tasks[i], group.tied);
    const size_t m = local.tasks()[group.tasks[i]].matrix;
    const int64_t offset = group.offsets[scope == SelectScope::kGlobal ? m : 0];
    for (int64_t& key : keys[i]) key = group.indices - 1 - (offset + key);
  });
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& some : keys) all.insert(all.end(), some.begin(), some.end());
  return all;
}

void DistributedSelect::Impl::MarkTies(const Group& group, const std::vector<int64_t>& keys, int64_t least_key) {
  for (const int64_t key : keys) {
    if (key < least_key) continue;
    const int64_t at = group.indices - 1 - key;
    const auto after = std::upper_bound(group.offsets.begin(), group.offsets.end(), at);
    const auto i = after - group.offsets.begin() - 1;
    kernels::Keep(at - group.offsets[i], local.matrices()[group.matrices[i]].in->kept);
  }
}

absl::Status DistributedSelect::Impl::BreakTies(const std::vector<size_t>& tied,
                                                const std::vector<RankAnswer>& answers) {
  std::vector<std::vector<int64_t>> keys;
  std::vector<RankQuery> queries;
  for (size_t i = 0; i < tied.size(); ++i) {
    const Group& group = groups[tied[i]];
    keys.push_back(TieKeys(group));
    queries.push_back({group.indices, answers[i].equal, group.by_rank - answers[i].above});
  }
  const auto found = SearchRanks(ranks, queries, [&](std::span<Look> looks) {
    for (Look& look : looks) CountKeysIn(keys[look.group], look);
  });
  if (!found.ok()) return found.status();
  for (size_t i = 0; i < tied.size(); ++i) MarkTies(groups[tied[i]], keys[i], (*found)[i].key);
  return absl::OkStatus();
}

// Of all ranks: k, unless matrices share a threshold.
absl::Status DistributedSelect::Impl::CountKept() {
  kept.clear();
  for (const LocalMatrix& matrix : local.matrices()) {
    int64_t count = 0;
    for (int64_t word = 0; word < (matrix.numel + 63) / 64; ++word) count += std::popcount(matrix.in->kept[word]);
    kept.push_back(scope == SelectScope::kGlobal ? count : matrix.in->selection.k);
  }
  if (scope == SelectScope::kMatrix || kept.empty()) return absl::OkStatus();
  return ranks.AllReduce(comm::ArrayOf(std::span(kept)), comm::ReduceOp::kSum);
}

DistributedSelect::DistributedSelect(comm::Communicator& ranks, SelectScope scope, kernels::ThreadPool& pool)
    : impl_(std::make_unique<Impl>(ranks, scope, pool)) {}
DistributedSelect::~DistributedSelect() = default;

absl::Status DistributedSelect::Select(std::span<const ShardedMatrix> matrices) {
  Impl& impl = *impl_;
  impl.local.Begin(matrices);
  impl.MakeGroups();
  if (absl::Status status = impl.FindThresholds(); !status.ok()) return status;
  impl.pool.Run(std::ssize(impl.local.tasks()), [&](int64_t task, int) {
    impl.local.Mark(task, impl.groups[impl.group_of[impl.local.tasks()[task].matrix]].least);
  });
  return impl.CountKept();
}

float DistributedSelect::threshold(size_t matrix) const { return impl_->groups[impl_->group_of[matrix]].threshold; }
int64_t DistributedSelect::kept(size_t matrix) const { return impl_->kept[matrix]; }
void DistributedSelect::Forget() { impl_->guesses.clear(); }

}  // namespace filigree::exchange
