#include <gtest/gtest.h>

#include "tests/worker/comm/group.h"
#include "tests/worker/comm/numbers.h"

// Operations under way while the caller goes on, and groups of some of the ranks.

namespace filigree::comm {
namespace {

class Async : public testing::TestWithParam<GroupCase> {};
class Split : public testing::TestWithParam<GroupCase> {};
const auto kName = [](const auto& info) { return std::string(info.param.backend) + std::to_string(info.param.size); };
INSTANTIATE_TEST_SUITE_P(Groups, Async, testing::ValuesIn(AllGroups()), kName);
INSTANTIATE_TEST_SUITE_P(Groups, Split, testing::ValuesIn(AllGroups()), kName);

std::vector<float> Summed(int size, int64_t count) {
  std::vector<float> sums(static_cast<size_t>(count), 0.0F);
  for (int r = 0; r < size; ++r) {
    for (int64_t i = 0; i < count; ++i) sums[i] += Known<float>(r, i);
  }
  return sums;
}

TEST_P(Async, SeveralAreUnderWay) {
  RunGroup(GetParam(), [](Member& member) {
    std::vector<std::vector<float>> arrays;
    arrays.reserve(12);
    for (int n = 0; n < 12; ++n) arrays.push_back(KnownVector<float>(member.rank, 1 + n * 9001));
    std::vector<Pending> pending;
    pending.reserve(arrays.size());
    for (auto& array : arrays)
      pending.push_back(member.comm->AllReduceAsync(ArrayOf(std::span(array)), ReduceOp::kSum));
    for (size_t n = pending.size(); n-- > 0;) {
      ASSERT_EQ(pending[n].Wait(), absl::OkStatus());
      EXPECT_TRUE(pending[n].Done());
      EXPECT_EQ(pending[n].Wait(), absl::OkStatus());
      EXPECT_EQ(arrays[n], Summed(member.size, static_cast<int64_t>(arrays[n].size())));
    }
  });
}

TEST_P(Async, EveryKindHasOne) {
  RunGroup(GetParam(), [](Member& member) {
    const int64_t n = 2000;
    const std::vector<int64_t> counts(static_cast<size_t>(member.size), n);
    const std::vector<float> in = KnownVector<float>(member.rank, n * member.size);
    std::vector<float> scattered(n), gathered(in.size()), turned(in.size());
    std::vector<float> sent = KnownVector<float>(member.rank, n);
    const ConstArray all = ArrayOf(std::span(in));
    Pending scatter = member.comm->ReduceScatterAsync(all, counts, ArrayOf(std::span(scattered)), ReduceOp::kMax);
    Pending gather =
        member.comm->AllGatherAsync({in.data(), n, ElementType::kFloat32}, counts, ArrayOf(std::span(gathered)));
    Pending turn = member.comm->AllToAllAsync(all, counts, ArrayOf(std::span(turned)), counts);
    Pending send = member.comm->BroadcastAsync(ArrayOf(std::span(sent)), member.size - 1);
    ASSERT_EQ(member.comm->BarrierAsync().Wait(), absl::OkStatus());
    // Operations run in order: what came before the barrier is over.
    for (Pending* pending : {&scatter, &gather, &turn, &send}) {
      EXPECT_TRUE(pending->Done());
      EXPECT_EQ(pending->Wait(), absl::OkStatus());
    }
    EXPECT_EQ(sent, KnownVector<float>(member.size - 1, n));
    for (int64_t i = 0; i < n; ++i) {
      float most = 0.0F;
      for (int r = 0; r < member.size; ++r) {
        most = std::max(most, Known<float>(r, member.rank * n + i));
        ASSERT_EQ(gathered[r * n + i], Known<float>(r, i));
        ASSERT_EQ(turned[r * n + i], Known<float>(r, member.rank * n + i));
      }
      ASSERT_EQ(scattered[i], most);
    }
  });
}

TEST_P(Async, OneThatNobodyWaitsForRunsToItsEnd) {
  std::vector<std::vector<float>> arrays(static_cast<size_t>(GetParam().size));
  RunGroup(GetParam(), [&](Member& member) {
    std::vector<float>& array = arrays[member.rank];
    array = KnownVector<float>(member.rank, 500'000);
    (void)member.comm->AllReduceAsync(ArrayOf(std::span(array)), ReduceOp::kSum);
    member.comm.reset();
    EXPECT_EQ(array, Summed(member.size, 500'000));
  });
}

TEST_P(Async, BlockingOnesQueueBehindThem) {
  RunGroup(GetParam(), [](Member& member) {
    for (int round = 0; round < 50; ++round) {
      std::vector<float> first = KnownVector<float>(member.rank, 3000);
      Pending pending = member.comm->AllReduceAsync(ArrayOf(std::span(first)), ReduceOp::kSum);
      ASSERT_EQ(member.comm->AllReduce(ArrayOf(std::span(first)), ReduceOp::kMax), absl::OkStatus());
      EXPECT_TRUE(pending.Done());
      EXPECT_EQ(first, Summed(member.size, 3000));
    }
  });
}

TEST_P(Async, GroupsRunSideBySide) {
  RunGroup(GetParam(), [](Member& member) {
    for (int round = 0; round < 10; ++round) {
      std::vector<float> one = KnownVector<float>(member.rank, 100'000);
      std::vector<float> other = KnownVector<float>(member.rank, 100'000);
      Pending a = member.comm->AllReduceAsync(ArrayOf(std::span(one)), ReduceOp::kSum);
      Pending b = member.control->AllReduceAsync(ArrayOf(std::span(other)), ReduceOp::kSum);
      ASSERT_EQ(b.Wait(), absl::OkStatus());
      ASSERT_EQ(a.Wait(), absl::OkStatus());
      ASSERT_EQ(one, other);
    }
  });
}

TEST(PendingTest, NoneIsOver) {
  Pending none;
  EXPECT_TRUE(none.Done());
  EXPECT_EQ(none.Wait(), absl::OkStatus());
}

TEST_P(Split, ByColorInTheOrderOfKeys) {
  RunGroup(GetParam(), [](Member& member) {
    // Even ranks and odd ranks, backwards.
    auto part = member.comm->Split(member.rank % 2, -member.rank);
    ASSERT_EQ(part.status(), absl::OkStatus());
    std::vector<int64_t> ranks;
    for (int r = member.size - 1; r >= 0; --r) {
      if (r % 2 == member.rank % 2) ranks.push_back(r);
    }
    Communicator& group = **part;
    ASSERT_EQ(group.size(), static_cast<int>(ranks.size()));
    ASSERT_EQ(ranks[group.rank()], member.rank);
    EXPECT_EQ(group.backend(), GetParam().backend);
    const int64_t mine = member.rank;
    std::vector<int64_t> all(ranks.size());
    const std::vector<int64_t> counts(ranks.size(), 1);
    ASSERT_EQ(group.AllGather({&mine, 1, ElementType::kInt64}, counts, ArrayOf(std::span(all))), absl::OkStatus());
    EXPECT_EQ(all, ranks);
    EXPECT_EQ(member.comm->Barrier(), absl::OkStatus());
  });
}

TEST_P(Split, PartsOfPartsAndTheirParentsInTurn) {
  RunGroup(GetParam(), [](Member& member) {
    auto same = member.comm->Split(7, 0);
    ASSERT_EQ(same.status(), absl::OkStatus());
    auto alone = (*same)->Split(member.rank, 0);
    ASSERT_EQ(alone.status(), absl::OkStatus());
    ASSERT_EQ((*alone)->size(), 1);
    auto again = member.comm->Split(7, 0);
    ASSERT_EQ(again.status(), absl::OkStatus());
    for (Communicator* group : {same->get(), again->get(), member.comm.get()}) {
      std::vector<float> values = KnownVector<float>(member.rank, 20'000);
      std::vector<float> own = values;
      ASSERT_EQ((*alone)->AllReduce(ArrayOf(std::span(own)), ReduceOp::kSum), absl::OkStatus());
      EXPECT_EQ(own, values);
      ASSERT_EQ(group->AllReduce(ArrayOf(std::span(values)), ReduceOp::kSum), absl::OkStatus());
      EXPECT_EQ(values, Summed(member.size, 20'000));
    }
  });
}

}  // namespace
}  // namespace filigree::comm
