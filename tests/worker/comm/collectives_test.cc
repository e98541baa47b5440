#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "tests/worker/comm/group.h"
#include "tests/worker/comm/numbers.h"

// Every collective on every backend and group size, with inputs whose exact result is known.

namespace filigree::comm {
namespace {

// Below, at and above what travels with the call; above a segment of a reduction.
// Of 3074 eight bytes each, three ranks' even runs are on either side of the size up to which a message goes with its
// header.
const int64_t kCounts[] = {0, 1, 3, 7, 1000, 1024, 2048, 2049, 3074, 70'001, 1'300'001};

class Collectives : public testing::TestWithParam<GroupCase> {};
INSTANTIATE_TEST_SUITE_P(Groups, Collectives, testing::ValuesIn(AllGroups()), [](const auto& info) {
  return std::string(info.param.backend) + std::to_string(info.param.size);
});

template <typename T>
T Reduced(ReduceOp op, int size, int64_t i) {
  T result = Known<T>(0, i);
  for (int r = 1; r < size; ++r) {
    const T next = Known<T>(r, i);
    if (op == ReduceOp::kSum) result = static_cast<T>(result + next);
    if (op == ReduceOp::kMin) result = std::min(result, next);
    if (op == ReduceOp::kMax) result = std::max(result, next);
  }
  return result;
}

template <typename T>
void CheckAllReduce(Member& member, ReduceOp op, int64_t count) {
  std::vector<T> values = KnownVector<T>(member.rank, count);
  ASSERT_EQ(member.comm->AllReduce(ArrayOf(std::span(values)), op), absl::OkStatus());
  for (int64_t i = 0; i < count; ++i) ASSERT_EQ(values[i], Reduced<T>(op, member.size, i)) << i << " of " << count;
}

TEST_P(Collectives, AllReduceOfEveryTypeAndOperation) {
  RunGroup(GetParam(), [](Member& member) {
    for (ReduceOp op : {ReduceOp::kSum, ReduceOp::kMin, ReduceOp::kMax}) {
      for (int64_t count : {0, 1, 5, 1025, 9000}) {
        CheckAllReduce<float>(member, op, count);
        CheckAllReduce<double>(member, op, count);
        CheckAllReduce<int32_t>(member, op, count);
        CheckAllReduce<int64_t>(member, op, count);
        CheckAllReduce<uint32_t>(member, op, count);
        CheckAllReduce<uint64_t>(member, op, count);
      }
    }
  });
}

TEST_P(Collectives, AllReduceOfEverySize) {
  RunGroup(GetParam(), [](Member& member) {
    for (int64_t count : kCounts) CheckAllReduce<float>(member, ReduceOp::kSum, count);
  });
}

TEST_P(Collectives, SumsRunAlongTheFixedTree) {
  const int size = GetParam().size;
  for (int64_t count : {37, 1'300'001}) {
    std::vector<std::vector<float>> all;
    all.reserve(size);
    for (int r = 0; r < size; ++r) all.push_back(Rough(r, count));
    std::vector<float> expected(static_cast<size_t>(count));
    int64_t differ = 0;  // where adding one after another gives other bits
    for (int64_t i = 0; i < count; ++i) {
      std::vector<float> terms;
      terms.reserve(size);
      for (int r = 0; r < size; ++r) terms.push_back(all[r][i]);
      expected[i] = TreeSum(terms);
      differ += expected[i] != std::accumulate(terms.begin(), terms.end(), 0.0F) ? 1 : 0;
    }
    if (size == 4) {
      EXPECT_GT(differ, 0);
    }
    RunGroup(GetParam(), [&](Member& member) {
      std::vector<float> values = all[member.rank];
      ASSERT_EQ(member.comm->AllReduce(ArrayOf(std::span(values)), ReduceOp::kSum), absl::OkStatus());
      EXPECT_EQ(std::memcmp(values.data(), expected.data(), values.size() * sizeof(float)), 0);
      const std::vector<int64_t> counts = [&] {
        std::vector<int64_t> even(static_cast<size_t>(size), count / size);
        even.back() += count % size;
        return even;
      }();
      std::vector<float> mine(static_cast<size_t>(counts[member.rank]));
      ASSERT_EQ(member.comm->ReduceScatter(ArrayOf(std::span<const float>(all[member.rank])), counts,
                                           ArrayOf(std::span(mine)), ReduceOp::kSum),
                absl::OkStatus());
      EXPECT_EQ(std::memcmp(mine.data(), expected.data() + member.rank * (count / size), mine.size() * sizeof(float)),
                0);
    });
  }
}

// Uneven: rank r has `base` times r + 1, and rank 1 has none.
std::vector<int64_t> Uneven(int size, int64_t base) {
  std::vector<int64_t> counts;
  counts.reserve(size);
  for (int r = 0; r < size; ++r) counts.push_back(r == 1 ? 0 : base * (r + 1));
  return counts;
}

TEST_P(Collectives, ReduceScatterOfUnevenCounts) {
  RunGroup(GetParam(), [](Member& member) {
    for (int64_t base : {0, 1, 129, 5001, 400'000}) {
      const std::vector<int64_t> counts = Uneven(member.size, base);
      const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
      const int64_t start = std::accumulate(counts.begin(), counts.begin() + member.rank, int64_t{0});
      const std::vector<double> in = KnownVector<double>(member.rank, total);
      std::vector<double> out(static_cast<size_t>(counts[member.rank]), -1.0);
      ASSERT_EQ(member.comm->ReduceScatter(ArrayOf(std::span(in)), counts, ArrayOf(std::span(out)), ReduceOp::kSum),
                absl::OkStatus());
      for (int64_t i = 0; i < counts[member.rank]; ++i) {
        ASSERT_EQ(out[i], Reduced<double>(ReduceOp::kSum, member.size, start + i));
      }
    }
  });
}

TEST_P(Collectives, AllGatherOfUnevenCounts) {
  RunGroup(GetParam(), [](Member& member) {
    for (int64_t base : {0, 1, 700, 5001, 300'000}) {
      const std::vector<int64_t> counts = Uneven(member.size, base);
      const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
      const std::vector<uint16_t> in = KnownVector<uint16_t>(member.rank, counts[member.rank]);
      std::vector<uint16_t> out(static_cast<size_t>(total), 9999);
      ASSERT_EQ(member.comm->AllGather({in.data(), counts[member.rank], ElementType::kBf16}, counts,
                                       {out.data(), total, ElementType::kBf16}),
                absl::OkStatus());
      const uint16_t* next = out.data();
      for (int r = 0; r < member.size; ++r) {
        for (int64_t i = 0; i < counts[r]; ++i) ASSERT_EQ(*next++, Known<uint16_t>(r, i));
      }
    }
  });
}

TEST_P(Collectives, AllGatherInPlace) {
  RunGroup(GetParam(), [](Member& member) {
    const std::vector<int64_t> counts(static_cast<size_t>(member.size), 3333);
    std::vector<int32_t> out(static_cast<size_t>(member.size) * 3333, -1);
    int32_t* mine = out.data() + member.rank * 3333;
    for (int64_t i = 0; i < 3333; ++i) mine[i] = Known<int32_t>(member.rank, i);
    ASSERT_EQ(member.comm->AllGather({mine, 3333, ElementType::kInt32}, counts, ArrayOf(std::span(out))),
              absl::OkStatus());
    for (int r = 0; r < member.size; ++r) {
      for (int64_t i = 0; i < 3333; ++i) ASSERT_EQ(out[r * 3333 + i], Known<int32_t>(r, i));
    }
  });
}

// From rank a to rank b go base * a + 17 * b elements, and none from 0 to 1.
int64_t Between(int a, int b, int64_t base) { return a == 0 && b == 1 ? 0 : base * a + 17 * b; }

TEST_P(Collectives, AllToAllOfUnevenCounts) {
  RunGroup(GetParam(), [](Member& member) {
    for (int64_t base : {0, 1, 2500, 200'000}) {
      std::vector<int64_t> send, receive;
      for (int r = 0; r < member.size; ++r) {
        send.push_back(Between(member.rank, r, base));
        receive.push_back(Between(r, member.rank, base));
      }
      std::vector<float> in;
      for (int r = 0; r < member.size; ++r) {
        for (int64_t i = 0; i < send[r]; ++i) in.push_back(Known<float>(member.rank * 10 + r, i));
      }
      std::vector<float> out(static_cast<size_t>(std::accumulate(receive.begin(), receive.end(), int64_t{0})), -1.0F);
      ASSERT_EQ(member.comm->AllToAll(ArrayOf(std::span<const float>(in)), send, ArrayOf(std::span(out)), receive),
                absl::OkStatus());
      const float* next = out.data();
      for (int r = 0; r < member.size; ++r) {
        for (int64_t i = 0; i < receive[r]; ++i) ASSERT_EQ(*next++, Known<float>(r * 10 + member.rank, i));
      }
    }
  });
}

TEST_P(Collectives, BroadcastFromEveryRoot) {
  RunGroup(GetParam(), [](Member& member) {
    for (int root = 0; root < member.size; ++root) {
      for (int64_t count : kCounts) {
        std::vector<int64_t> values = KnownVector<int64_t>(member.rank == root ? root : 50 + member.rank, count);
        ASSERT_EQ(member.comm->Broadcast(ArrayOf(std::span(values)), root), absl::OkStatus());
        for (int64_t i = 0; i < count; ++i) ASSERT_EQ(values[i], Known<int64_t>(root, i));
      }
    }
  });
}

TEST_P(Collectives, StringsOfAnySize) {
  RunGroup(GetParam(), [](Member& member) {
    for (size_t bytes : {0, 1, 8191, 8192, 8193, 3'000'000}) {
      const auto text = [&](int r) { return std::string(r == 1 ? 5 : bytes, static_cast<char>('a' + r)); };
      const auto strings = member.comm->AllGatherStrings(text(member.rank));
      ASSERT_EQ(strings.status(), absl::OkStatus());
      ASSERT_EQ(strings->size(), static_cast<size_t>(member.size));
      for (int r = 0; r < member.size; ++r) ASSERT_EQ((*strings)[r], text(r));
    }
  });
}

TEST_P(Collectives, BytesAreCounted) {
  RunGroup(GetParam(), [](Member& member) {
    const int64_t others = member.size - 1;
    const Traffic before = member.comm->traffic();
    std::vector<float> values(4'000'000 / sizeof(float));
    ASSERT_EQ(member.comm->AllReduce(ArrayOf(std::span(values)), ReduceOp::kSum), absl::OkStatus());
    ASSERT_EQ(member.comm->Barrier(), absl::OkStatus());
    const Traffic used = member.comm->traffic() - before;
    EXPECT_EQ(used.operations, 2);
    // Runs of a reduction are even but for one element each.
    EXPECT_NEAR(static_cast<double>(used.sent_bytes), 2.0 * 4'000'000 * others / member.size, 64);
    EXPECT_NEAR(static_cast<double>(used.received_bytes), 2.0 * 4'000'000 * others / member.size, 64);

    const Traffic start = member.comm->traffic();
    std::vector<int64_t> counts(static_cast<size_t>(member.size), 1000);
    std::vector<std::byte> out(counts.size() * 1000);
    ASSERT_EQ(member.comm->AllGather({out.data(), 1000}, counts, ArrayOf(std::span(out))), absl::OkStatus());
    EXPECT_EQ((member.comm->traffic() - start).sent_bytes, 1000 * others);
    EXPECT_EQ((member.comm->traffic() - start).received_bytes, 1000 * others);
  });
}

// A small array, which among few ranks goes from everybody to everybody.
TEST(ManyRanks, ReduceSmallArraysByOwners) {
  const GroupCase nine = {"local", 9};
  for (const int64_t count : {1, 700, 2048}) {
    RunGroup(nine, [&](Member& member) {
      std::vector<float> values = KnownVector<float>(member.rank, count);
      const Traffic before = member.comm->traffic();
      ASSERT_EQ(member.comm->AllReduce(ArrayOf(std::span(values)), ReduceOp::kSum), absl::OkStatus());
      const Traffic used = member.comm->traffic() - before;
      const Traffic said = TrafficOfAllReduce(count, sizeof(float), member.rank, member.size);
      EXPECT_EQ(used.sent_bytes, said.sent_bytes);
      EXPECT_EQ(used.received_bytes, said.received_bytes);
      EXPECT_LE(used.sent_bytes, 24'576);
      for (int64_t i = 0; i < count; ++i) {
        float sum = 0;
        for (int r = 0; r < member.size; ++r) sum += Known<float>(r, i);
        ASSERT_EQ(values[i], sum);  // of whole numbers: exact
      }
    });
  }
}

TEST_P(Collectives, RanksHaveNames) {
  RunGroup(GetParam(), [](Member& member) {
    EXPECT_EQ(member.comm->backend(), GetParam().backend);
    EXPECT_EQ(member.comm->size(), GetParam().size);
    EXPECT_EQ(member.comm->rank(), member.rank);
    for (int r = 0; r < member.size; ++r) EXPECT_FALSE(member.comm->host(r).empty());
  });
}

}  // namespace
}  // namespace filigree::comm
